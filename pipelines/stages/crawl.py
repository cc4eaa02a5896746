"""crawl: bring in the bytes of every row, or note where they lie."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.runtime.images import batches, read_each
from pipelines.runtime.retry_failed import is_marked, is_temporary
from pipelines.runtime.sidecar import read_origin, read_rejects, read_table, sidecar_path
from pipelines.runtime.stage import MapStage, ShardResult, wanted_fingerprint
from pipelines.sources.plan import make_reader, read_plan
from pipelines.sources.raw_shard import RawShard
from schemas.recipe import CrawlConfig, Recipe, Source
from schemas.store.storage import CorpusError, Storage
from schemas.tables import RAW

READ_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class Crawl(MapStage):
    """Fetch one shard's URLs into a tar; bytes that lie in a folder or tar are only referenced."""

    folder: ClassVar[str] = "raw"
    reads: ClassVar[tuple[str, ...]] = ("sources",)
    version: ClassVar[int] = 3  # 3: URLs as listed, compressed bodies, formats by name
    decides: ClassVar[tuple[str, ...]] = ("sources", "crawl")
    retries: ClassVar[bool] = True

    sources: tuple[Source, ...]
    config: CrawlConfig
    rows_of: str = "sources"

    @classmethod
    def from_recipe(cls, recipe: Recipe, rows_of: str) -> "Crawl":
        """Return the stage as a recipe has it."""
        return cls(sources=recipe.sources, config=recipe.crawl, rows_of=rows_of)

    def schema(self) -> pa.Schema:
        """Return the schema of the side-cars."""
        return RAW

    def settings(self, shard: int, store: Storage) -> Any:
        """Return what decides which bytes are taken, not how hard we try to get them."""
        source = self._source(shard, store)
        elsewhere = {*source.OF_LATER_STAGES, "licence", "columns", "quoting", "text"}
        if source.kind == "list":
            elsewhere |= {"path", "links"}
        decides = source.model_dump(mode="json", exclude=elsewhere)
        how = self.config.model_dump(mode="json", exclude={*self.config.EFFORT_FIELDS})
        version = read_plan(store)[shard].version if _holds_bytes(source) else ""
        return [decides, how, version]

    def process(self, shard: int, store: Storage, scratch: Path) -> ShardResult:
        """Write `raw/NNNNN-HASH.tar` if bytes were fetched, and `raw/NNNNN.parquet`."""
        rows = self.rows("sources", shard, store)
        raw = RawShard(shard, scratch)
        reader = make_reader(self._source(shard, store), self.config)
        settled = pa.array(self._take_over(shard, store, raw), pa.string())
        todo = rows.filter(pc.invert(pc.is_in(rows["key"], settled)))
        if todo.num_rows:
            reader.acquire(read_plan(store)[shard], todo, raw)
        return raw.finish(rows_in=rows.num_rows)

    def _take_over(self, shard: int, store: Storage, raw: RawShard) -> list[str]:
        """Keep what an earlier attempt settled, but rows to be tried again; return the keys kept.

        Bytes that are not what the side-car says count as never fetched.
        """
        path = sidecar_path(self.folder, shard)
        if not is_marked(read_origin(store, path), wanted_fingerprint(self, shard, store)):
            return []
        settled: list[str] = []
        for batch in batches(read_table(store, path).to_pylist(), READ_ROWS):
            for row, body in zip(batch, read_each(batch, store), strict=True):
                if not isinstance(body, CorpusError):
                    raw.keep(row, body)
                    settled.append(row["key"])
        for letter in read_rejects(store, self.name, shard).to_pylist():
            if not is_temporary(letter["reason"]):
                dropped = letter["outcome"] == "dropped"
                raw.reject(letter["id"], letter["reason"], letter["detail"], dropped=dropped)
                settled.append(letter["id"])
        return settled

    def _source(self, shard: int, store: Storage) -> Source:
        name = read_plan(store)[shard].source
        return next(source for source in self.sources if source.name == name)


def _holds_bytes(source: Source) -> bool:
    """Whether a new version of the source's files may mean new bytes of the same rows.

    Not so where the files hold only rows, whose change the side-car of `sources` shows.
    """
    if source.kind == "folder":
        return not source.list
    return source.kind == "webdataset" or (source.kind == "huggingface" and bool(source.image))
