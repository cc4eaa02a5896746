"""Check the signals and files that a recipe names, and pin the sha256 of the files.

So a typo is met before any work, and a moved file is the same recipe.
"""

import hashlib
import os.path
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from filters.entries import entry_index
from filters.pdq import MISSING, has_pdq
from filters.registry import SIGNALS, columns, make_signal
from filters.scores.pin import pinned
from filters.scores.registry import columns_of
from filters.text_list import file_sha256, read_texts
from model.tokenizers.sizes import BUNDLED, bundled_checkpoint
from pipelines.benchmarks import benchmark_faults, benchmark_warnings, pinned_benchmarks
from pipelines.earlier_corpora import pinned_dedup, semantic_faults
from pipelines.runtime.values import LISTED
from pipelines.sources.columns import without_captions
from pipelines.sources.files import expand
from pipelines.sources.known_images import known_faults, pinned_lists
from pipelines.sources.plan import make_reader
from pipelines.templates.template_file import load_templates, templates_sha256
from pipelines.tokens.tokenizers import TokenizerRecipe
from schemas.list_config import BalanceConfig
from schemas.recipe import Recipe, Source
from schemas.recipe_file import RecipeError, suggest
from schemas.rule_config import Rule
from schemas.store.retries import open_fs
from schemas.store.storage import CorpusError, absolute

CHUNK_BYTES = 1 << 24


def pin(recipe: Recipe) -> Recipe:
    """Fill in the hashes of the recipe's template file and checkpoint, or check those given.

    Raises:
        RecipeError: if a signal or a rule is not one that there is, or one that is needed is not
            measured.
        CorpusError: if a file is missing, not usable, or not the one that was pinned.
    """
    if faults := [*_signal_faults(recipe), *_rule_faults(recipe), *semantic_faults(recipe)]:
        raise RecipeError("\n".join(faults))
    load_templates(recipe.pair.templates, sha256=recipe.pair.templates_sha256)
    templates = {"templates_sha256": templates_sha256(recipe.pair.templates)}
    changes: dict[str, Any] = {"pair": recipe.pair.model_copy(update=templates)}
    tokenizers = tuple(_pinned(tokenizer) for tokenizer in recipe.vq_tokens.tokenizers)
    changes["score"] = recipe.score.model_copy(
        update={"scorers": tuple(map(pinned, recipe.score.scorers))}
    )
    changes["crawl"] = recipe.crawl.model_copy(update={"known_hashes": pinned_lists(recipe.crawl)})
    changes["dedup"] = pinned_dedup(recipe).model_copy(
        update={
            "benchmarks": pinned_benchmarks(recipe),
            "balance": _pinned_balance(recipe.dedup.balance),
        }
    )
    changes["select"] = _pinned_rules(recipe.select)
    changes["sources"] = tuple(
        source.model_copy(update={"select": _pinned_rules(source.select)})
        for source in recipe.sources
    )
    changes["vq_tokens"] = recipe.vq_tokens.model_copy(update={"tokenizers": tokenizers})
    return recipe.model_copy(update=changes)


def recipe_faults(recipe: Recipe) -> list[str]:
    """Find what a build would refuse, a line a fault, without reading any data."""
    faults = [*_signal_faults(recipe), *_rule_faults(recipe), *semantic_faults(recipe)]
    try:
        load_templates(recipe.pair.templates, sha256=recipe.pair.templates_sha256)
    except CorpusError as error:
        faults.append(str(error))
    faults += [*benchmark_faults(recipe.dedup), *known_faults(recipe.crawl.known_hashes)]
    faults += _balance_faults(recipe.dedup.balance)
    for tokenizer in recipe.vq_tokens.tokenizers:
        faults += _checkpoint_faults(tokenizer)
    for source in recipe.sources:
        faults += _source_faults(source, recipe)
    return faults


def warnings(recipe: Recipe) -> Iterator[str]:
    """Yield a line for each source without captions, and each benchmark with too short prompts.

    A text file beside an image is its caption whatever the columns are.
    """
    yield from benchmark_warnings(recipe.dedup)
    for source in recipe.sources:
        columns = source.columns
        beside = source.kind == "webdataset" or (source.kind == "folder" and not source.list)
        if beside or recipe.caption.engine != "source" or columns.text != "":
            continue
        lists = source.list if source.kind == "folder" else source.path
        titled = "title" in columns.mapped() and not (lists or "").endswith(".txt")
        if "title" in columns.explicit() and titled:
            continue
        row = f"every row of it without a {columns.title!r}" if titled else "every row of it"
        yield without_captions(f"source {source.name} has no captions", row)


def _checkpoint_faults(recipe: TokenizerRecipe) -> Iterator[str]:
    if recipe.checkpoint and _is_here(recipe.checkpoint):
        fs, path = open_fs(recipe.checkpoint)
        if not fs.isfile(path):
            where = f"vq_tokens.tokenizers.{recipe.name}.checkpoint"
            yield f"{where}: {recipe.checkpoint}: no such file"


def _source_faults(source: Source, recipe: Recipe) -> Iterator[str]:
    """Look for files of this machine only: others may need a network, and a user's leave."""
    where = f"sources.{source.name}"
    if source.kind == "huggingface":
        if os.path.isabs(source.path) and not os.path.isdir(source.path):
            try:
                expand(source.path)
            except CorpusError as error:
                yield f"{where}.path: {error}"
        return
    if source.kind == "folder" and _is_here(source.path):
        fs, path = open_fs(source.path)
        if not fs.isdir(path):
            there = "a file, expected a folder" if fs.isfile(path) else "no such folder"
            yield f"{where}.path: {source.path}: {there}"
            return
    listed = source.list if source.kind == "folder" else source.path
    if listed and _is_here(listed):
        try:
            make_reader(source, recipe.crawl).version()
        except (CorpusError, OSError) as error:
            yield f"{where}: {error}"


def _is_here(path: str) -> bool:
    return "://" not in path or path.startswith("file://")


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


def _rule_faults(recipe: Recipe) -> Iterator[str]:
    types = rule_columns(recipe)
    yield from _faults_of_rules("select", recipe.select, types)
    for source in recipe.sources:
        yield from _faults_of_rules(f"sources.{source.name}.select", source.select, types)


def rule_columns(recipe: Recipe) -> dict[str, pa.DataType]:
    """Return the columns that rules can name, and their types."""
    measured = columns(name for name in recipe.measure.signals if name in SIGNALS)
    scored = columns_of(recipe.score.scorers)
    return {
        **dict.fromkeys(LISTED, pa.string()),
        **{column.name: column.type for column in (*measured, *scored)},
    }


def _faults_of_rules(
    where: str, rules: Mapping[str, Rule], types: Mapping[str, pa.DataType]
) -> Iterator[str]:
    for name, rule in rules.items():
        place = f"{where}.{name}"
        if rule.any_of:
            if name in types:
                yield f"{place}: any_of is not for one column; give the rule a name of its own"
            for number, group in enumerate(rule.any_of):
                yield from _faults_of_rules(f"{place}.any_of.{number}", group, types)
        elif name not in types:
            yield f"{place}: not measured; {suggest(name, types)}"
        else:
            yield from _type_faults(place, rule, types[name], types)


def _type_faults(
    place: str, rule: Rule, type_: pa.DataType, types: Mapping[str, pa.DataType]
) -> Iterator[str]:
    """Bounds are for numbers, `forbid` for flags, and lists and patterns for texts."""
    bounded = not (rule.min is None and rule.max is None)
    of_texts = not (rule.in_ is None and rule.not_in is None and rule.matches is None)
    if pa.types.is_nested(type_):
        yield f"{place}: a list, of which a rule can say nothing"
    elif pa.types.is_string(type_):
        if bounded or rule.forbid:
            yield f"{place}: a text has in, not_in and matches"
        yield from _text_faults(place, rule)
    elif of_texts:
        yield f"{place}: in, not_in and matches are for texts"
    elif pa.types.is_boolean(type_):
        if bounded:
            yield f"{place}: a flag has no bounds; use forbid: true"
    elif rule.forbid:
        flags = [other for other, type_ in types.items() if pa.types.is_boolean(type_)]
        yield f"{place}: a number has bounds; forbid is for flags: {', '.join(flags)}"


def _text_faults(place: str, rule: Rule) -> Iterator[str]:
    if rule.matches is not None:
        try:
            pc.match_substring_regex(pa.array([""]), rule.matches)
        except pa.ArrowInvalid as error:
            yield f"{place}.matches: no regular expression of RE2: {error}"
    if rule.texts_file:
        try:
            read_texts(rule.texts_file, rule.texts_sha256)
        except CorpusError as error:
            yield f"{place}: {error}; for one text write [{rule.texts_file}]"


def _pinned_rules(rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """Fill in the hashes of the files of texts."""
    return {name: _pinned_rule(rule) for name, rule in rules.items()}


def _pinned_rule(rule: Rule) -> Rule:
    update: dict[str, object] = {"any_of": tuple(map(_pinned_rules, rule.any_of))}
    if rule.texts_file:
        update["texts_sha256"] = file_sha256(rule.texts_file)
    return rule.model_copy(update=update)


def _pinned_balance(config: BalanceConfig | None) -> BalanceConfig | None:
    if config is None:
        return None
    path = absolute(config.entries)
    entry_index(path, config.entries_sha256)
    return config.model_copy(update={"entries": path, "entries_sha256": file_sha256(path)})


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
