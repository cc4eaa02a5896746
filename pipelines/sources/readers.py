"""The reader of each kind of source."""

from pipelines.sources.listing import Reader
from schemas.recipe import CrawlConfig, DecodeConfig
from schemas.source_config import Source

DEFAULT_DECODE = DecodeConfig()


def make_reader(
    source: Source, crawl: CrawlConfig, decode: DecodeConfig = DEFAULT_DECODE
) -> Reader:
    """Return the reader for a source's kind.

    Args:
        source: of the recipe.
        crawl: how URLs are fetched.
        decode: how images are decoded, of which edits are made.
    """
    from pipelines.fetch.types import FetchLimits
    from pipelines.sources.edits.reader import EditsReader
    from pipelines.sources.folders.reader import FolderReader
    from pipelines.sources.hub.reader import HubReader
    from pipelines.sources.lists.reader import ListReader
    from pipelines.sources.tars.reader import TarReader

    limits = FetchLimits(**crawl.model_dump(exclude={"known_hashes"}))
    if source.kind == "list":
        return ListReader(source, limits)
    if source.kind == "edits":
        return EditsReader(source, make_reader(source.of, crawl), decode)
    if source.kind == "folder":
        return FolderReader(source, crawl.max_bytes)
    if source.kind == "webdataset":
        return TarReader(source, crawl.max_bytes)
    return HubReader(source, limits)
