import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from judge_labels import all_rules, finding, pair_table, rule_table, shown
from judged_copies import copy_table, distances
from judged_rows import FAR, near_pairs, with_corpus_columns, within
from labels import PNG, Labelled
from PIL import Image

from filters.colour_layout import layout_distance
from filters.phash import hamming


def label(paths: tuple[str, ...], labels: str, weight: float, stratum: str = "s") -> Labelled:
    return Labelled(
        paths=paths,
        labels=frozenset(labels.split()),
        stratum=stratum,
        stratum_size=1,
        weight=weight,
    )


def rows_of(images: list[dict[str, object]]) -> pa.Table:
    """Make rows of which nothing breaks a rule, but for what `images` says."""
    usual: dict[str, object] = {
        "title": "a fox in snow",
        "text": "",
        "phash": 0,
        "colour_layout": "00" * 48,
        "text_chars": 13,
        "blank_fraction": 0.5,
        "aspect": 1.0,
        "crop_loss": 0.0,
        "image_text_area": 0.0,
        "image_text": "",
        "nsfw": 0.0,
        **dict.fromkeys(
            ("text_url", "text_email", "text_hash", "text_eps", "text_filename"), False
        ),
    }
    rows = [{"url": f"{PNG}{n}.png", **usual, **image} for n, image in enumerate(images)]
    return pa.table(
        {
            name: pa.array([row[name] for row in rows], pa.uint64() if name == "phash" else None)
            for name in rows[0]
        }
    )


def test_a_labelled_row_counts_as_many_rows_as_its_stratum_has() -> None:
    rows = [
        label(("a",), "blank", 1),
        label(("b",), "fine", 3),
        label(("c",), "blank text_heavy", 4),
        label(("d",), "fine", 2),
    ]
    result = finding(rows, np.array([True, True, False, False]), "blank")
    assert (result.found, result.good) == (2, 2)
    assert result.precision.value == pytest.approx(1 / (1 + 3))
    assert result.recall.value == pytest.approx(1 / (1 + 4))
    assert result.precision.low < 1 / 4 < result.precision.high


def test_nothing_is_said_where_nothing_was_labelled() -> None:
    result = finding([label(("a",), "fine", 1)], np.array([False]), "unsafe")
    assert math.isnan(result.precision.value)
    assert shown(result.precision) == shown(result.recall) == "-"


def test_pairs_within_reach_are_those_that_the_distances_of_the_signals_say() -> None:
    drawn = np.random.default_rng(0)
    hashes = [0, *drawn.integers(0, 2**14, 12).tolist(), 2**64 - 1]
    layouts = [drawn.integers(0, 60, 48, np.uint8).tobytes().hex() for _ in hashes]
    rows = rows_of([{"phash": h, "colour_layout": c} for h, c in zip(hashes, layouts, strict=True)])
    expected = [
        [a, b, hamming(hashes[a], hashes[b]), layout_distance(layouts[a], layouts[b])]
        for a in range(len(hashes))
        for b in range(a + 1, len(hashes))
        if hamming(hashes[a], hashes[b]) <= FAR
    ]
    assert near_pairs(rows).tolist() == expected


def test_distances_are_inclusive() -> None:
    pairs = np.array([[0, 1, 4, 12], [0, 2, 5, 12], [0, 3, 4, 13]])
    assert within(pairs, 4, 12).tolist() == [True, False, False]


def test_rules_are_judged_at_the_thresholds_of_the_recipes() -> None:
    """Of two rows over the threshold one is blank; so is one of two rows that pass."""
    fractions = (0.99, 1.0, 0.98, 0.5)
    rows = rows_of(
        [{"blank_fraction": f, "phash": 0x1FFF << 13 * n} for n, f in enumerate(fractions)]
    )
    images = [label((f"{n}.png",), said, 1) for n, said in enumerate(("fine", "blank") * 2)]
    lines = list(rule_table(with_corpus_columns(rows, near_pairs(rows)), images))
    [found] = [
        each
        for each in lines
        if "| blank | blank_fraction max 0.98 | openclipart, vargpt-v1.1 |" in each
    ]
    assert "| 2 | 2 | 0.50 (" in found
    assert found.count("0.50 (") == 2
    assert len(lines) == 2 + len(all_rules())


def test_repeated_texts_and_near_duplicates_are_counted_over_all_rows() -> None:
    rows = rows_of(
        [{}, {"title": "A Fox  in snow", "phash": 0b1}, {"text": "an owl", "phash": 0x1FF}]
    )
    found = with_corpus_columns(rows, near_pairs(rows))
    assert found["text_rows"].to_pylist() == [2, 2, 1]
    assert found["near_0"].to_pylist() == [False, False, False]
    assert found["near_4"].to_pylist() == [True, True, False]
    assert found["near_8"].to_pylist() == [True, True, True]


def test_pairs_are_measured_not_read_from_the_names_of_strata() -> None:
    rows = rows_of([{}, {"phash": 0b111}, {"phash": 0xFF << 8}])
    labelled = [
        label(("0.png", "1.png"), "same", 1, "others; 17-20 bits"),
        label(("0.png", "2.png"), "different", 1, "others; 0-0 bits"),
        label(("1.png", "2.png"), "variant", 1, "cards; 0-4 bits"),
        label(("0.png", "1.png"), "variant", 1, "stars; 0-4 bits"),
    ]
    lines = list(pair_table(rows, near_pairs(rows), labelled))
    [at_2] = [each for each in lines if each.startswith("| others | 2 | 12 |")]
    [at_4] = [each for each in lines if each.startswith("| others | 4 | 12 |")]
    [at_8] = [each for each in lines if each.startswith("| others | 8 | 12 |")]
    assert at_2.startswith("| others | 2 | 12 | 0 | - | 0.00 (")
    assert at_4.startswith("| others | 4 | 12 | 1 | 1.00 (")
    assert at_8.startswith("| others | 8 | 12 | 2 | 0.50 (")


def test_copies_are_counted_where_both_distances_find_them(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).integers(0, 255, (9, 6, 3), np.uint8)
    for name, size in (("small.png", (60, 40)), ("large.png", (400, 300))):
        file = tmp_path / PNG / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn).resize(size, Image.Resampling.BICUBIC).save(file)
    images = [label(("small.png",), "fine", 1), label(("large.png",), "fine", 1)]
    images.append(label(("missing.png",), "blank", 1))  # is not read
    _, _, every, large, *_ = copy_table(tmp_path, images)
    assert every.startswith("| JPEG | any | 2 | ")
    assert every.endswith("| 1.00 |")
    assert large.startswith("| JPEG | 256 px or more | 1 | ")


def test_a_copy_in_other_colours_is_at_a_distance() -> None:
    image = Image.new("RGB", (64, 64), (200, 0, 0))
    assert distances(image, image) == (0, 0)
    assert distances(image, Image.new("RGB", (64, 64), (0, 190, 0))) == (0, 200)
