"""How one shard of a map stage is run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from pipelines.runtime.sidecar import (
    Reject,
    column,
    dead_letters_path,
    read_origin,
    read_table,
)
from pipelines.runtime.stage import MapStage, ShardResult, is_fresh, run_shard, wanted_fingerprint
from schemas.store.storage import CorpusError, Storage
from schemas.tables import SELECTION


@dataclass(frozen=True, kw_only=True)
class Judge(MapStage):
    """Keeps the keys of `sources/` that begin with an allowed letter, and says so in a file."""

    name: ClassVar[str] = "judge"
    folder: ClassVar[str] = "selection"
    reads: ClassVar[tuple[str, ...]] = ("sources",)

    allowed: str = "ab"
    lose: int = 0  # rows that get no outcome
    fail: bool = False
    note: str = ""  # in the file and its name, which then is its content's alone
    meanwhile: Callable[[], object] = lambda: None  # called before the shard is made
    ran: list[int] = field(default_factory=list)

    def schema(self) -> pa.Schema:
        return SELECTION

    def settings(self, shard: int, store: Storage) -> Any:
        return self.allowed

    def process(self, shard: int, store: Storage, scratch: Path) -> ShardResult:
        self.ran.append(shard)
        self.meanwhile()
        keys = column(read_table(store, f"sources/{shard:05d}.parquet"), "key")
        kept = [key for key in keys if key[0] in self.allowed]
        (scratch / "note").write_text(self.note or " ".join(kept))
        if self.fail:
            raise ZeroDivisionError("a bug")
        rejects = [
            Reject(id=key, reason="letter", detail=f"{key!r}") for key in keys if key not in kept
        ]
        rows = [{"key": key, "kept": True, "reason": ""} for key in kept]
        return ShardResult(
            table=pa.Table.from_pylist(rows, schema=SELECTION),
            rows_in=len(keys) + self.lose,
            rejects=rejects,
            files={f"selection/{shard:05d}{self.note}.txt": scratch / "note"},
            named_by_content=bool(self.note),
        )


@dataclass(frozen=True, kw_only=True)
class NewerJudge(Judge):
    name: ClassVar[str] = "judge"
    version: ClassVar[int] = 2


@pytest.fixture
def store(desk) -> Storage:
    desk.put("sources", 0, [{"key": key} for key in ("a1", "b1", "c1")])
    return desk.store


def test_a_shard_is_made_and_its_outcomes_are_reported(store: Storage):
    report = run_shard(Judge(), 0, store)
    assert (report.stage, report.shard, report.skipped) == ("judge", 0, False)
    assert (report.rows_in, report.kept, report.failed) == (3, 2, {"letter": 1})
    assert report.file_bytes == len("a1 b1")
    assert store.read("selection/00000.txt") == b"a1 b1"
    assert column(read_table(store, "selection/00000.parquet"), "key") == ["a1", "b1"]
    assert column(read_table(store, dead_letters_path("judge", 0)), "id") == ["c1"]
    assert is_fresh(Judge(), 0, store)


def test_a_fresh_shard_is_skipped_and_reports_what_it_holds(store: Storage):
    run_shard(Judge(), 0, store)
    stage = Judge()
    report = run_shard(stage, 0, store)
    assert stage.ran == []
    assert (report.skipped, report.rows_in, report.kept, report.failed) == (
        True,
        3,
        2,
        {"letter": 1},
    )


@pytest.mark.parametrize("changed", [Judge(allowed="abc"), NewerJudge()])
def test_changed_settings_or_code_make_a_shard_again(store: Storage, changed: Judge):
    run_shard(Judge(), 0, store)
    assert not is_fresh(changed, 0, store)
    assert not run_shard(changed, 0, store).skipped
    assert is_fresh(changed, 0, store)
    assert not is_fresh(Judge(), 0, store)


def test_changed_input_makes_a_shard_again(store: Storage, desk):
    run_shard(Judge(), 0, store)
    desk.put("sources", 0, [{"key": key} for key in ("a1", "b1")])
    assert not is_fresh(Judge(), 0, store)
    assert run_shard(Judge(), 0, store).rows_in == 2


def test_rejects_of_an_earlier_run_are_gone(store: Storage):
    run_shard(Judge(), 0, store)
    run_shard(Judge(allowed="abc"), 0, store)
    assert store.listing("dead_letters/judge") == {}


def test_input_rewritten_with_equal_rows_leaves_a_shard_fresh(store: Storage, desk):
    run_shard(Judge(), 0, store)
    desk.put("sources", 0, [{"key": key} for key in ("c1", "b1", "a1")])
    assert is_fresh(Judge(), 0, store)


def test_the_shards_of_other_numbers_do_not_matter(store: Storage, desk):
    run_shard(Judge(), 0, store)
    desk.put("sources", 1, [{"key": "a2"}])
    assert is_fresh(Judge(), 0, store)
    assert not is_fresh(Judge(), 1, store)


@pytest.mark.parametrize("lose", [1, -1])
def test_a_row_that_has_no_outcome_or_two_is_a_bug(store: Storage, lose: int):
    with pytest.raises(AssertionError, match="judge lost rows of shard 0"):
        run_shard(Judge(lose=lose), 0, store)
    assert store.listing("selection") == {}


def test_after_a_bug_the_earlier_shard_stands_and_nothing_lies_about(store: Storage):
    run_shard(Judge(), 0, store)
    before = store.listing("selection")
    with pytest.raises(ZeroDivisionError):
        run_shard(Judge(allowed="a", fail=True), 0, store)
    assert store.listing("selection") == before
    assert is_fresh(Judge(), 0, store)
    assert [path.name for path in Path(store.root).glob(".*")] == []


def test_missing_input_is_named(store: Storage):
    with pytest.raises(CorpusError, match=r"sources/00007\.parquet: missing; judge needs it"):
        wanted_fingerprint(Judge(), 7, store)


def test_a_side_car_never_stands_beside_files_it_does_not_describe(
    store: Storage, monkeypatch: pytest.MonkeyPatch
):
    run_shard(Judge(), 0, store)
    commit = Storage.commit_file

    def killed_after(store: Storage, path: str, local: Path) -> None:
        commit(store, path, local)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Storage, "commit_file", killed_after)
        with pytest.raises(KeyboardInterrupt):
            run_shard(Judge(allowed="c"), 0, store)
    assert store.read("selection/00000.txt") == b"c1"
    assert not is_fresh(Judge(), 0, store)
    run_shard(Judge(), 0, store)
    assert store.read("selection/00000.txt") == b"a1 b1"


def test_of_two_attempts_at_once_the_first_to_finish_stands_whole(store: Storage):
    faster = Judge(note="-one")
    slower = Judge(note="-two", meanwhile=lambda: run_shard(faster, 0, store))
    assert run_shard(slower, 0, store).skipped
    assert (slower.ran, faster.ran) == ([0], [0])
    origin = read_origin(store, "selection/00000.parquet")
    assert origin is not None
    assert origin.files == ("selection/00000-one.txt",)
    assert store.listing("selection").keys() == {"00000-one.txt", "00000.parquet"}


def test_files_named_by_their_content_leave_the_earlier_shard_whole_until_the_commit(
    store: Storage, monkeypatch: pytest.MonkeyPatch
):
    run_shard(Judge(note="-one"), 0, store)
    before = store.read("selection/00000.parquet")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pipelines.runtime.stage.write_dead_letters", killed)
        with pytest.raises(KeyboardInterrupt):
            run_shard(Judge(allowed="c", note="-two"), 0, store)
    assert store.read("selection/00000.parquet") == before
    assert store.read("selection/00000-one.txt") == b"-one"
    run_shard(Judge(allowed="c", note="-two"), 0, store)
    assert store.read("selection/00000-two.txt") == b"-two"


def test_rows_dropped_inside_the_side_car_count_as_dropped():
    table = pa.Table.from_pylist(
        [{"key": k, "kept": k == "a", "reason": "" if k == "a" else "quota"} for k in "abc"],
        schema=SELECTION,
    )
    counts = ShardResult(table=table, rows_in=3, kept=1, dropped={"quota": 2}).counts()
    assert counts.conserved
    assert counts.dropped == {"quota": 2}


def test_the_origin_of_a_shard_is_the_wanted_one(store: Storage):
    run_shard(Judge(), 0, store)
    origin = read_origin(store, "selection/00000.parquet")
    assert origin is not None
    assert origin.fingerprint == wanted_fingerprint(Judge(), 0, store)
