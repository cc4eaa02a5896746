"""calibrate: a labelled sample around a threshold, and how well the rule agrees with it."""

import base64
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from PIL import Image

from filters.decode import DecodeError
from filters.text import primary_text
from pipelines.calibration import BOUNDS, MARK, SAMPLE, path_of, read_sample, thresholds_of
from pipelines.runtime.active_images import active_images
from pipelines.runtime.images import decode_image, read_each
from pipelines.runtime.sidecar import column, read_table, sidecar_path
from pipelines.thresholds.agreement import (
    Agreement,
    agreement,
    keeps,
    labelled,
    other_thresholds,
)
from pipelines.thresholds.page.write import Card, label_page
from pipelines.thresholds.sampling import draw_sample, population
from schemas.recipe import DecodeConfig, Recipe
from schemas.store.storage import CorpusError, Storage

pc: Any = pyarrow.compute  # its stubs do not accept Python values
SIDE = 400  # px, longer side of an image on the page
QUALITY = 72  # of WebP
TEXT_CHARS = 300


@dataclass(frozen=True, kw_only=True)
class Result:
    """What the labels of a rule say."""

    rule: str  # COLUMN.BOUND
    scorer: str  # metadata of the column; '' for a signal
    rows: int  # of the sample
    labelled: int  # yes or no
    good: int  # yes
    thresholds: Mapping[str, float]  # by source, when the sample was drawn
    at_threshold: Agreement  # when the sample was drawn
    by_source: Mapping[str, Agreement]  # at the threshold of each
    by_threshold: Sequence[tuple[float, Agreement]]


def rule_named(rule: str, recipe: Recipe) -> str:
    """Return a rule as COLUMN.BOUND, from `select.COLUMN.BOUND` or `COLUMN`.

    Raises:
        CorpusError: the recipe has no such rule with a bound, or both bounds and none is named.
    """
    column, _, bound = rule.removeprefix("select.").partition(".")
    given = {
        each
        for rules in (recipe.select, *recipe.rules_by_source().values())
        for each in BOUNDS
        if column in rules and getattr(rules[column], each) is not None
    }
    if not given or (bound and bound not in given):
        known = dict.fromkeys(
            f"{name}.{each}"
            for rules in recipe.rules_by_source().values()
            for name, one in rules.items()
            for each in BOUNDS
            if getattr(one, each) is not None
        )
        raise CorpusError(
            f"{rule}: the recipe has no such bound; it has {', '.join(known) or 'none'}"
        )
    if not bound and len(given) > 1:
        raise CorpusError(f"{rule}: has two bounds; name {column}.min or {column}.max")
    return f"{column}.{bound or given.pop()}"


def open_sample(store: Storage, recipe: Recipe, rule: str, *, size: int, anew: bool) -> pa.Table:
    """Return the sample of a rule with its labels, drawn if there is none, or `anew`."""
    found = None if anew else read_sample(store, rule)
    if found is not None:
        return found
    if anew:
        read_sample(store, rule)  # raises if another's file lies there
    name, _, bound = rule.partition(".")
    sample = draw_sample(population(store, recipe, name, bound), recipe, name, bound, size)
    write_sample(store, rule, sample)
    return sample


def write_sample(store: Storage, rule: str, sample: pa.Table) -> None:
    """Write a sample with its labels."""
    sink = io.BytesIO()
    pq.write_table(sample.cast(SAMPLE), sink, compression="zstd")
    store.commit_bytes(path_of(rule, "parquet"), sink.getvalue())


def write_page(store: Storage, rule: str, sample: pa.Table, recipe: Recipe, question: str) -> str:
    """Write the page to label a sample on; return its path below the corpus.

    Raises:
        CorpusError: a file that is not such a page lies there.
    """
    path = _own_path(store, rule, "html")
    cards = list(_cards(store, sample, recipe.decode))
    store.commit_bytes(path, label_page(rule, recipe.name, question, cards).encode())
    return path


def result_of(rule: str, sample: pa.Table) -> Result:
    """Compute what the labels of a sample say."""
    bound = rule.partition(".")[2]
    rows = labelled(sample)
    passes = keeps(rows.values, bound, rows.thresholds)
    sources = sorted(set(rows.sources.tolist()))
    return Result(
        rule=rule,
        scorer=str(sample["scorer"][0]),
        rows=len(sample),
        labelled=len(rows.values),
        good=int(rows.is_good.sum()),
        thresholds=thresholds_of(sample),
        at_threshold=agreement(rows, passes),
        by_source={
            source: agreement(rows.of(mask), passes[mask])
            for source in sources
            if (mask := rows.sources == source).any()
        },
        by_threshold=[
            (threshold, agreement(rows, keeps(rows.values, bound, threshold)))
            for threshold in sorted({*other_thresholds(rows), *map(float, rows.thresholds)})
        ],
    )


def write_result(store: Storage, result: Result) -> str:
    """Write a result as JSON, NaN as null; return its path below the corpus.

    Raises:
        CorpusError: a file that is not such a result lies there.
    """
    path = _own_path(store, result.rule, "json")
    told = {"made_by": MARK.decode(), **asdict(result)}
    store.commit_bytes(path, json.dumps(_finite(told), indent=1).encode())
    return path


def _own_path(store: Storage, rule: str, suffix: str) -> str:
    """Return where a file of a rule is written; refuse to replace one of somebody else."""
    path = path_of(rule, suffix)
    if store.exists(path) and MARK not in store.read(path)[:200]:
        raise CorpusError(f"{path}: calibrate did not write it; move it away")
    return path


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _cards(store: Storage, sample: pa.Table, settings: DecodeConfig) -> Iterable[Card]:
    """Yield what the page shows of each row, in the order of the sample."""
    raw, texts = dict[str, dict[str, Any]](), dict[str, str]()
    keys = sample["key"].combine_chunks()
    for shard in sorted(set(column(sample, "shard"))):
        for row in _of(store, "raw", shard, keys).to_pylist():
            raw[row["key"]] = row
        for row in _of(store, "sources", shard, keys).to_pylist():
            texts[row["key"]] = primary_text(row["text"], row["title"])[:TEXT_CHARS]
    for row in sample.to_pylist():
        picture = _picture(raw[row["key"]], store, settings)
        yield Card(
            key=row["key"],
            source=row["source"],
            text=texts[row["key"]],
            label=row["label"],
            picture=picture,
        )


def _of(store: Storage, folder: str, shard: int, keys: "pa.Array[Any]") -> pa.Table:
    table = read_table(store, sidecar_path(folder, shard))
    return table.filter(pc.is_in(table["key"], keys))


def _picture(row: dict[str, Any], store: Storage, settings: DecodeConfig) -> str:
    """Return an image as a data URI, '' if it cannot be read any more."""
    [body] = read_each([row], store)
    if isinstance(body, CorpusError):
        return ""
    try:
        with active_images(row["key"]):
            image = decode_image(body, settings)
    except DecodeError:
        return ""
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    image.save(encoded, "WEBP", quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(encoded.getvalue()).decode()}"
