"""crawl: bring in the bytes of every row, or note where they lie."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.runtime.images import batches, read_each, stored_images
from pipelines.runtime.retry_failed import MARK, is_temporary
from pipelines.runtime.sidecar import read_origin, read_rejects, read_table, sidecar_path
from pipelines.runtime.stage import MapStage, ShardResult, wanted_fingerprint
from pipelines.sources.edits.reader import EDITS_VERSION
from pipelines.sources.known_images import KNOWN_HASH, KnownImages
from pipelines.sources.plan import read_plan
from pipelines.sources.raw_shard import RawShard
from pipelines.sources.readers import make_reader
from schemas.recipe import CrawlConfig, DecodeConfig, Recipe
from schemas.source_config import Source
from schemas.store.storage import Storage
from schemas.tables import RAW

READ_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class Crawl(MapStage):
    """Fetch one shard's URLs into a tar; bytes that lie in a folder or tar are only referenced."""

    folder: ClassVar[str] = "raw"
    reads: ClassVar[tuple[str, ...]] = ("sources",)
    version: ClassVar[int] = 5  # 5: headers of opt-outs
    decides: ClassVar[tuple[str, ...]] = ("sources", "crawl")
    retries: ClassVar[bool] = True

    sources: tuple[Source, ...]
    config: CrawlConfig
    decode: DecodeConfig = field(default_factory=DecodeConfig)  # for lists of perceptual hashes
    rows_of: str = "sources"

    @classmethod
    def from_recipe(cls, recipe: Recipe, rows_of: str) -> "Crawl":
        """Return the stage as a recipe has it."""
        return cls(
            sources=recipe.sources, config=recipe.crawl, decode=recipe.decode, rows_of=rows_of
        )

    def schema(self) -> pa.Schema:
        """Return the schema of the side-cars."""
        return RAW

    @property
    def is_isolated(self) -> bool:
        """Whether images are decoded."""
        return bool(self.known.looks) or any(each.kind == "edits" for each in self.sources)

    @property
    def known(self) -> KnownImages:
        """The lists of known images."""
        return KnownImages(lists=self.config.known_hashes, decode=self.decode)

    def settings(self, shard: int, store: Storage) -> Any:
        """Return what decides which bytes are taken, not how hard we try to get them."""
        source = self._source(shard, store)
        elsewhere = {*source.OF_LATER_STAGES, "licence", "columns", "quoting", "text"}
        if source.kind == "list":
            elsewhere |= {"path", "links"}
        decides = source.model_dump(mode="json", exclude=elsewhere)
        how = self.config.model_dump(
            mode="json", exclude={*self.config.EFFORT_FIELDS, "known_hashes"}
        )
        version = read_plan(store)[shard].version if _holds_bytes(source) else ""
        made = [EDITS_VERSION, self.decode.decides()] if source.kind == "edits" else []
        return [decides, how, version, *self._known_settings(), *made]

    def _known_settings(self) -> list[Any]:
        """Return what decides which images are known; [] without a list."""
        known = self.config.decides_known()
        decode = self.decode.decides() if self.known.looks else {}
        return [known, decode] if known else []

    def process(self, shard: int, store: Storage, scratch: Path) -> ShardResult:
        """Write `raw/NNNNN-HASH.tar` if bytes were fetched, and `raw/NNNNN.parquet`."""
        rows = self.rows("sources", shard, store)
        raw = RawShard(shard, scratch, self.known)
        reader = make_reader(self._source(shard, store), self.config, self.decode)
        settled = pa.array(self._take_over(shard, store, raw), pa.string())
        todo = rows.filter(pc.invert(pc.is_in(rows["key"], settled)))
        if todo.num_rows:
            reader.acquire(read_plan(store)[shard], todo, raw)
        made = raw.finish(rows_in=rows.num_rows)
        return replace(made, base=self._base(shard, store)) if self.config.known_hashes else made

    def _base(self, shard: int, store: Storage) -> str:
        """Return the fingerprint without the lists of known images."""
        config = self.config.model_copy(update={"known_hashes": ()})
        return wanted_fingerprint(replace(self, config=config), shard, store)

    def _take_over(self, shard: int, store: Storage, raw: RawShard) -> list[str]:
        """Keep what an earlier crawl settled, but rows to be tried again; return the keys kept.

        That is an attempt whose failed rows are tried again, or a crawl with other lists of known
        images, by which its images are judged anew. Bytes that are not what the side-car says count
        as never fetched.
        """
        path = sidecar_path(self.folder, shard)
        origin, base = read_origin(store, path), self._base(shard, store)
        if origin is None:
            return []
        again = origin.fingerprint.startswith(MARK)
        made = origin.fingerprint.removeprefix(MARK)
        same_lists = made == wanted_fingerprint(self, shard, store)
        if not again if same_lists else base not in (origin.base, made):
            return []
        settled: list[str] = []
        for batch in batches(read_table(store, path).to_pylist(), READ_ROWS):
            images = [stored_images(row) for row in batch]
            bodies = iter(read_each([image for each in images for image in each], store))
            for row, of_row in zip(batch, images, strict=True):
                read = [(image, next(bodies)) for image in of_row]
                if all(isinstance(body, bytes) for _, body in read):
                    for image, body in read:
                        raw.keep(image, cast(bytes, body))
                    settled.append(row["key"])
        for letter in read_rejects(store, self.name, shard).to_pylist():
            known = letter["reason"].startswith(KNOWN_HASH)
            if not (is_temporary(letter["reason"]) and again) and (same_lists or not known):
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
    if source.kind == "edits":
        return True
    if source.kind == "folder":
        return not source.list
    return source.kind == "webdataset" or (source.kind == "huggingface" and bool(source.image))
