"""Steps that no row of the corpus comes to."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.dedup.rows import SAME_BYTES, TEXT_REPEATS
from pipelines.dedup.tasks import DedupTasks
from pipelines.stages.dedup import verdict_table
from pipelines.verify.dedup import LocalSteps
from schemas.recipe import DedupConfig, EarlierCorpus, SemanticConfig
from schemas.store.storage import Storage
from schemas.tables import SCORES

PHASHES = {"pixels": 100, "phash": 7, "colour_layout": "80"}


def lay_out(desk, shards: int = 2, salt: int = 0, text: str = "") -> None:
    """Write shards of three rows; rows of equal numbers have equal bytes and texts."""
    for shard in range(shards):
        numbers = range(3 * shard, 3 * shard + 3)
        rows = [
            {
                "key": f"{number + salt:032x}",
                "sha256": f"{number:064x}",
                "text": text or f"text {number}",
                **PHASHES,
            }
            for number in numbers
        ]
        for folder in ("sources", "raw", "selection", "signals", "tokens"):
            desk.put(folder, shard, rows)
        points = np.eye(6, dtype=np.float32)[[*numbers]].tolist()
        schema = SCORES.append(pa.field("clip_embedding", pa.list_(pa.float32(), 6)))
        blank = {name: [""] * 3 for name in SCORES.names}
        columns = {**blank, "key": [row["key"] for row in rows], "clip_embedding": points}
        desk.put_table("scores", shard, pa.table(columns, schema=schema))
    desk.put_plan(["web"] * shards)


def reasons(desk, config: DedupConfig, partitions: int) -> set[str]:
    tasks = DedupTasks(config=config, partitions=partitions, rows=6)
    exchange = Storage(f"{desk.store.root}-exchange")
    steps = LocalSteps(tasks=tasks, store=exchange, corpus=desk.store)
    earlier = [each.name for each in config.against]
    return {
        row["reason"]
        for group, told in steps.run([0, 1])
        for shard in group
        for row in verdict_table(told, shard, earlier)[0].to_pylist()
    }


@pytest.mark.parametrize("salt", [0, 10])
@pytest.mark.parametrize("partitions", [1, 2])
@pytest.mark.parametrize("semantic", [None, SemanticConfig()])
def test_all_rows_may_be_in_an_earlier_corpus(
    desk, make_desk, tmp_path: Path, salt: int, partitions: int, semantic: SemanticConfig | None
) -> None:
    lay_out(make_desk(tmp_path / "old"))
    lay_out(desk, salt=salt)
    against = (EarlierCorpus(path=str(tmp_path / "old"), name="old"),)
    config = DedupConfig(against=against, semantic=semantic)
    expected = SAME_BYTES if salt else "repeated_url"
    assert reasons(desk, config, partitions) == {expected}


@pytest.mark.parametrize("partitions", [1, 2])
@pytest.mark.parametrize("distance", [None, 4])
def test_no_embedding_may_be_left_to_compare(desk, partitions: int, distance: int | None) -> None:
    lay_out(desk, text="boilerplate")
    config = DedupConfig(phash_distance=distance, max_text_repeats=2, semantic=SemanticConfig())
    assert reasons(desk, config, partitions) == {TEXT_REPEATS}
