"""The reader of lists of URLs to crawl."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipelines.fetch.addresses import check_url
from pipelines.fetch.types import Fetched, FetchFailure, FetchLimits
from pipelines.fetch.urls import join_url
from pipelines.runtime.sidecar import Reject
from pipelines.sources.files import versions
from pipelines.sources.listing import Listed, SourcePlan, Unit
from pipelines.sources.lists.files import plan_lists, read_list
from pipelines.sources.raw_shard import ImageStore, wanted_images
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
        for row in read_list(unit, self.source):
            if isinstance(row, Reject):
                yield row
            else:
                yield _first_refused(row, self._join) or row

    def acquire(self, unit: Unit, rows: pa.Table, raw: ImageStore) -> None:
        """Fetch the URLs in parallel."""
        wanted = wanted_images(rows)
        fetch(
            [each.id for each in wanted],
            [self._join(each.url) for each in wanted],
            self.limits,
            raw,
        )

    def _join(self, url: str) -> str:
        return join_url(self.source.base_url, url) if self.source.base_url else url


def checked(row: Listed) -> Listed | Reject:
    """Return a row if its URLs can be requested, else a reject."""
    return _first_refused(row, lambda url: url) or row


def _first_refused(row: Listed, joined: Callable[[str], str]) -> Reject | None:
    """Return the reject of the first image of a row whose URL cannot be requested."""
    for url in (row.url, *(image.url for image in row.images)):
        if not url:
            return Reject(id=row.id, reason="missing_url", detail="the row has no URL")
        if why := check_url(joined(url)):
            return Reject(id=row.id, reason="bad_url", detail=f"{url!r}: {why}")
    return None


def fetch(ids: Sequence[str], urls: Sequence[str], limits: FetchLimits, raw: ImageStore) -> None:
    """Fetch a URL for each image into `raw`; each gets exactly one outcome."""
    from pipelines.fetch.fetcher import HttpFetcher  # here, because it imports aiohttp

    def sink(index: int, result: Fetched | FetchFailure) -> None:
        key = ids[index]
        if isinstance(result, Fetched):
            raw.store(
                key,
                result.body,
                final_url=result.final_url,
                status=result.status,
                content_type=result.content_type,
                opt_outs=result.opt_outs,
            )
        else:
            raw.reject(key, result.error, result.detail, dropped=result.dropped)

    HttpFetcher(limits)(enumerate(urls), sink)
