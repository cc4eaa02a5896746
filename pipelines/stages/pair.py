"""pair: turn every caption into an instruction pair."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from pipelines.runtime.images import named
from pipelines.runtime.sidecar import Reject
from pipelines.runtime.stage import MapStage, ShardResult
from pipelines.templates.template_file import (
    Conversation,
    converse,
    load_templates,
    templates_sha256,
)
from schemas.markers import IMAGE_GEN, marker_in
from schemas.recipe import PairConfig, Recipe
from schemas.store.storage import Storage
from schemas.tables import PAIRS


@dataclass(frozen=True, kw_only=True)
class Pair(MapStage):
    """Write the messages of one shard."""

    folder: ClassVar[str] = "pairs"
    reads: ClassVar[tuple[str, ...]] = ("captions",)
    version: ClassVar[int] = 2
    decides: ClassVar[tuple[str, ...]] = ("pair",)
    repeats: ClassVar[bool] = True

    config: PairConfig
    rows_of: str = "captions"

    @classmethod
    def from_recipe(cls, recipe: Recipe, rows_of: str) -> "Pair":
        """Return the stage as a recipe has it."""
        return cls(config=recipe.pair, rows_of=rows_of)

    def schema(self) -> pa.Schema:
        """Return the schema of the side-cars."""
        return PAIRS

    def settings(self, shard: int, store: Storage) -> Any:
        """Return what the template file holds, not where it lies, and how captions are put in."""
        sha256 = self.config.templates_sha256 or templates_sha256(self.config.templates)
        return [sha256, self.config.faithful]

    def process(self, shard: int, store: Storage, scratch: Path) -> ShardResult:
        """Write `pairs/NNNNN.parquet`."""
        templates = load_templates(self.config.templates, sha256=self.config.templates_sha256)
        captions = self.rows("captions", shard, store).to_pylist()
        pairs: list[dict[str, Any]] = []
        rejects: list[Reject] = []
        for row in captions:
            key, caption = row["key"], row["caption"]
            pair = converse(templates, key, caption, faithful=self.config.faithful)
            if marker := _marker(caption, pair):
                detail = f"caption {caption!r:.200} spells {marker!r}, a token of chat templates"
                rejects.append(Reject(id=key, reason="marker_in_caption", detail=detail))
                continue
            messages = [
                {"role": "user", "content": pair.user},
                {"role": "assistant", "content": pair.assistant},
            ]
            pairs.append({"key": key, "messages": messages, "template": pair.template})
        table = pa.Table.from_pylist(pairs, schema=PAIRS)
        return ShardResult(table=table, rows_in=len(captions), rejects=named(rejects, shard, store))


def _marker(caption: str, pair: Conversation) -> str:
    """Return the first token that a caption spells, by itself or with the words around it."""
    texts = (caption, pair.user, pair.assistant.removesuffix(IMAGE_GEN))
    return next(filter(None, map(marker_in, texts)), "")
