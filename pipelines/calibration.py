"""The folder `calibration/` of a corpus: labelled samples of rules, and what they say.

`vargpt-corpus calibrate` writes here. A build reads it, and never writes or removes anything in it.
A rule has `COLUMN.BOUND.parquet`, the sample with its labels; `.html`, the page to label it on; and
`.json`, the precision and recall.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from filters.scores.registry import columns_of
from pipelines.stages.score import SCORER, Score
from schemas.recipe import Recipe
from schemas.store.storage import CorpusError, Storage

FOLDER = "calibration"
BOUNDS = ("min", "max")
MARK = b"vargpt-corpus calibrate"  # in each file that the command wrote
YES, NO, SKIP = "yes", "no", "skip"
MOST_NAMED = 3  # sources in a line

_OWN = re.compile(rf"{FOLDER}/[A-Za-z0-9_-]+\.({'|'.join(BOUNDS)})\.(parquet|html|json)")


def _field(name: str, type_: pa.DataType, meaning: str) -> "pa.Field[pa.DataType]":
    return pa.field(name, type_, nullable=False, metadata={"meaning": meaning})


SAMPLE = pa.schema(
    [
        _field("key", pa.string(), "of the row"),
        _field("label", pa.string(), "yes: a person keeps it; no; skip; '' if not labelled"),
        _field("value", pa.float64(), "of the column"),
        _field("threshold", pa.float64(), "of the row's source when it was drawn"),
        _field("source", pa.string(), "name of the source in the recipe"),
        _field("stratum", pa.string(), "what it was drawn from: source, side and distance"),
        _field("stratum_rows", pa.int64(), "rows of the stratum in the corpus"),
        _field("weight", pa.float64(), "rows of the corpus that it stands for"),
        _field("shard", pa.int32(), "number of the side-cars that it lies in"),
        _field("scorer", pa.string(), "metadata `scorer` of the column; '' for a signal"),
    ]
)


def is_own(path: str) -> bool:
    """Return whether a path of a corpus is one that `calibrate` writes.

    >>> is_own("calibration/aesthetic.min.html"), is_own("calibration/notes.txt")
    (True, False)
    """
    return _OWN.fullmatch(path) is not None


def path_of(rule: str, suffix: str) -> str:
    """Return where a file of a rule lies below the corpus."""
    return f"{FOLDER}/{rule}.{suffix}"


def sample_id(keys: Iterable[str]) -> str:
    """Return what names a sample on its page and in the labels that the page saves."""
    return sha256("".join(keys).encode()).hexdigest()[:16]


def read_sample(store: Storage, rule: str) -> pa.Table | None:
    """Read the sample of a rule, with its labels; None if there is none.

    Raises:
        CorpusError: the file is not such a sample.
    """
    path = path_of(rule, "parquet")
    if not store.exists(path):
        return None
    try:
        table = pq.read_table(pa.BufferReader(store.read(path)))
        if table.schema.names != SAMPLE.names:
            raise ValueError(f"its columns are {', '.join(table.schema.names)}")
        table = table.cast(SAMPLE)
        table.validate(full=True)
        if not len(table):
            raise ValueError("it has no rows")
    except (pa.ArrowException, OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise CorpusError(f"{path}: not a sample of calibrate ({said}); move it away") from error
    return table


def scorer_of(recipe: Recipe, column: str) -> str:
    """Return the description of the scorer of a column, as its metadata has it; '' for a signal."""
    if column not in {each.name for each in columns_of(recipe.score.scorers)}:
        return ""
    schema = Score.from_recipe(recipe, "signals").schema()
    return (schema.field(column).metadata or {})[SCORER].decode()


def rules_on_scores(recipe: Recipe) -> list[str]:
    """Return the bounds on scores in a recipe, as COLUMN.BOUND, each once."""
    scored = {each.name for each in columns_of(recipe.score.scorers)}
    found = [
        f"{name}.{bound}"
        for rules in (recipe.select, *recipe.rules_by_source().values())
        for name, rule in rules.items()
        for bound in BOUNDS
        if name in scored and getattr(rule, bound) is not None
    ]
    return list(dict.fromkeys(found))


def calibration_warnings(recipe: Recipe, store: Storage) -> Iterator[str]:
    """Yield a line for rules on scores without labels, and for each whose labels are not of it.

    Labels may be of another scorer or of another threshold, and their file may be damaged.

    Args:
        recipe: with the hashes of its files.
        store: the corpus.
    """
    without: list[str] = []
    for rule in rules_on_scores(recipe):
        try:
            sample = read_sample(store, rule)
        except CorpusError as error:
            yield f"{error}; a build goes on without it"
            continue
        if sample is None or not {YES, NO} & {*sample["label"].to_pylist()}:
            without.append(rule)
            continue
        labelled, now = str(sample["scorer"][0]), scorer_of(recipe, rule.partition(".")[0])
        if labelled != now:
            yield (
                f"select.{rule}: its labels are of another scorer ({labelled}) than that of the "
                f"recipe ({now}); calibrate it again with --anew"
            )
        if moved := moved_thresholds(recipe, rule, sample):
            yield moved
    if without:
        yield (
            f"no labels say whether people agree with select.{', select.'.join(without)}; see "
            "vargpt-corpus calibrate"
        )


def thresholds_of(sample: pa.Table) -> dict[str, float]:
    """Return the threshold of each source when a sample was drawn."""
    columns: list[list[Any]] = [sample[name].to_pylist() for name in ("source", "threshold")]
    return dict(sorted({*zip(*columns, strict=True)}))


def moved_thresholds(recipe: Recipe, rule: str, sample: pa.Table) -> str:
    """Say which thresholds a sample was drawn at if the recipe has others; else ''."""
    column, _, bound = rule.partition(".")
    rules = recipe.rules_by_source()
    moved: defaultdict[str, list[str]] = defaultdict(list)
    for source, then in thresholds_of(sample).items():
        now: float | None = getattr(rules.get(source, {}).get(column), bound, None)
        if now != then:
            has = "none" if now is None else f"{now:.12g}"
            moved[f"{then:.12g}, where the recipe has {has}"].append(source)
    if not moved:
        return ""
    changes = "; ".join(f"{change} ({_listed(names)})" for change, names in moved.items())
    return (
        f"select.{rule}: its labels and their precision and recall are of the threshold {changes}; "
        "calibrate it again with --anew"
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= MOST_NAMED else f"{len(names):,} sources"
