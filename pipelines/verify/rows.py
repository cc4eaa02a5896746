"""Checks of the rows of a shard's side-cars against each other, without reading an image."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from filters.aspects import nearest_aspect
from filters.registry import make_signal
from filters.scores.registry import columns_of
from filters.signal import Record
from model.tokenizers.protocol import count_codes, read_schedule
from pipelines.dedup.contamination import reason_of
from pipelines.dedup.rows import OF_DUPLICATES, REPEATED_URL
from pipelines.runtime.face_boxes import face_blur, read_boxes
from pipelines.sources.roles import key_of
from pipelines.stages.dedup import Dedup
from pipelines.stages.measure import Measure
from pipelines.stages.score import Score
from pipelines.stages.vq_tokens import VqTokens, blurred, without_arrays
from pipelines.tokens.batches import CHECKED_SHARE, COMPARED
from pipelines.verify.faults import Fault
from pipelines.verify.look import ShardLook
from schemas.keys import unit
from schemas.recipe import VqTokensConfig

DEVICES = ("cpu", "cuda")


def listed_rows_sound(look: ShardLook) -> Iterator[Fault]:
    """Check that the key of a row is the hash of its source and URL, and that licences are kept."""
    source = look.corpus.source(look.shard)
    names = ["key", "source", "url", "licence", "images", "text", "turns"]
    for row in look.tables["sources"].select(names).to_pylist():
        if row["source"] != source.name:
            what = f"has source {row['source']!r}, the plan says {source.name}"
            yield look.fault("sources", f"{row['key']} {what}")
        elif row["key"] != key_of(source.name, row):
            yield look.fault("sources", f"{row['key']} is not the key of {row['url']!r}")
        if source.licence and not row["licence"]:
            yield look.fault("sources", f"{row['key']} has no licence, its source has one")


@dataclass(frozen=True)
class _ImageSize:
    """The size of an image that is not decoded, in px."""

    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height


def measured_rows_sound(look: ShardLook) -> Iterator[Fault]:
    """Measure the signals that need no pixels again, and compare them."""
    table, stage = look.tables["signals"], look.corpus.stages["signals"]
    assert isinstance(stage, Measure)
    sources, raw = look.rows("sources"), look.rows("raw")
    rows = [row for row in table.to_pylist() if row["key"] in sources and row["key"] in raw]
    records = [_record(row, sources[row["key"]], raw[row["key"]]["length"]) for row in rows]
    for name in stage.config.signals:
        signal = make_signal(name, stage.config.settings.get(name))
        if getattr(signal, "least_side", 0):  # it reads pixels
            continue
        try:
            measured = signal.measure(records)
        except AttributeError:  # a signal that reads pixels
            continue
        for column, values in measured.items():
            for row, value in zip(rows, values, strict=True):
                if row[column] != value:
                    what = f"{row['key']}: {column} is {row[column]!r}, measured again {value!r}"
                    yield look.fault("signals", what)


def _record(row: Mapping[str, Any], source: Mapping[str, Any], file_bytes: int) -> Record:
    return Record(
        image=_ImageSize(row["width"], row["height"]),  # type: ignore[arg-type]
        file_bytes=file_bytes,
        text=source["text"],
        title=source["title"],
        tags=tuple(source["tags"]),
    )


def duplicates_sound(look: ShardLook) -> Iterator[Fault]:
    """Check the verdicts of dedup within one shard; `--deep` compares all rows of the corpus."""
    signals, verdicts = look.rows("signals"), look.rows("duplicates")
    settings = look.corpus.recipe.dedup
    stage = look.corpus.stages["duplicates"]
    assert isinstance(stage, Dedup)
    allowed = ("", *stage.reasons)
    contaminated = [reason_of(benchmark) for benchmark in settings.benchmarks]
    for key, row in verdicts.items():
        reason, kept_key, distance = row["reason"], row["kept_key"], row["distance"]
        is_duplicate = reason in OF_DUPLICATES
        faults = {
            f"reason is {reason!r}, expected one of {allowed}": reason not in allowed,
            f"its representative is {kept_key!r}, under reason {reason!r}": (
                not is_duplicate and kept_key != key
            ),
            # A repeated URL is of the row with its key, unless that is a duplicate itself.
            "it is its own representative, and a duplicate": (
                is_duplicate and reason != REPEATED_URL and kept_key == key
            ),
            f"its text is in {row['text_repeats']} rows": (
                row["text_repeats"] < (reason not in (REPEATED_URL, *contaminated))
            ),
            f"it has {row['matched']!r} of a benchmark, under reason {reason!r}": (
                bool(row["matched"]) != (reason in contaminated)
            ),
            f"{distance} bits of its hash differ, expected 0 to 64": not 0 <= distance <= 64,
        }
        # In another corpus, or in another shard.
        elsewhere = row["kept_in"] or (reason == REPEATED_URL and kept_key == key)
        kept = None if elsewhere else verdicts.get(kept_key)
        if kept and is_duplicate:
            faults[f"its representative {kept_key} is a duplicate too"] = (
                kept["reason"] in OF_DUPLICATES
            )
        if kept and settings.phash_distance is not None and {key, kept_key} <= signals.keys():
            apart = (signals[key]["phash"] ^ signals[kept_key]["phash"]).bit_count()
            faults[f"{distance} bits of its hash differ, expected {apart}"] = distance != apart
        yield from (
            look.fault("duplicates", f"{key}: {what}") for what, is_so in faults.items() if is_so
        )


def scored_rows_sound(look: ShardLook) -> Iterator[Fault]:
    """Check that the rows that pass the rules on measured signals have scores, and no others."""
    stage = look.corpus.stages["scores"]
    assert isinstance(stage, Score)
    raw = look.tables["raw"]
    kept = raw.filter(pc.is_in(raw["key"], look.tables["scores"]["key"].combine_chunks()))
    asked = {row["key"]: row for row in stage.asked(kept, look.shard, look.corpus.store)}
    names = [column.name for column in columns_of(stage.config.scorers)]
    for row in look.tables["scores"].to_pylist():
        key = row["key"]
        expected = asked.get(key, {"image_sha256": "", "text_digest": ""})
        for name in ("image_sha256", "text_digest"):
            if row[name] != expected[name]:
                what = f"{key}: {name} is {row[name]!r}, expected {expected[name]!r}"
                yield look.fault("scores", what)
        for name in names:
            if (row[name] is None) == (key in asked):
                what = "is missing" if row[name] is None else f"is {row[name]!r:.80}, not asked for"
                yield look.fault("scores", f"{key}: {name} {what}")
            elif not _is_finite(row[name]):
                yield look.fault("scores", f"{key}: {name} is {row[name]!r:.80}")


def _is_finite(value: Any) -> bool:
    """Return whether a score, or every number in a list of scores, is finite."""
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def token_rows_sound(look: ShardLook) -> Iterator[Fault]:
    """Check that every image has an array of each member, with the right shape and method."""
    raw, signals = look.rows("raw"), look.rows("signals")
    precision = look.corpus.recipe.vq_tokens.precision
    described = {made["member"]: made for made in look.corpus.tokens}
    stage = look.corpus.stages["tokens"]
    assert isinstance(stage, VqTokens)
    methods = stage.methods
    faces = read_boxes(look.corpus.store, look.shard, stage.blur)
    found: dict[str, list[str]] = {}
    subset = look.corpus.subset(look.shard)
    names = sorted(name for each in described for name in subset.of_images(each)) or [""]
    for row in look.tables["tokens"].to_pylist():
        key, name = row["key"], row["member"]
        found.setdefault(key, []).append(name)
        member = subset.without_prefix(name)
        if key not in raw or key not in signals:
            continue
        if not subset.generated:
            if row != without_arrays(raw[key]):
                yield look.fault("tokens", f"{key}: has an array, and no image to generate")
            continue
        if member not in described:
            continue
        role = name.removesuffix(member).removesuffix(".")
        images = {image["role"]: image for image in raw[key]["images"]}
        image = images.get(role, raw[key])
        aspect = 1.0
        if look.corpus.recipe.vq_tokens.aspects == "buckets":
            aspect = nearest_aspect(signals[key]["height"], signals[key]["width"])
        dtype, shape = expected_array(described[member], aspect)
        expected = {
            "file": f"tokens/{look.shard:05d}.{name}",
            "dtype": dtype,
            "shape": [*shape],
            "aspect": aspect,
            "method": blurred(methods[member], face_blur(faces.get(key, ()), stage.blur)),
            "image_sha256": image["sha256"],
        }
        faults = [
            f"{name} is {row[name]!r}, expected {value!r}"
            for name, value in expected.items()
            if row[name] != value
        ]
        if row["device"] not in DEVICES or row["pass_images"] < 1:
            faults.append(f"made on {row['device']!r}, {row['pass_images']} a pass")
        faults += list(_likeness_faults(row, stage.config, described[member]["kind"]))
        drawn = precision != "fp32" and unit(key, COMPARED) < CHECKED_SHARE
        if not 0 <= row["differing"] <= row["compared"] * drawn:
            faults.append(f"{row['differing']:,} of {row['compared']:,} compared codes differ")
        yield from (look.fault("tokens", f"{key}: {name}: {what}") for what in faults)
    for key, members in found.items():
        if sorted(members) != names:
            yield look.fault("tokens", f"{key}: arrays {members}, expected {names}")


def _likeness_faults(row: Mapping[str, Any], config: VqTokensConfig, kind: str) -> Iterator[str]:
    """Yield what is wrong with the likeness of a reconstruction."""
    least = {"psnr": config.min_psnr, "ssim": config.min_ssim}
    for name, bound in least.items():
        value = row[name]
        if (value is not None) != config.reconstruction:
            yield f"{name} is {value}, reconstruction is {str(config.reconstruction).lower()}"
        elif value is not None and bound is not None and kind == "codes" and not value >= bound:
            yield f"{name} is {value}, vq_tokens.min_{name} is {bound}"


def expected_array(made: Mapping[str, Any], aspect: float) -> tuple[str, Sequence[int]]:
    """Return the dtype and the shape of a member, by its line in the manifest.

    Raises:
        ValueError: if the aspect is not one of the manifest's.
    """
    schedule = made["schedules"].get(str(aspect))
    if schedule is None:
        raise ValueError(f"aspect {aspect} is not one of the manifest's")
    scales = read_schedule(schedule)
    if made["kind"] == "features":
        dtype, shape = made["dtype"], (made["channels"], *scales[-1])
    else:
        length, words = count_codes(scales), made["code_words"]
        dtype, shape = made["codes_dtype"], (length, words) if words > 1 else (length,)
    return dtype, (made["views"], *shape) if made["views"] > 1 else shape
