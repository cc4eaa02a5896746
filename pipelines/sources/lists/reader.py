"""The reader of lists of URLs to crawl."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from pipelines.fetch.addresses import check_url
from pipelines.fetch.types import Fetched, FetchFailure, FetchLimits
from pipelines.fetch.urls import join_url
from pipelines.runtime.sidecar import Reject, column
from pipelines.sources.files import versions
from pipelines.sources.listing import Listed, SourcePlan, Unit
from pipelines.sources.lists.files import plan_lists, read_list
from pipelines.sources.raw_shard import RawShard
from schemas.source_config import ListSource
from schemas.store.storage import Storage


@dataclass(frozen=True, slots=True)
class ListReader:
    """Reads lists of URLs, and fetches the URLs."""

    source: ListSource
    limits: FetchLimits

    def version(self) -> str:
        """Return the versions of the lists, and their required columns."""
        source = self.source
        return f"{versions(source.path, source.links)}\n{sorted(source.columns.explicit())}"

    def plan(self, rows_per_shard: int, store: Storage) -> SourcePlan:
        """Cut every file of the source into units of `rows_per_shard` rows."""
        return plan_lists(self.source, self.source.path, rows_per_shard, store)

    def rows(self, unit: Unit) -> Iterator[Listed | Reject]:
        """List the rows; a missing or malformed URL gives a dead letter."""
        for row in read_list(unit, self.source.columns, self.source.quoting):
            if isinstance(row, Reject):
                yield row
            else:
                yield _refused(row, self._join(row.url)) or row

    def acquire(self, unit: Unit, rows: pa.Table, raw: RawShard) -> None:
        """Fetch the URLs in parallel."""
        urls = [self._join(url) for url in column(rows, "url")]
        fetch(column(rows, "key"), urls, self.limits, raw)

    def _join(self, url: str) -> str:
        return join_url(self.source.base_url, url) if self.source.base_url else url


def checked(row: Listed) -> Listed | Reject:
    """Return a row if its URL can be requested, else a reject."""
    return _refused(row, row.url) or row


def _refused(row: Listed, url: str) -> Reject | None:
    if not row.url:
        return Reject(id=row.id, reason="missing_url", detail="the row has no URL")
    if why := check_url(url):
        return Reject(id=row.id, reason="bad_url", detail=f"{row.url!r}: {why}")
    return None


def fetch(keys: list[str], urls: list[str], limits: FetchLimits, raw: RawShard) -> None:
    """Fetch a URL for each key into `raw`; each key gets exactly one outcome."""
    from pipelines.fetch.fetcher import HttpFetcher  # here, because it imports aiohttp

    def sink(index: int, result: Fetched | FetchFailure) -> None:
        key = keys[index]
        if isinstance(result, Fetched):
            raw.store(
                key,
                result.body,
                final_url=result.final_url,
                status=result.status,
                content_type=result.content_type,
                robots=result.robots,
            )
        else:
            raw.reject(key, result.error, result.detail, dropped=result.dropped)

    HttpFetcher(limits)(enumerate(urls), sink)
