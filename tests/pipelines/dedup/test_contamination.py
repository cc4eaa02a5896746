"""Images of benchmarks are found among rows as by comparing each with each."""

import numpy as np
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.dedup.benchmark_files import BenchmarkCounts, write_benchmark
from pipelines.dedup.contamination import Contamination
from pipelines.dedup.semantic import ONE, Points
from schemas.list_config import Benchmark
from schemas.recipe import DedupConfig, SemanticConfig
from schemas.store.storage import Storage
from schemas.tables import BENCHMARK

HASHES = st.sampled_from([0, 0b1111, 0b11111, 0b11110000, 2**64 - 1])
COLOURS = st.sampled_from([0, 12, 13, 255])
BYTES = st.integers(0, 5)
ANGLES = st.sampled_from([0.0, 0.25, 0.32, 1.5])  # cosines 1, 0.969, 0.949, 0.07
IMAGES = st.lists(st.tuples(BYTES, HASHES, COLOURS, ANGLES), min_size=1, max_size=5)


def points(angles: list[float]) -> Points:
    rows = np.array([[np.cos(angle), np.sin(angle)] for angle in angles]).reshape(-1, 2)
    return np.rint(rows * ONE).astype(np.int16)


def rows_of(images: list[tuple[int, int, int, float]]) -> pa.Table:
    number = np.arange(len(images), dtype=np.uint64)
    hashes = np.array([image[1] for image in images], np.uint64)
    layout = [bytes([image[2]]) for image in images]
    same = np.array([image[0] for image in images], np.uint64)
    zeros = np.zeros(len(images), np.uint64)
    columns = {"shard": number.astype(np.int32), "key0": number, "key1": zeros}
    columns |= {f"sha256_{n}": zeros for n in range(3)}
    return pa.table(
        {
            **columns,
            "sha256_3": same,
            "phash": hashes,
            "layout": pa.array(layout, pa.binary(1)),
            "text": [""] * len(images),
            "title": [""] * len(images),
        }
    )


@settings(deadline=None)
@example([(0, 0, 0, 0.0)], [(1, 0b1111, 12, 1.5)], False)
@example([(0, 0, 0, 0.0)], [(1, 0b1111, 13, 1.5)], False)
@example([(0, 0, 0, 0.0)], [(1, 0b11111, 12, 1.5)], False)
@given(IMAGES, IMAGES, st.booleans())
def test_each_row_is_compared_with_each_image(tmp_path_factory, mine, theirs, semantic: bool):
    store = Storage(str(tmp_path_factory.mktemp("corpus")))
    table = [
        {
            "image": f"{number}.png",
            "sha256": f"{image[0]:064x}",
            "phash": image[1],
            "colour_layout": f"{image[2]:02x}",
            "points": row.tobytes(),
        }
        for number, (image, row) in enumerate(
            zip(theirs, points([i[3] for i in theirs]), strict=True)
        )
    ]
    made = pa.Table.from_pylist(table, schema=BENCHMARK)
    write_benchmark(store, "pics", str(mine) + str(theirs), made, BenchmarkCounts(failed={}))
    config = DedupConfig(
        benchmarks=(Benchmark(name="pics", images="elsewhere"),),
        semantic=SemanticConfig() if semantic else None,
    )
    rows = rows_of(mine)
    embedded = points([image[3] for image in mine]) if semantic else None
    clean, dropped = Contamination(config=config, store=store).split(rows, embedded)
    expected = {
        number
        for number, (same, phash, colour, angle) in enumerate(mine)
        if any(
            same == b[0]
            or ((phash ^ b[1]).bit_count() <= 4 and abs(colour - b[2]) <= 12)
            or (semantic and np.cos(angle - b[3]) >= 0.95)
            for b in theirs
        )
    }
    assert set(dropped["shard"].to_pylist()) == expected
    assert set(clean["shard"].to_pylist()) == {*range(len(mine))} - expected
    assert set(dropped["reason"].to_pylist()) <= {"contaminated:pics"}
    assert dropped["key0"].equals(dropped["kept_key0"])
