"""crawl: bring in the bytes of every row, or note where they lie."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipelines.plan import make_reader, read_plan
from pipelines.raw_shard import RawShard
from pipelines.sidecar import read_table, sidecar_path
from pipelines.stage import Outcome
from pipelines.storage import Storage
from schemas.recipe import HOW_HARD_WE_TRY, Source
from schemas.recipe import Crawl as CrawlRecipe


@dataclass(frozen=True, kw_only=True)
class Crawl:
    """Fetch one shard's URLs into a tar; bytes that lie in a folder or tar are only referenced."""

    name: ClassVar[str] = "crawl"
    folder: ClassVar[str] = "raw"
    inputs: ClassVar[tuple[str, ...]] = ("sources",)
    version: ClassVar[int] = 1
    decodes: ClassVar[bool] = False

    sources: tuple[Source, ...]
    recipe: CrawlRecipe

    def settings(self, shard: int, store: Storage) -> Any:
        """Return what decides which bytes are taken, not how hard we try to get them."""
        source = self._source(shard, store)
        elsewhere = {"quota", "licence", "columns"} | ({"path"} if source.kind == "list" else set())
        decides = source.model_dump(mode="json", exclude=elsewhere)
        how = self.recipe.model_dump(mode="json", exclude=set(HOW_HARD_WE_TRY))
        version = read_plan(store)[shard].version if _holds_bytes(source) else ""
        return [decides, how, version]

    def process(self, shard: int, store: Storage, scratch: Path) -> Outcome:
        """Write `raw/NNNNN.tar` if bytes were fetched, and `raw/NNNNN.parquet`."""
        rows = read_table(store, sidecar_path("sources", shard))
        raw = RawShard(shard, scratch)
        reader = make_reader(self._source(shard, store), self.recipe)
        reader.acquire(read_plan(store)[shard], rows, raw)
        outcome = raw.finish(rows_in=rows.num_rows)
        if not outcome.files and store.exists(raw.tar):
            # Bytes of an earlier crawl, some opted out since. First goes what refers to them.
            store.remove(sidecar_path(self.folder, shard))
            store.remove(raw.tar)
        return outcome

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
