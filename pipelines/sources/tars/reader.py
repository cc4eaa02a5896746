"""The reader of WebDataset tars, also img2dataset's; bytes are referenced in place."""

import hashlib
import posixpath
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from pipelines.runtime.sidecar import Reject, column
from pipelines.sources.files import SourceFile, find_files, versions
from pipelines.sources.keys import SeenKeys
from pipelines.sources.listing import Listed, PassedOver, SourcePlan, Unit, storable, with_texts
from pipelines.sources.names import as_other, is_tar, shown
from pipelines.sources.raw_shard import ImageStore, wrong_size
from pipelines.sources.tars.img2dataset import failures_beside
from pipelines.sources.tars.join import joined
from pipelines.sources.tars.members import members
from pipelines.sources.tars.samples import Sample, samples
from pipelines.sources.tars.stream import NotATarError, TarStream, open_tar
from schemas.source_config import TarSource
from schemas.store.storage import CorpusError, Storage

SHOWN_MEMBERS = 8  # in the dead letter of a sample without an image


@dataclass(slots=True)
class _Names:
    """Counts of the names of a tar's rows, by part of the tar."""

    samples: Counter[tuple[int, str]] = field(default_factory=Counter)
    images: Counter[tuple[int, str]] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class TarReader:
    """Reads samples of existing tars; one tar is one unit. Other members are counted.

    `samples` groups members into samples. The bytes of a compressed tar are copied.
    """

    source: TarSource
    max_bytes: int  # of an image

    def version(self) -> str:
        """Return the versions of the tars, and their required keys."""
        source = self.source
        return f"{versions(source.path, source.links)}\n{sorted(source.columns.explicit())}"

    def plan(self, rows_per_shard: int, store: Storage) -> SourcePlan:
        """Make one unit of every tar, with any number of rows.

        If a wildcard matches tars and other files, the other files are counted.

        Raises:
            CorpusError: there is no tar, or no .json has a key of the recipe.
        """
        found = find_files(self.source.path, self.source.links)
        kept = {file.path for file in found.files if not file.matched or is_tar(file.name)}
        tars = [file for file in found.files if file.path in kept or not kept]
        others = [file.name for file in found.files if kept and file.path not in kept]
        self._require_keys(tars)
        units = [
            Unit(
                source=self.source.name,
                path=file.url,
                name=file.name,
                version=file.version,
                start=0,
                end=file.size,
            )
            for file in tars
        ]
        passed_over = Counter(found.passed_over)
        passed_over.update(as_other(name) for name in others)
        return SourcePlan(units=units, passed_over=dict(sorted(passed_over.items())))

    def rows(self, unit: Unit) -> Iterator[Listed | Reject | PassedOver]:
        """List the rows that img2dataset failed to fetch, if it made the tar, then the samples."""
        yield from failures_beside(unit)
        seen = False
        names = _Names()
        try:
            for found in joined(samples(members(unit.path, self.source.links))):
                seen = True
                if isinstance(found, PassedOver):
                    yield found
                    continue
                yield self._listed(found, unit, names)
        except NotATarError as error:
            yield Reject(id=unit.name, reason="not_a_tar", detail=storable(str(error)))
        except tarfile.TarError as error:
            yield Reject(id=unit.name, reason="truncated_tar", detail=storable(str(error)))
        else:
            if not seen:
                yield PassedOver(what="tar without a file")

    def acquire(self, unit: Unit, rows: pa.Table, raw: ImageStore) -> None:
        """Hash each image in place, in the tar's order; copy the images of a compressed tar.

        Raises:
            CorpusError: the tar has changed since its rows were listed.
        """
        if not rows.num_rows:
            return
        try:
            with open_tar(unit.path, self.max_bytes) as stream:
                self._acquire(unit, rows, stream, raw)
        except tarfile.TarError as error:
            raise _changed(unit) from error

    def _require_keys(self, files: Sequence[SourceFile]) -> None:
        keys = SeenKeys(self.source.name, self.source.columns, url=True)
        for file in files:
            try:
                for sample in samples(members(file.url, self.source.links)):
                    if not keys.is_wanting and keys.has_texts:
                        return
                    if isinstance(sample, Sample):
                        keys.look((text.name, text.body) for text in sample.texts)
            except tarfile.TarError:  # reported with its rows
                keys.has_texts = True  # the lost part may have texts
            if keys.looked and not keys.is_wanting:
                break  # if there are no texts, only the first tar is examined
        keys.require()

    def _acquire(self, unit: Unit, rows: pa.Table, stream: TarStream, raw: ImageStore) -> None:
        places = (tuple(map(int, place.split("+"))) for place in column(rows, "place"))
        offset, body = -1, b""
        for (start, length), key in sorted(zip(places, column(rows, "key"), strict=True)):
            if why := wrong_size(length, self.max_bytes, f"{unit.name} at byte {start:,}"):
                raw.reject(key, *why)
                continue
            if (offset, len(body)) != (start, length):  # else a link to the bytes just read
                stream.seek(start)
                offset, body = start, stream.read(length)
            if len(body) < length:
                raise _changed(unit)
            if stream.packed:
                raw.store(key, body)
            elif verdict := raw.known.find(key, body):
                raw.reject(key, *verdict, dropped=True)
            else:
                raw.refer(key, unit.path, start, length, hashlib.sha256(body).hexdigest())

    def _listed(self, sample: Sample, unit: Unit, names: _Names) -> Listed | Reject:
        """Make a row of a sample.

        Args:
            sample: of the tar.
            unit: the tar.
            names: counts of the names so far; this sample's names are added.
        """
        tar = unit.name if sample.part == 1 else f"{unit.name}#{sample.part}"
        id_, image = (
            storable(f"{tar}::{_unique((sample.part, sample.name), names.samples)}"),
            sample.image,
        )
        if image is None:
            shown = " ".join(sample.suffixes[:SHOWN_MEMBERS])
            detail = f"its members: {shown}; the tar holds no image of this folder and name"
            return Reject(id=id_, reason="no_image", detail=storable(detail))
        for member in (image, *sample.texts):
            if fault := member.fault:
                detail = f"{posixpath.basename(member.name)}: {fault.what}"
                return Reject(id=id_, reason=fault.reason, detail=storable(detail))
        texts = [(posixpath.basename(text.name), text.body) for text in sample.texts]
        listed = Listed(id=id_, url="", place=f"{image.offset}+{image.size}")
        row = with_texts(listed, texts, self.source.columns, text=self.source.text)
        if isinstance(row, Reject):
            return row
        unique = _unique((sample.part, image.name), names.images)
        return replace(row, url=storable(row.url or f"{tar}::{unique}"))


def _unique(name: tuple[int, str], names: Counter[tuple[int, str]]) -> str:
    """Return a name, with a number if it is repeated in a part of a tar, as after an append."""
    names[name] += 1
    return f"{name[1]}#{names[name]}" if names[name] > 1 else name[1]


def _changed(unit: Unit) -> CorpusError:
    return CorpusError(f"{shown(unit.path)}: changed while it was read; build again")
