"""The reader of Hugging Face datasets, by Hub name or local path, streamed with `datasets`."""

import os.path
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from pipelines.fetch.types import FetchLimits
from pipelines.runtime.sidecar import Reject
from pipelines.sources.arrow_rows import Row, python_rows
from pipelines.sources.columns import column_of, look_up, require_columns, roots
from pipelines.sources.hub.bytes import encoded, image_of, why_none
from pipelines.sources.hub.dataset import (
    builder_of,
    data_files,
    features_of,
    folder_of,
    is_local,
    one_line,
    require_reachable,
    saved_folder,
    schema_of,
    stream,
    tables,
)
from pipelines.sources.hub.images import require_images
from pipelines.sources.hub.local import class_of, files_of_saved, passed_over
from pipelines.sources.hub.values import meant, smallest
from pipelines.sources.listing import (
    MALFORMED,
    Listed,
    SourcePlan,
    Unit,
    listed_from,
    storable,
)
from pipelines.sources.lists.parquet import found_in_schema
from pipelines.sources.lists.reader import checked, fetch
from pipelines.sources.names import IMAGE, what_it_is
from pipelines.sources.raw_shard import ImageStore, wanted_images, wrong_size
from pipelines.sources.roles import SEVERAL_INPUTS, Roles
from schemas.source_config import IMAGE_ROLES, Columns, HuggingFaceSource
from schemas.store.storage import CorpusError, Storage
from schemas.subsets import DEFAULT_SUBSET

BATCH_ROWS = 1000
IMAGE_ROWS = 16  # in memory, in addition to the rows that `datasets` reads ahead


@dataclass(frozen=True, slots=True)
class HubReader:
    """Reads rows of a dataset; images are copied, URLs are crawled.

    A unit skips the earlier rows of its file; `datasets` must read them for that.
    """

    source: HuggingFaceSource
    limits: FetchLimits

    def version(self) -> str:
        """Return the version of the dataset: the Hub's revision, or times of local files."""
        require_reachable(self.source)
        if saved := saved_folder(self.source):
            files = "\n".join(f"{name} {os.stat(name).st_mtime_ns}" for name in _files(saved))
        else:
            files = builder_of(self.source).hash
        return f"{files}\n{sorted(self.source.columns.explicit())}"

    def plan(self, rows_per_shard: int, store: Storage) -> SourcePlan:
        """Cut each file of the dataset into units, after counting its rows."""
        version = self.version()
        self._require_columns()
        dataset, path = self._open(images=False), self.source.path
        counts = [
            sum(table.num_rows for table in self._tables(dataset, part, BATCH_ROWS))
            for part in range(dataset.num_shards)
        ]
        expands = self.source.columns.expands
        units = [
            Unit(
                source=self.source.name,
                path=path,
                name=self.source.split,
                version=version,
                start=start,
                end=min(start + rows_per_shard, rows),
                first_row=start,
                rows=None if expands else min(start + rows_per_shard, rows) - start,
                part=part,
            )
            for part, rows in enumerate(counts)
            for start in range(0, rows, rows_per_shard)
        ]
        return SourcePlan(units=units, passed_over=self._passed_over())

    def rows(self, unit: Unit) -> Iterator[Listed | Reject]:
        """List the rows; the name of an image without a URL is its split, file and row."""
        for number, row in self._slice(unit, images=False):
            id_ = f"{unit.name}/{unit.part}/{number}"
            if isinstance(row, str):
                yield Reject(id=id_, reason=MALFORMED, detail=storable(row))
                continue
            if self.source.subset != DEFAULT_SUBSET:
                yield from self._samples(id_, number, row)
                continue
            listed = listed_from(id_, row, self.source.columns)
            if isinstance(listed, Reject):
                yield listed
            elif self.source.image:
                yield replace(listed, url=storable(listed.url or id_), place=str(number))
            else:
                yield checked(listed)

    def _samples(self, id_: str, number: int, row: Mapping[Any, Any]) -> Iterator[Listed | Reject]:
        """Yield the samples of a row with further images."""
        source = self.source
        if source.image:
            yield from Roles(source=source, main=source.image, number=number).samples(id_, row)
            return
        for listed in Roles(source=source, main=source.columns.url).samples(id_, row):
            yield listed if isinstance(listed, Reject) else checked(listed)

    def acquire(self, unit: Unit, rows: pa.Table, raw: ImageStore) -> None:
        """Copy the images of the rows, or fetch their URLs."""
        wanted = wanted_images(rows)
        if not self.source.image:
            fetch([each.id for each in wanted], [each.url for each in wanted], self.limits, raw)
            return
        by_row: dict[str, list[tuple[str, str]]] = {}
        for each in wanted:
            number, _, path = each.place.partition("/")
            by_row.setdefault(number, []).append((each.id, path or self.source.image))
        for number, row in self._slice(unit, images=True):
            for id_, path in by_row.get(str(number), ()):
                self._store(id_, number, row, path, raw)

    def _store(self, key: str, number: int, row: Row, column: str, raw: ImageStore) -> None:
        try:
            value = row if isinstance(row, str) else look_up(row, column)
            if isinstance(value, list | tuple) and len(value) > 1:
                detail = f"row {number}: column {column!r} has {len(value)} images, expected 1"
                raw.reject(key, SEVERAL_INPUTS, detail, dropped=True)
                return
            image = image_of(value[0] if isinstance(value, list | tuple) and value else value)
        except ValueError as error:
            raw.reject(key, MALFORMED, f"row {number}: {error}")
            return
        body = encoded(image, self.source.path, self.limits.max_bytes)
        if body is None:
            raw.reject(key, "missing_file", f"row {number}: {why_none(image.get('path'))}")
        elif why := wrong_size(len(body), self.limits.max_bytes, f"row {number}"):
            raw.reject(key, *why)
        else:
            raw.store(key, body)

    def _passed_over(self) -> dict[str, int]:
        source = self.source
        if not is_local(source.path):
            return {}
        if saved := saved_folder(source):
            return passed_over(source, files_of_saved(saved), (), self._images)
        found = builder_of(source)
        files, split = found.config.data_files or {}, source.split
        others = [name for each, names in files.items() if str(each) != split for name in names]
        # In an image folder the rows name the images that are used.
        used = [
            name
            for name in files.get(split, ())
            if class_of(found) != "ImageFolder" or what_it_is(os.path.basename(name)) != IMAGE
        ]
        return passed_over(source, used, others, self._images)

    def _images(self) -> Iterator[str]:
        """Yield the paths of the images that the rows name."""
        if not self.source.image:
            return
        columns = self._image_columns
        for table in tables(self._open(images=True), self.source.path, IMAGE_ROWS):
            for row in python_rows(table):
                for column in columns:
                    try:
                        image = image_of(row if isinstance(row, str) else look_up(row, column))
                    except ValueError:  # reported later as a dead letter
                        continue
                    if image.get("bytes") is None and (path := image.get("path")):
                        is_whole = "://" in path
                        yield path if is_whole else os.path.join(folder_of(self.source.path), path)

    @property
    def _image_columns(self) -> list[str]:
        """The columns that hold images."""
        columns = self.source.columns
        further = [
            str(column)
            for field, column in columns.mapped().items()
            if field.partition(".")[0] in IMAGE_ROLES
        ]
        main = [self.source.image] if columns.expects_url else []
        return list(dict.fromkeys([*main, *further]))

    @property
    def _texts(self) -> Columns:
        """The columns that are read for the list of rows."""
        columns = self.source.columns
        return columns.without_images() if self.source.image else columns

    def _require_columns(self) -> None:
        source, dataset = self.source, stream(self.source)
        schema = schema_of(dataset, source.path)
        for column in self._image_columns if source.image else ():
            require_images(dataset, schema, source, column)
        if schema.names:
            found = found_in_schema(source.path, schema, self._texts)
            require_columns(source.name, self._texts, [found], url=not source.image)

    def _open(self, *, images: bool) -> Any:
        """Open the split; without `images` it has the mapped columns only."""
        dataset, source = stream(self.source), self.source
        schema = schema_of(dataset, source.path)
        names = schema.names
        if images:
            found = (column_of(column, names) for column in self._image_columns)
            return dataset.select_columns(list(dict.fromkeys(filter(None, found))))
        # Without columns there would be no rows, so read one if none is mapped.
        columns = roots(self._texts, names) or smallest(schema)
        # If the builder can, it does not read the other columns.
        builder = None if saved_folder(source) or not columns else builder_of(source)
        if builder is not None and hasattr(builder.config, "columns"):
            return stream(source, builder_of(source, columns=columns))
        return dataset.select_columns(columns)

    def _slice(self, unit: Unit, *, images: bool) -> Iterator[tuple[int, Row]]:
        """Yield the rows of a unit with their numbers in the file."""
        dataset, first = self._open(images=images), 0
        features = dataset.features
        for table in self._tables(dataset, unit.part, IMAGE_ROWS if images else BATCH_ROWS):
            low, high = max(unit.start - first, 0), min(unit.end - first, table.num_rows)
            if low < high:
                with one_line(self.source.path, "cannot be read"):
                    rows = python_rows(table.slice(low, high - low))
                    rows = meant(rows, features or features_of(table))
                yield from enumerate(rows, first + low)
            first += table.num_rows
            if first >= unit.end:
                return

    def _tables(self, dataset: Any, part: int, batch_rows: int) -> Iterator[pa.Table]:
        """Yield the rows of a file of the dataset; an error names the file if it is known."""
        path = self.source.path
        one = dataset.shard(num_shards=dataset.num_shards, index=part)
        try:
            yield from tables(one, path, batch_rows)
        except CorpusError as error:
            message = str(error)
            files = () if saved_folder(self.source) else data_files(self.source)
            if not message.startswith(f"{path}: ") or len(files) != dataset.num_shards:
                raise
            raise CorpusError(f"{files[part]}{message.removeprefix(path)}") from error


def _files(folder: str) -> list[str]:
    return sorted(
        os.path.join(place, name) for place, _, names in os.walk(folder) for name in names
    )
