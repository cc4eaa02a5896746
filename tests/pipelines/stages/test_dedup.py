"""Duplicates against a brute-force oracle that compares every row with every other."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.phash import hamming
from pipelines.dedup.caps import QUOTA, Cap, caps_of, rank_of
from pipelines.dedup.near_duplicates import (
    band_masks,
    clusters,
    find_representatives,
    near_hashes,
)
from pipelines.dedup.rows import (
    NEAR_DUPLICATE,
    OF_DUPLICATES,
    REPEATED_URL,
    SAME_BYTES,
    TEXT_REPEATS,
    digest,
)
from pipelines.dedup.tasks import DedupTasks
from pipelines.engines.engine import Engine, shard_numbers
from pipelines.runtime.exchange import Outputs, Tables
from pipelines.runtime.sidecar import read_origin
from pipelines.stages.dedup import Dedup, verdict_table
from pipelines.verify.dedup import LocalSteps
from schemas.recipe import DedupConfig
from schemas.recipe_file import parse_recipe
from schemas.store.storage import Storage
from schemas.tables import signals_schema


class Row(NamedTuple):
    """What dedup compares of an image."""

    key: str
    shard: int
    pixels: int
    phash: int
    sha256: str
    text: str
    layout: str
    url: str = ""
    author: str = ""
    source: str = "web"


HASHES = st.integers(0, 2**64 - 1)


def flipped(phash: int, bits: Sequence[int]) -> int:
    for bit in bits:
        phash ^= 1 << bit
    return phash


LAYOUTS = ["80", "8c", "8d", "f0"]  # one channel of one cell: 12 and 13 levels apart, and far


@st.composite
def near_hashes_of(draw: st.DrawFn, distance: int) -> list[int]:
    """Draw hashes around few centres, many of them at just the distance or one bit beyond."""
    centres = draw(st.lists(HASHES, min_size=1, max_size=3))
    bits = st.lists(st.integers(0, 63), max_size=distance + 1, unique=True)
    around = st.builds(flipped, st.sampled_from(centres), bits)
    return centres + draw(st.lists(around, max_size=20))


@st.composite
def rows_of(draw: st.DrawFn, distance: int, shards: int = 3) -> list[Row]:
    """Draw rows that repeat URLs, bytes, hashes and texts of one another."""
    rows: dict[tuple[int, str], Row] = {}
    for number, phash in enumerate(draw(near_hashes_of(distance))):
        key = f"{draw(st.integers(0, number)):032x}"
        shard = draw(st.integers(0, shards - 1))
        twin = draw(st.sampled_from([None, *rows.values()]))
        pixels, phash = (twin.pixels, twin.phash) if twin else (draw(st.integers(1, 3)), phash)
        sha256 = twin.sha256 if twin else f"{number:064x}"
        text = draw(st.sampled_from(["", "a", "b"]))
        layout = twin.layout if twin else draw(st.sampled_from(LAYOUTS))
        rows[shard, key] = Row(key, shard, pixels, phash, sha256, text, layout)
    return list(rows.values())


@dataclass(frozen=True)
class Expected:
    kept_key: str
    reason: str
    distance: int
    text_repeats: int
    kept_in: str = ""  # no corpus but this one
    matched: str = ""  # and no benchmark


def oracle(
    rows: Sequence[Row], recipe: DedupConfig, caps: Sequence[Cap] = ()
) -> dict[tuple[int, str], Expected]:
    removed: dict[Row, tuple[Row, str]] = {}  # row -> its representative, reason
    alone: dict[Row, str] = {}  # row that no other stands for -> reason

    def kept_rows() -> list[Row]:
        return [row for row in rows if row not in removed and row not in alone]

    for row in rows:
        first = min((r for r in rows if r.key == row.key), key=lambda r: r.shard)
        if row != first:
            removed[row] = first, REPEATED_URL
    texts = [row.text for row in kept_rows()]
    for row in kept_rows():
        if recipe.max_text_repeats and texts.count(row.text) > recipe.max_text_repeats:
            alone[row] = TEXT_REPEATS
    urls = kept_rows()
    if recipe.same_bytes:
        for row in urls:
            first = min((r for r in urls if r.sha256 == row.sha256), key=lambda r: r.key)
            if row != first:
                removed[row] = first, SAME_BYTES
    kept: list[Row] = []
    for row in sorted(kept_rows(), key=lambda r: (-r.pixels, r.key)):
        near = [
            other
            for other in kept
            if recipe.phash_distance is not None
            and hamming(row.phash, other.phash) <= recipe.phash_distance
            and abs(int(row.layout, 16) - int(other.layout, 16)) <= recipe.colour_distance
        ]
        if near:
            removed[row] = near[0], NEAR_DUPLICATE
        else:
            kept.append(row)
    for cap in caps:
        alone |= dict.fromkeys(over(kept_rows(), cap), cap.reason)
    found: dict[tuple[int, str], Expected] = {}
    for row in rows:
        last = row
        while last in removed:
            last = removed[last][0]
        reason = removed[row][1] if row in removed else alone.get(row, "")
        repeats = 0 if reason == REPEATED_URL else texts.count(row.text)
        bits = hamming(row.phash, last.phash) if recipe.phash_distance is not None else 0
        found[row.shard, row.key] = Expected(last.key, reason, bits, repeats)
    return found


def over(rows: Sequence[Row], cap: Cap) -> list[Row]:
    """Return the rows beyond a cap; `test_caps.py` tells which ones stay."""
    found: list[Row] = []
    of = {"max_per_text": "text", "max_per_image": "sha256", "max_per_author": "author"}
    name = of.get(cap.reason, "source")
    limits = {(a, b): limit for a, b, limit in cap.limits}
    for group in {getattr(row, name) for row in rows}:
        members = [row for row in rows if getattr(row, name) == group]
        members.sort(key=lambda row: rank_of_key(row.key, cap))
        limit = limits.get(digest(group), len(rows)) if limits else cap.limit
        found += members[limit:] if group or name == "text" else []
    return found


def rank_of_key(key: str, cap: Cap) -> int:
    words = {f"key{n}": np.array([int(key[16 * n :][:16], 16)], np.uint64) for n in range(2)}
    return int(rank_of(pa.table(words), cap.reason)[0])


def lay_out(desk, rows: Sequence[Row], shards: int) -> None:
    for shard in range(shards):
        here = [row._asdict() for row in rows if row.shard == shard]
        for folder in ("sources", "raw", "selection"):
            desk.put(folder, shard, here)
        desk.put("signals", shard, [row | {"colour_layout": row["layout"]} for row in here])


def run_job(
    desk,
    shards: Sequence[int],
    recipe: DedupConfig,
    partitions: int = 2,
    caps: tuple[Cap, ...] = (),
) -> dict[tuple[int, str], Expected]:
    """Run the job of Beam, which takes seconds of a core."""
    stage = Dedup(config=recipe, caps=caps)
    Engine(processes=1).run(
        lambda root: stage.expand(
            shard_numbers(root, shards), desk.store, "f" * 32, partitions=partitions
        ),
        name="dedup",
    )
    return {
        (shard, row.pop("key")): Expected(**row)
        for shard in shards
        for row in desk.rows("duplicates", shard)
    }


def run(
    desk, shards: Sequence[int], recipe: DedupConfig, partitions: int = 2, caps: Sequence[Cap] = ()
) -> dict[tuple[int, str], Expected]:
    """Run the same steps without Beam."""
    tasks = DedupTasks(config=recipe, caps=caps, partitions=partitions)
    exchange = Storage(f"{desk.store.root}-exchange")
    return run_locally(LocalSteps(tasks=tasks, store=exchange, corpus=desk.store), shards)


def run_locally(steps: LocalSteps, shards: Sequence[int]) -> dict[tuple[int, str], Expected]:
    return {
        (shard, row.pop("key")): Expected(**row)
        for group, told in steps.run(shards)
        for shard in group
        for row in verdict_table(told, shard)[0].to_pylist()
    }


def all_near(hashes: Sequence[int], distance: int) -> set[tuple[int, int]]:
    pairs = combinations(sorted(set(hashes)), 2)
    return {(a, b) for a, b in pairs if hamming(a, b) <= distance}


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 8).flatmap(lambda d: st.tuples(st.just(d), near_hashes_of(d))))
def test_all_near_hashes_are_found_and_each_pair_once(drawn: tuple[int, list[int]]):
    distance, hashes = drawn
    masks = len(band_masks(distance))
    distinct = np.unique(np.array(hashes, np.uint64))
    bands = np.repeat(np.arange(masks, dtype=np.uint8), len(distinct))
    found = near_hashes(np.tile(distinct, masks), bands, distance)
    pairs = [tuple(sorted(pair)) for pair in found.tolist()]
    assert len(set(pairs)) == len(pairs)
    assert set(pairs) == all_near(hashes, distance)


@pytest.mark.parametrize(("distance", "keys"), [(0, 1), (4, 15), (8, 45), (16, 153)])
def test_a_hash_is_sent_once_a_band(distance: int, keys: int):
    assert len(band_masks(distance)) == len({*band_masks(distance)}) == keys


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(HASHES, HASHES), max_size=12))
def test_clusters_are_what_pairs_connect(pairs: list[tuple[int, int]]):
    members = {member: {member} for pair in pairs for member in pair}
    for a, b in pairs:
        joined = members[a] | members[b]
        members |= dict.fromkeys(joined, joined)
    hashes, least = clusters(np.array(pairs, np.uint64).reshape(-1, 2))
    found = dict(zip(hashes.tolist(), least.tolist(), strict=True))
    assert found == {member: min(joined) for member, joined in members.items()}


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 8).flatmap(lambda d: st.tuples(st.just(d), rows_of(d, shards=1))))
def test_the_representatives_of_a_cluster_are_those_found_by_comparing_all_rows(
    drawn: tuple[int, list[Row]],
):
    distance, rows = drawn
    recipe = DedupConfig(same_bytes=False, phash_distance=distance)
    rows = sorted(rows, key=lambda row: (-row.pixels, row.key))
    representatives = find_representatives(
        np.zeros(len(rows), np.int64),
        np.array([row.phash for row in rows], np.uint64),
        np.array([[int(row.layout, 16) for row in rows]], np.uint8),
        distance=distance,
        colour_distance=recipe.colour_distance,
    )
    expected = oracle(rows, recipe)
    for row, kept in zip(rows, representatives.tolist(), strict=True):
        assert rows[kept].key == expected[row.shard, row.key].kept_key


@pytest.mark.slow
@settings(deadline=None, max_examples=8)
@given(
    st.sampled_from([0, 1, 4, 8]).flatmap(lambda d: st.tuples(st.just(d), rows_of(d))),
    st.booleans(),
    st.integers(1, 4),
)
def test_the_whole_job_finds_what_the_oracle_finds(
    tmp_path_factory: pytest.TempPathFactory,
    make_desk,
    drawn: tuple[int, list[Row]],
    same: bool,
    partitions: int,
):
    distance, rows = drawn
    recipe = DedupConfig(
        same_bytes=same, phash_distance=distance, max_text_repeats=9, max_per_text=3
    )
    desk = make_desk(tmp_path_factory.mktemp("dedup"))
    lay_out(desk, rows, 3)
    caps = caps_of_recipe(recipe, {"web": 4})
    found = run_job(desk, [2, 0, 1], recipe, partitions, caps)
    assert found == oracle(rows, recipe, caps)
    alone = {key for (_, key), verdict in found.items() if verdict.reason not in OF_DUPLICATES}
    assert {verdict.kept_key for verdict in found.values()} <= alone


def caps_of_recipe(config: DedupConfig, quotas: dict[str, int]) -> tuple[Cap, ...]:
    """Return the caps of a recipe with two sources."""
    sources = [
        {"name": name, "kind": "list", "path": "a.csv", "quota": quotas.get(name)}
        for name in ("web", "hub")
    ]
    return caps_of(parse_recipe({"name": "a", "sources": sources, "dedup": config.model_dump()}))


def popular_rows(seed: int, shards: int, rows: int = 150) -> list[Row]:
    """Draw rows of few URLs, files, looks and sizes, in all combinations."""
    draw = np.random.default_rng(seed)
    of = draw.integers(2, 12)  # values a column
    columns = draw.integers(0, of, (rows, 5)).tolist()
    found = {}
    for number, (url, file, phash, pixels, layout) in enumerate(columns):
        key = url if number % 3 == 0 else 1000 + number
        shard = int(draw.integers(0, shards))
        found[shard, key] = Row(
            key=f"{key * 0x9E3779B97F4A7C15 % 2**64:032x}",
            shard=shard,
            pixels=pixels,
            phash=phash << 58 | phash % 3,
            sha256=sha256(b"%d" % file).hexdigest(),
            text=f"text {phash % 4}",
            layout=LAYOUTS[layout % len(LAYOUTS)],
            author=("", "ann", "bob")[file % 3],
            source=("web", "hub")[shard % 2],
        )
    return list(found.values())


@settings(deadline=None, max_examples=15)
@given(
    st.integers(0, 2**32),
    st.integers(1, 9),
    st.booleans(),
    st.sampled_from([None, 0, 2]),
    st.tuples(*(st.sampled_from([None, *some]) for some in ([30, 60], [1, 5], [2, 9], [4, 20]))),
)
def test_verdicts_on_equal_rows_are_the_oracles_for_any_number_of_tasks(
    tmp_path_factory: pytest.TempPathFactory,
    make_desk,
    seed: int,
    partitions: int,
    same: bool,
    distance: int | None,
    most: tuple[int | None, ...],
):
    rows = popular_rows(seed, shards=6)
    repeats, per_text, per_author, quota = most
    recipe = DedupConfig(
        same_bytes=same,
        phash_distance=distance,
        max_text_repeats=repeats,
        max_per_text=per_text,
        max_per_author=per_author,
        max_per_image=per_author if not same and distance is None else None,
    )
    caps = caps_of_recipe(recipe, {"hub": quota} if quota else {})
    desk = make_desk(tmp_path_factory.mktemp("dedup"))
    lay_out(desk, rows, 6)
    found = run(desk, range(6), recipe, partitions, caps)
    assert found == oracle(rows, recipe, caps)


@dataclass(frozen=True, kw_only=True)
class CountedSteps(LocalSteps):
    """Dedup's steps, and the most rows that a task of each step received."""

    largest: Counter[str] = field(default_factory=Counter)

    def run_task(
        self, name: str, function: Callable[[Tables], Outputs], *received: tuple[Any, str]
    ) -> Any:
        def counted(tables: Tables) -> Outputs:
            rows = sum(table.num_rows for table in tables.values())
            self.largest[name] = max(self.largest[name], rows)
            return function(tables)

        return super().run_task(name, counted, *received)


@pytest.mark.parametrize("equal", ["sha256", "phash"])
def test_at_most_one_row_a_task_of_a_popular_image_is_compared(desk, tmp_path: Path, equal: str):
    copies, partitions = 20_000, 20
    draw = np.random.default_rng(0).permutation(copies).tolist()
    looks = {"sha256": f"{7:064x}"} if equal == "sha256" else {}
    rows = [row(n, shard=place % partitions, **looks) for place, n in enumerate(draw)]
    rows = [r._replace(key=f"{int(r.key, 16) * 0x9E3779B97F4A7C15 % 2**64:032x}") for r in rows]
    lay_out(desk, rows, partitions)
    tasks = DedupTasks(config=DedupConfig(), partitions=partitions)
    exchange = Storage(str(tmp_path / "exchange"))
    steps = CountedSteps(tasks=tasks, store=exchange, corpus=desk.store)
    found = run_locally(steps, range(partitions))
    assert len({verdict.kept_key for verdict in found.values()}) == 1
    compared = ["bytes", "equal"] if equal == "sha256" else ["equal"]
    redirected = [f"resolve_{name}" for name in compared]
    assert max(steps.largest[name] for name in (*compared, *redirected)) <= partitions
    # Verdicts come in groups of what one task removed, some of which meet by chance.
    assert max(steps.largest.values()) <= 4 * copies / partitions


def row(number: int, shard: int = 0, **changes: Any) -> Row:
    base = {"pixels": 100, "phash": 0, "sha256": f"{number:064x}", "text": f"text {number}"}
    return Row(key=f"{number:032x}", shard=shard, **base | {"layout": "80"} | changes)


def key(number: int) -> str:
    return f"{number:032x}"


def test_the_representative_of_a_removed_row_is_a_row_that_is_kept(desk):
    """4 repeats 3's URL, 3 has the bytes of 2, 2 the hash of 1, and 1 is near 0."""
    far = 1 << 63
    rows = [
        row(0, pixels=400, phash=far | 1),
        row(1, pixels=300, phash=far),
        row(2, pixels=200, phash=far),
        row(3, shard=1, pixels=200, phash=far, sha256=f"{2:064x}"),
        row(3, shard=2, pixels=999, phash=far | 6),
    ]
    lay_out(desk, rows, 3)
    found = run_job(desk, [0, 1, 2], DedupConfig(phash_distance=2))
    assert found == {
        (0, key(0)): Expected(key(0), "", 0, 1),
        (0, key(1)): Expected(key(0), NEAR_DUPLICATE, 1, 1),
        (0, key(2)): Expected(key(0), NEAR_DUPLICATE, 1, 1),
        (1, key(3)): Expected(key(0), SAME_BYTES, 1, 1),
        (2, key(3)): Expected(key(0), REPEATED_URL, 3, 0),
    }


def test_verdicts_do_not_depend_on_the_order_or_number_of_shards(desk, make_desk, tmp_path: Path):
    rows = [
        row(n, phash=(n % 4) << 60 | n % 3, pixels=100 + n % 5, text=str(n % 7)) for n in range(40)
    ]
    recipe = DedupConfig(phash_distance=2)
    lay_out(desk, rows, 1)
    one = run(desk, [0], recipe)
    spread = make_desk(tmp_path / "spread")
    lay_out(spread, [r._replace(shard=int(r.key, 16) % 5) for r in rows], 5)
    five = run(spread, [3, 1, 4, 0, 2], recipe, partitions=7)
    assert {k: v for (_, k), v in five.items()} == {k: v for (_, k), v in one.items()}
    assert len({v.kept_key for v in one.values()}) < len(rows)


def test_hashes_of_64_bits_survive_the_shuffles(desk):
    rows = [row(0, phash=2**64 - 1), row(1, phash=2**63), row(2, phash=2**64 - 2)]
    lay_out(desk, rows, 1)
    found = run(desk, [0], DedupConfig(phash_distance=1))
    assert [(v.kept_key, v.distance) for v in found.values()] == [
        (key(0), 0),
        (key(1), 0),
        (key(0), 1),
    ]


def test_a_shard_without_a_measured_row_gets_its_side_car(desk):
    lay_out(desk, [row(0)], 3)
    assert len(run_job(desk, [0, 1, 2], DedupConfig())) == 1
    for shard in range(3):
        origin = read_origin(desk.store, f"duplicates/{shard:05d}.parquet")
        assert origin is not None
        assert (origin.stage, origin.fingerprint) == ("dedup", "f" * 32)
        assert origin.counts.conserved
        assert origin.counts.rows_in == (shard == 0)


def test_the_side_car_counts_removed_rows_by_reason(desk):
    rows = [row(0), row(1, sha256=f"{0:064x}"), row(2, phash=1), row(0, shard=1)]
    lay_out(desk, rows, 2)
    run_job(desk, [0, 1], DedupConfig())
    first, second = (read_origin(desk.store, f"duplicates/0000{n}.parquet") for n in (0, 1))
    assert first is not None
    assert second is not None
    assert dict(first.counts.dropped) == {SAME_BYTES: 1, NEAR_DUPLICATE: 1}
    assert dict(second.counts.dropped) == {REPEATED_URL: 1}


def test_texts_are_counted_over_urls_not_over_listings(desk):
    rows = [
        row(0, text="A  Fox"),
        row(1, text="a fox", phash=0xFF),
        row(2, text=" a fox ", phash=0xFF00, shard=1),
        row(0, text="a fox", shard=1),
        row(3, text="", phash=0xFF0000),
    ]
    lay_out(desk, rows, 2)
    found = run(desk, [0, 1], DedupConfig(phash_distance=None))
    assert {place: verdict.text_repeats for place, verdict in found.items()} == {
        (0, key(0)): 3,
        (0, key(1)): 3,
        (0, key(3)): 1,
        (1, key(2)): 3,
        (1, key(0)): 0,
    }


def test_case_distinguishes_texts_where_the_recipe_does_not_fold_it(desk):
    lay_out(desk, [row(n, text=text, phash=n) for n, text in enumerate(["A Fox", "a fox"])], 1)
    for fold_case, repeats in ((True, 2), (False, 1)):
        found = run(desk, [0], DedupConfig(phash_distance=None, fold_case=fold_case))
        assert {verdict.text_repeats for verdict in found.values()} == {repeats}


def test_a_text_is_sent_to_be_counted_once_a_task(desk):
    lay_out(desk, [row(n, text="", phash=n) for n in range(50)], 1)
    tasks = DedupTasks(config=DedupConfig(), partitions=1)
    rows, _ = tasks.read(0, [0], desk.store)["by_url"]
    counts, _ = tasks.urls({"by_url": rows})["counts"]
    assert counts["rows"].to_pylist() == [50]


def test_rows_of_too_many_with_a_text_are_dropped_and_stand_for_no_duplicate(desk):
    """0 and 1 are of equal bytes, and share their text with 2; 3 is like 2."""
    rows = [
        row(0, text="a", sha256=f"{7:064x}"),
        row(1, text="a", sha256=f"{7:064x}"),
        row(2, text="a", phash=0xFF00, shard=1),
        row(3, text="b", phash=0xFF01, shard=1, pixels=9),
    ]
    lay_out(desk, rows, 2)
    found = run(desk, [0, 1], DedupConfig(phash_distance=2, max_text_repeats=2))
    assert {name: (v.reason, v.kept_key) for (_, name), v in found.items()} == {
        **{key(n): (TEXT_REPEATS, key(n)) for n in range(3)},
        key(3): ("", key(3)),
    }
    within = run(desk, [0, 1], DedupConfig(phash_distance=2, max_text_repeats=3))
    assert Counter(verdict.reason for verdict in within.values()) == {
        "": 2,
        SAME_BYTES: 1,
        NEAR_DUPLICATE: 1,
    }


@pytest.mark.parametrize("distance", [None, 2])
def test_nothing_is_compared_where_every_text_is_boilerplate(desk, distance: int | None):
    lay_out(desk, [row(n, text="a") for n in range(3)], 1)
    found = run(desk, [0], DedupConfig(phash_distance=distance, max_text_repeats=2))
    assert {verdict.reason for verdict in found.values()} == {TEXT_REPEATS}


def test_a_cap_counts_only_rows_that_no_step_before_it_dropped(desk):
    """A host has a duplicate, a row beyond the cap of its text, and two rows that stay."""
    url = "http://a.org/a.jpg"
    rows = [
        row(0, url=url, phash=1 << 60),
        row(1, url=url, phash=1 << 60),
        *(row(n, url=url, text="a", phash=n << 8) for n in (20, 40)),
    ]
    lay_out(desk, rows, 1)
    config = DedupConfig(phash_distance=1, max_per_text=1, max_per_host=2)
    found = run(desk, [0], config, caps=caps_of_recipe(config, {}))
    reasons = Counter(verdict.reason for verdict in found.values())
    assert reasons == {"": 2, NEAR_DUPLICATE: 1, "max_per_text": 1}


def test_the_representative_of_a_duplicate_may_be_dropped_by_a_cap(desk):
    rows = [row(n, sha256=f"{7:064x}") for n in range(2)] + [row(2, phash=0xFF0)]
    lay_out(desk, rows, 1)
    found = run(desk, [0], DedupConfig(), caps=caps_of_recipe(DedupConfig(), {"web": 1}))
    reasons = {name: (v.reason, v.kept_key) for (_, name), v in found.items()}
    assert reasons[key(1)] == (SAME_BYTES, key(0))
    alone = {name: reasons[key(name)][0] for name in (0, 2)}
    assert sorted(alone.values()) == ["", QUOTA]
    assert all(reasons[key(name)][1] == key(name) for name in alone)


def test_comparisons_that_the_recipe_turns_off_are_not_made(desk):
    rows = [row(0), row(1), row(2, sha256=f"{0:064x}")]
    lay_out(desk, rows, 1)
    kept = {
        v.reason
        for v in run(desk, [0], DedupConfig(same_bytes=False, phash_distance=None)).values()
    }
    assert kept == {""}


def test_dedup_by_bytes_needs_no_hashes(desk):
    rows = [row(0), row(1, sha256=f"{0:064x}")]
    lay_out(desk, rows, 1)
    size_only = pa.table(
        {"key": [r.key for r in rows], "pixels": [100, 100], "images": [[], []]},
        schema=signals_schema([pa.field("pixels", pa.int64())]),
    )
    desk.put_table("signals", 0, size_only)
    found = run(desk, [0], DedupConfig(phash_distance=None))
    assert [v.reason for v in found.values()] == ["", SAME_BYTES]


def test_equal_hashes_of_other_colours_are_other_images(desk):
    rows = [row(0, phash=5), row(1, phash=5, layout="8d"), row(2, phash=4, layout="8c")]
    lay_out(desk, rows, 1)
    found = run(desk, [0], DedupConfig(phash_distance=2))
    assert {name: verdict.kept_key for (_, name), verdict in found.items()} == {
        key(0): key(0),
        key(1): key(1),
        key(2): key(0),
    }
