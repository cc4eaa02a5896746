"""The reader of edits that are made, exactly, of the images of another source."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa

from pipelines.runtime.sidecar import Reject
from pipelines.sources.edits.bases import Bases, urls_of
from pipelines.sources.edits.make import FORWARD, INVERSE, EditMaker
from pipelines.sources.listing import Listed, ListedImage, PassedOver, Reader, SourcePlan, Unit
from pipelines.sources.raw_shard import ImageStore
from pipelines.sources.roles import SOURCE
from schemas.keys import sample_key, unit
from schemas.recipe import DecodeConfig
from schemas.source_config import EditsSource
from schemas.store.storage import Storage

EDITS_VERSION = 1  # raised when the same image and key give other images or words


@dataclass(frozen=True, slots=True)
class EditsReader:
    """Makes edits of a share of another source's images, as its keys draw them.

    The image before and the image after are written into the corpus, as PNG. What the two are is
    known once the image is decoded, so words and parameters come with the bytes.
    """

    source: EditsSource
    base: Reader  # of `source.of`
    decode: DecodeConfig

    def version(self) -> str:
        """Return the version of the other source."""
        return self.base.version()

    def plan(self, rows_per_shard: int, store: Storage) -> SourcePlan:
        """Cut the other source; how many of a unit's rows are drawn is not known yet."""
        plan = self.base.plan(rows_per_shard, store)
        units = [replace(unit, source=self.source.name, rows=None) for unit in plan.units]
        return replace(plan, units=units)

    def rows(self, unit: Unit) -> Iterator[Listed | Reject | PassedOver]:
        """List an edit, and where its type has one its inverse, of each drawn image.

        What is no row of the other source counts there, if that is a source of the recipe too.
        """
        for row in self.base.rows(unit):
            if not isinstance(row, Listed):
                yield row
                continue
            key = sample_key(self.source.name, row.url)
            if unit_draw(key) >= self.source.share:
                yield PassedOver(what="image not drawn")
                continue
            for end in (FORWARD, INVERSE) if self.source.inverse else (FORWARD,):
                yield replace(
                    row,
                    id=f"{row.id} {end}",
                    licence=row.licence or self.source.of.licence,
                    url=f"{row.url}#{end}",
                    images=(ListedImage(role=SOURCE, url=row.url, place=row.place),),
                    origin=row.url,
                )

    def acquire(self, unit: Unit, rows: pa.Table, raw: ImageStore) -> None:
        """Make the images of each sample, and store them with their words."""
        listed = rows.to_pylist()
        titles = {row["origin"]: row["title"] for row in listed}
        bases = Bases(self.base, unit, rows, raw)
        maker = EditMaker(source=self.source, decode=self.decode, bases=bases, titles=titles)
        for url, of_image in urls_of(listed).items():
            maker.store(url, of_image, raw)


def unit_draw(key: str) -> float:
    """Draw whether an image is edited, [0, 1)."""
    return unit(key, "edited")
