import json

import pytest

from pipelines.report.build_log import BEGUN, LOG
from pipelines.runtime.sidecar import Counts, make_origin, read_table, sidecar_path, write_sidecar
from pipelines.verify.unfinished import unfinished_build

AGAIN = "; run build again to finish it, then verify"


def log(desk, *stages: str) -> None:
    nothing = {"build": "b", "seconds": 0.0, "shards_run": 0, "shards_fresh": 0}
    lines = [json.dumps({**nothing, "stage": stage}) for stage in stages]
    desk.store.commit_bytes(LOG, "".join(f"{line}\n" for line in lines).encode())


def crawl(desk, kept: int) -> None:
    """Two shards of two listed rows each; of all, `kept` were fetched."""
    desk.put_plan(["web", "web"])
    for shard, here in enumerate((min(kept, 2), max(0, kept - 2))):
        desk.put("sources", shard, [{"key": f"{shard}{row}"} for row in range(2)])
        desk.put("raw", shard, [{"key": f"{shard}{row}"} for row in range(here)])
        table = read_table(desk.store, sidecar_path("raw", shard))
        counts = Counts(rows_in=2, kept=here, failed={"http_404": 2 - here} if here < 2 else {})
        origin = make_origin("crawl", "", table, counts)
        write_sidecar(desk.store, sidecar_path("raw", shard), table, origin)


def test_where_no_row_is_left_another_build_is_not_advised(desk) -> None:
    crawl(desk, kept=0)
    log(desk, BEGUN, "ingest", "crawl")
    assert unfinished_build(desk.store) == (
        "no sample is left: 4 rows in; crawl failed 4 (http_404 4); change the recipe or its "
        "sources, then build again"
    )


@pytest.mark.parametrize(
    ("kept", "stages", "said"),
    [
        (1, [BEGUN, "ingest", "crawl"], "the last build stopped after crawl, or did not finish"),
        # The side-cars of `crawl` may be of an earlier build.
        (0, [BEGUN, "ingest"], "the last build stopped after ingest, or did not finish"),
        (0, [BEGUN], "the last build did not finish"),
        (0, [BEGUN, "crawl", "measure"], "the last build stopped after measure, or did not finish"),
    ],
)
def test_another_build_is_advised_where_rows_may_be_left(desk, kept: int, stages, said) -> None:
    crawl(desk, kept)
    log(desk, *stages)
    assert unfinished_build(desk.store) == f"{said}{AGAIN}"


def test_nothing_is_said_of_a_finished_build_and_of_a_damaged_log(desk) -> None:
    log(desk, BEGUN, "report")
    assert unfinished_build(desk.store) == ""
    desk.store.commit_bytes(LOG, b"no json\n")
    assert unfinished_build(desk.store) == ""
    desk.store.remove(LOG)
    assert unfinished_build(desk.store) == ""
