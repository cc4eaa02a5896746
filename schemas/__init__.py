"""What is stored: recipe, tables, subsets, sample contract, keys. `__all__` is for users."""

from typing import TYPE_CHECKING

from schemas.lazy_names import lazily

if TYPE_CHECKING:
    from schemas.keys import sample_key
    from schemas.recipe import Recipe
    from schemas.recipe_file import RecipeError, dump_recipe, load_recipe, parse_recipe
    from schemas.sample import (
        CONTRACT_VERSION,
        IMAGE,
        IMAGE_GEN,
        encode_json,
        json_faults,
    )
    from schemas.store.errors import CorpusError, UserError
    from schemas.store.storage import Storage
    from schemas.subsets import SUBSETS, Subset
    from schemas.tables import (
        CAPTIONS,
        DEAD_LETTERS,
        DUPLICATES,
        PAIRS,
        PREFERENCES,
        PROMPTS,
        RAW,
        SELECTION,
        SHARD_INDEX,
        SOURCES,
        TOKENS,
    )

__all__ = [
    "CAPTIONS",
    "CONTRACT_VERSION",
    "DEAD_LETTERS",
    "DUPLICATES",
    "IMAGE",
    "IMAGE_GEN",
    "PAIRS",
    "PREFERENCES",
    "PROMPTS",
    "RAW",
    "SELECTION",
    "SHARD_INDEX",
    "SOURCES",
    "SUBSETS",
    "TOKENS",
    "CorpusError",
    "Recipe",
    "RecipeError",
    "Storage",
    "Subset",
    "UserError",
    "dump_recipe",
    "encode_json",
    "json_faults",
    "load_recipe",
    "parse_recipe",
    "sample_key",
]

__getattr__ = lazily(__name__, __file__)
