"""Check the signals and files that a recipe names, and pin the sha256 of the files.

So a typo is met before any work, and a moved file is the same recipe.
"""

import hashlib
import os.path
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from filters.captions.model_pin import pinned_engine
from filters.captions.questions import questions_of
from filters.edits.registry import EDITS
from filters.entries import entry_index
from filters.pdq import MISSING, has_pdq
from filters.registry import SIGNALS, make_signal
from filters.scores.pin import pinned
from filters.scores.registry import score_columns
from filters.text_list import file_sha256
from model.tokenizers.sizes import BUNDLED, bundled_checkpoint
from pipelines.benchmarks import benchmark_faults, benchmark_warnings, pinned_benchmarks
from pipelines.captions.cosines import clip_of
from pipelines.check_rules import is_here, measured_columns, pinned_rules, rule_faults
from pipelines.earlier_corpora import pinned_dedup, semantic_faults
from pipelines.runtime.values import LISTED
from pipelines.sources.columns import without_captions
from pipelines.sources.files import expand
from pipelines.sources.known_images import known_faults, pinned_lists
from pipelines.sources.readers import make_reader
from pipelines.templates.pair_files import pair_faults, pinned_pair
from pipelines.tokens.tokenizers import TokenizerRecipe
from schemas.list_config import BalanceConfig
from schemas.recipe import Recipe
from schemas.recipe_faults import suggest
from schemas.recipe_file import RecipeError
from schemas.source_config import Source
from schemas.store.retries import open_fs
from schemas.store.storage import CorpusError, absolute
from schemas.subsets import DEFAULT_SUBSET, SUBSETS
from schemas.tables import DUPLICATES, SCORES

CHUNK_BYTES = 1 << 24


def pin(recipe: Recipe) -> Recipe:
    """Fill in the hashes of the recipe's template file and checkpoint, or check those given.

    Raises:
        RecipeError: if a signal or a rule is not one that there is, or one that is needed is not
            measured.
        CorpusError: if a file is missing, not usable, or not the one that was pinned.
    """
    _check(recipe)
    # Before decisions: of an earlier corpus the scorers must be the same, to the weights' hash.
    scorers = tuple(map(pinned, recipe.score.scorers))
    recipe = recipe.model_copy(
        update={"score": recipe.score.model_copy(update={"scorers": scorers})}
    )
    recipe = pin_decisions(recipe)
    changes: dict[str, Any] = {"pair": pinned_pair(recipe.pair)}
    tokenizers = tuple(_pinned(tokenizer) for tokenizer in recipe.vq_tokens.tokenizers)
    engines = tuple(map(pinned_engine, recipe.caption.engines))
    changes["caption"] = recipe.caption.model_copy(update={"engines": engines})
    changes["crawl"] = recipe.crawl.model_copy(update={"known_hashes": pinned_lists(recipe.crawl)})
    changes["vq_tokens"] = recipe.vq_tokens.model_copy(update={"tokenizers": tokenizers})
    return recipe.model_copy(update=changes)


def pin_decisions(recipe: Recipe) -> Recipe:
    """Check what decides which rows are kept, and fill in the hashes of its files.

    Raises:
        RecipeError: if a signal or a rule is not one that there is, or one that is needed is not
            measured.
        CorpusError: if a file or an earlier corpus is missing, or not the one that was pinned.
    """
    _check(recipe)
    sources = tuple(
        source.model_copy(update={"select": pinned_rules(source.select)})
        for source in recipe.sources
    )
    return recipe.model_copy(
        update={
            "dedup": pinned_dedup(recipe).model_copy(
                update={
                    "benchmarks": pinned_benchmarks(recipe),
                    "balance": _pinned_balance(recipe.dedup.balance),
                }
            ),
            "select": pinned_rules(recipe.select),
            "sources": sources,
        }
    )


def _check(recipe: Recipe) -> None:
    """Raise RecipeError for what a build would refuse without looking at a file of weights."""
    if faults := [*_faults(recipe)]:
        raise RecipeError("\n".join(faults))


def recipe_faults(recipe: Recipe) -> list[str]:
    """Find what a build would refuse, a line a fault, without reading any data."""
    faults = [*_faults(recipe), *_file_faults(recipe)]
    for source in recipe.sources:
        faults += _source_faults(source, recipe)
    return faults


def missing_files(recipe: Recipe) -> list[str]:
    """Find files beside the sources that are missing or cannot be used, a line a file.

    Raises:
        RecipeError: if a signal or a rule is not one that there is, or one that is needed is not
            measured.
    """
    _check(recipe)
    return _file_faults(recipe)


def _file_faults(recipe: Recipe) -> list[str]:
    """Look for templates, lists and weights on this machine."""
    faults = [*pair_faults(recipe.pair), *benchmark_faults(recipe.dedup)]
    faults += known_faults(recipe.crawl.known_hashes)
    faults += _balance_faults(recipe.dedup.balance)
    for scorer in recipe.score.scorers:
        faults += _weights_faults(scorer, f"score.scorers.{scorer.name}")
    for tokenizer in recipe.vq_tokens.tokenizers:
        faults += _checkpoint_faults(tokenizer)
    return faults


def warnings(recipe: Recipe) -> Iterator[str]:
    """Yield a line for each source without captions, and each benchmark with too short prompts.

    A text file beside an image is its caption whatever the columns are.
    """
    yield from benchmark_warnings(recipe.dedup)
    for source in recipe.sources:
        columns = source.columns
        beside = source.kind == "webdataset" or (source.kind == "folder" and not source.list)
        if beside or recipe.caption.engines or columns.text != "":
            continue
        lists = source.list if source.kind == "folder" else source.path
        titled = "title" in columns.mapped() and not (lists or "").endswith(".txt")
        if "title" in columns.explicit() and titled:
            continue
        row = f"every row of it without a {columns.title!r}" if titled else "every row of it"
        yield without_captions(f"source {source.name} has no captions", row)


def _weights_faults(settings: BaseModel, where: str) -> Iterator[str]:
    """Look for the files of a scorer on this machine; each has a field for its hash."""
    for name in type(settings).model_fields:
        value: Any = getattr(settings, name)
        parts = value if isinstance(value, tuple) else (value,)
        for part in parts:
            if isinstance(part, BaseModel):
                yield from _weights_faults(part, f"{where}.{name}")
        hashed = f"{name}_sha256" in type(settings).model_fields
        if hashed and os.path.isabs(str(value)) and not os.path.isfile(str(value)):
            yield f"{where}.{name}: {value}: no such file"


def _checkpoint_faults(recipe: TokenizerRecipe) -> Iterator[str]:
    if recipe.checkpoint and is_here(recipe.checkpoint):
        fs, path = open_fs(recipe.checkpoint)
        if not fs.isfile(path):
            where = f"vq_tokens.tokenizers.{recipe.name}.checkpoint"
            yield f"{where}: {recipe.checkpoint}: no such file"


def _source_faults(source: Source, recipe: Recipe) -> Iterator[str]:
    """Look for files of this machine only: others may need a network, and a user's leave."""
    where = f"sources.{source.name}"
    if source.kind == "edits":
        yield from (
            fault.replace(f"sources.{source.of.name}", f"{where}.of", 1)
            for fault in _source_faults(source.of, recipe)
        )
        return
    if source.kind == "huggingface":
        if os.path.isabs(source.path) and not os.path.isdir(source.path):
            try:
                expand(source.path)
            except CorpusError as error:
                yield f"{where}.path: {error}"
        return
    if source.kind == "folder" and is_here(source.path):
        fs, path = open_fs(source.path)
        if not fs.isdir(path):
            there = "a file, expected a folder" if fs.isfile(path) else "no such folder"
            yield f"{where}.path: {source.path}: {there}"
            return
    listed = source.list if source.kind == "folder" else source.path
    if listed and is_here(listed):
        try:
            make_reader(source, recipe.crawl).version()
        except (CorpusError, OSError) as error:
            yield f"{where}: {error}"


def _pinned(recipe: TokenizerRecipe) -> TokenizerRecipe:
    checkpoint = recipe.checkpoint
    if checkpoint is None and recipe.preset == BUNDLED:
        checkpoint = bundled_checkpoint(recipe.tokenizer)
    if checkpoint is None:
        return recipe
    found = _file_sha256(
        checkpoint, recipe.checkpoint_sha256, f"vq_tokens.tokenizers.{recipe.name}.checkpoint"
    )
    return recipe.model_copy(update={"checkpoint_sha256": found})


def _faults(recipe: Recipe) -> Iterator[str]:
    """Find what a build would refuse without looking at a file of weights."""
    yield from _signal_faults(recipe)
    yield from _score_faults(recipe)
    yield from rule_faults(recipe)
    yield from _cap_faults(recipe)
    yield from _blur_faults(recipe)
    yield from _caption_faults(recipe)
    yield from semantic_faults(recipe)
    yield from _subset_faults(recipe)


def _subset_faults(recipe: Recipe) -> Iterator[str]:
    """Find what a recipe asks of samples of several images that is not known of them."""
    several = [source for source in recipe.sources if source.subset != DEFAULT_SUBSET]
    for source in several:
        if recipe.blur and SUBSETS[source.subset].further:
            yield (
                f"blur: source {source.name} is of subset {source.subset}, and faces are found on "
                "the main image of a sample alone; build it without blur"
            )
        for name in source.types if source.kind == "edits" else ():
            if name not in EDITS:
                yield f"sources.{source.name}.types: {name}: unknown edit; {suggest(name, EDITS)}"
    if several and recipe.dedup.balance:
        yield f"dedup.balance: is of {DEFAULT_SUBSET} alone, source {several[0].name} is not"


def _signal_faults(recipe: Recipe) -> Iterator[str]:
    names = recipe.measure.signals
    for number, name in enumerate(names):
        where = f"measure.signals.{number}"
        if name not in SIGNALS:
            yield f"{where}: unknown signal {name!r}; {suggest(name, SIGNALS)}"
        elif name in names[:number]:
            yield f"{where}: {name} is named twice"
        elif name == "pdq" and not has_pdq():
            yield f"{where}: {MISSING}"
    for name, settings in recipe.measure.settings.items():
        where = f"measure.settings.{name}"
        if name not in names:
            yield f"{where}: not among measure.signals; {suggest(name, names)}"
            continue
        try:
            make_signal(name, settings) if name in SIGNALS else None
        except ValueError as error:
            yield f"{where}.{error}"
    if "size" not in names:
        yield "measure.signals: size is needed, by dedup and by the shards"
    for name in ("phash", "colour_layout"):
        if name not in names and recipe.dedup.phash_distance is not None:
            yield f"measure.signals: {name} is needed; or set dedup.phash_distance to null"


def _score_faults(recipe: Recipe) -> Iterator[str]:
    """A column of scores has a name that no other column has."""
    signals = [column.name for column in measured_columns(recipe)]
    taken = {
        **dict.fromkeys((*SCORES.names, *LISTED, *DUPLICATES.names), "the corpus itself"),
        **dict.fromkeys(signals, "measure"),
        **({recipe.blur.counted_as: "blur"} if recipe.blur else {}),
    }
    for scorer in recipe.score.scorers:
        for column in score_columns(scorer):
            if column.name in taken:
                where = f"score.scorers.{scorer.name}"
                yield f"{where}: column {column.name} is of {taken[column.name]}; name it otherwise"
            taken[column.name] = f"scorer {scorer.name}"


def _blur_faults(recipe: Recipe) -> Iterator[str]:
    """Faces are blurred where a scorer of faces finds them."""
    found = [scorer.name for scorer in recipe.score.scorers if scorer.score == "faces"]
    if recipe.blur and recipe.blur.scorer not in found:
        yield (
            f"blur.scorer: no scorer of faces is named {recipe.blur.scorer!r}; add to "
            f"score.scorers: {{score: faces, name: {recipe.blur.scorer}}}"
        )


def _caption_faults(recipe: Recipe) -> Iterator[str]:
    """Captions are compared by a CLIP that stores embeddings; a forbidden flag has a question."""
    config, scorer = recipe.caption, recipe.caption.gates.clip_scorer
    if config.compares and clip_of(recipe, scorer) is None:
        yield (
            f"caption.gates.clip_scorer: no CLIP named {scorer!r} stores embeddings; add to "
            f"score.scorers: {{score: clip, name: {scorer}, embedding: true}}"
        )
    names = [question.name for question in questions_of(config)]
    for name in config.forbid:
        if name not in names:
            yield f"caption.forbid: {name}: no such question; {suggest(name, names)}"


def _cap_faults(recipe: Recipe) -> Iterator[str]:
    """A cap on equal bytes needs rows of equal bytes, which dedup removes by default."""
    config = recipe.dedup
    if config.max_per_image is None:
        return
    if config.same_bytes:
        yield "dedup.max_per_image: needs dedup.same_bytes: false, else one row of a file is kept"
    if config.phash_distance is not None:
        what = "needs dedup.phash_distance: null, else equal images are near-duplicates"
        yield f"dedup.max_per_image: {what}"


def _pinned_balance(config: BalanceConfig | None) -> BalanceConfig | None:
    if config is None:
        return None
    path = absolute(config.entries)
    entry_index(path, config.entries_sha256)
    found = file_sha256(path, config.entries_sha256)
    return config.model_copy(update={"entries": path, "entries_sha256": found})


def _balance_faults(config: BalanceConfig | None) -> Iterator[str]:
    try:
        if config is not None:
            entry_index(config.entries, config.entries_sha256)
    except CorpusError as error:
        yield f"dedup.balance: {error}"


def _file_sha256(path: str, wanted: str, where: str) -> str:
    digest = hashlib.sha256()
    try:
        fs, full = open_fs(path)
        with fs.open(full) as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except FileNotFoundError as error:
        raise CorpusError(f"{where}: {path}: no such file") from error
    found = digest.hexdigest()
    if wanted and found != wanted:
        raise CorpusError(f"{where}: {path}: sha256 is {found}, the recipe says {wanted}")
    return found
