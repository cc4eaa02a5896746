"""Two stages that read nothing, for tests of how stages are run; workers can import them."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from pipelines.runtime.sidecar import Reject
from pipelines.runtime.stage import MapStage, ShardResult
from schemas.store.storage import Storage

ROWS = 10  # a shard


@dataclass(frozen=True, kw_only=True)
class Number(MapStage):
    """Writes ten rows a shard; makes their number one more than the stage before."""

    name: ClassVar[str] = "number"
    folder: ClassVar[str] = "numbers"

    fail: int = 0  # rows of each shard
    pause_s: float = 0.0
    machine: str = ""
    note: str = ""

    def schema(self) -> pa.Schema:
        return pa.schema({"key": pa.string()})

    def hints(self) -> dict[str, str]:
        return {"min_ram": self.machine} if self.machine else {}

    def settings(self, shard: int, store: Storage) -> Any:
        return [self.fail, self.note]

    def process(self, shard: int, store: Storage, scratch: Path) -> ShardResult:
        time.sleep(self.pause_s)
        keys = [f"{shard:030x}{row:02x}" for row in range(ROWS)]
        rejects = [Reject(id=key, reason="timeout", detail="late") for key in keys[: self.fail]]
        table = pa.Table.from_pydict({"key": keys[self.fail :]}, schema=self.schema())
        return ShardResult(table=table, rows_in=ROWS, rejects=rejects)


@dataclass(frozen=True, kw_only=True)
class After(Number):
    """The same, after it."""

    name: ClassVar[str] = "after"
    folder: ClassVar[str] = "afters"

    rows_of: str = "numbers"
