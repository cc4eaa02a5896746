"""Hugging Face datasets, by Hub name or local folder, streamed through `datasets`."""

import os.path
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import fsspec
import pyarrow as pa

from pipelines.fetch import FetchLimits
from pipelines.raw_shard import RawShard, wrong_size
from pipelines.readers.listing import Listed, SourcePlan, Unit, listed_from, storable
from pipelines.readers.lists import checked, fetch
from pipelines.sidecar import Reject, column
from pipelines.storage import CorpusError, Storage
from schemas.recipe import HuggingFaceSource


@dataclass(frozen=True, slots=True)
class HubReader:
    """Rows of a dataset; images in it are copied, URLs in it are crawled.

    A unit skips the rows of its file before it, which `datasets` does by reading them.
    """

    source: HuggingFaceSource
    limits: FetchLimits

    def version(self) -> str:
        """Return what changes with the dataset's files: the Hub's revision, local files' times."""
        saved = self._saved()
        if saved:
            return "\n".join(f"{name} {os.stat(name).st_mtime_ns}" for name in _files(saved))
        return self._builder().hash

    def plan(self, rows_per_shard: int, store: Storage) -> SourcePlan:
        """Cut each file of the dataset into units, after counting its rows."""
        version, dataset = self.version(), self._open(images=False)
        counts = [sum(1 for _ in _part(dataset, n)) for n in range(dataset.num_shards)]
        units = [
            Unit(
                source=self.source.name,
                path=self.source.path,
                name=self.source.split,
                version=version,
                start=start,
                end=min(start + rows_per_shard, rows),
                first_row=start,
                rows=min(start + rows_per_shard, rows) - start,
                part=part,
            )
            for part, rows in enumerate(counts)
            for start in range(0, rows, rows_per_shard)
        ]
        return SourcePlan(units=units)

    def rows(self, unit: Unit) -> Iterator[Listed | Reject]:
        """List the rows; an image without a URL is named by its split, file and row."""
        for number, row in enumerate(_slice(self._open(images=False), unit), unit.first_row):
            id_ = f"{unit.name}/{unit.part}/{number}"
            listed = listed_from(id_, row, self.source.columns)
            if self.source.image:
                yield replace(listed, url=storable(listed.url or id_), place=str(number))
            else:
                yield checked(listed)

    def acquire(self, unit: Unit, rows: pa.Table, raw: RawShard) -> None:
        """Copy the images of the rows, or fetch their URLs."""
        keys = column(rows, "key")
        if not self.source.image:
            fetch(keys, column(rows, "url"), self.limits, raw)
            return
        wanted = dict(zip(column(rows, "place"), keys, strict=True))
        for number, row in enumerate(_slice(self._open(images=True), unit), unit.first_row):
            if key := wanted.get(str(number)):
                self._store(key, number, row[self.source.image], raw)

    def _store(self, key: str, number: int, image: dict[str, Any] | None, raw: RawShard) -> None:
        body = _encoded(image or {}, self.source.path, self.limits.max_bytes)
        if body is None:
            path = (image or {}).get("path")
            raw.reject(key, "missing_file", f"row {number}: no image in the dataset ({path!r})")
        elif why := wrong_size(len(body), self.limits.max_bytes, f"row {number}"):
            raw.reject(key, *why)
        else:
            raw.store(key, body)

    def _saved(self) -> str:
        """Return the folder that `save_to_disk` made of the split, '' if it did not."""
        split = os.path.join(self.source.path, self.source.split)
        folders = (self.source.path, split)
        return next((f for f in folders if os.path.exists(os.path.join(f, "state.json"))), "")

    def _builder(self, **options: Any) -> Any:
        import datasets

        try:
            return datasets.load_dataset_builder(self.source.path, self.source.config, **options)
        except (OSError, ValueError) as error:  # no such dataset or configuration, no network
            raise CorpusError(f"{self.source.path}: cannot be opened: {error}") from error

    def _open(self, *, images: bool) -> Any:
        """Open the split; without `images` it has the mapped columns only."""
        import datasets

        if saved := self._saved():
            loaded: Any = datasets.load_from_disk(saved)
            dataset = loaded.to_iterable_dataset()
        else:
            dataset = self._stream(self._builder())
        names = dataset.column_names or list(next(iter(dataset), {}))
        image, columns = self.source.image, self.source.columns
        if (image or columns.url) not in names:
            raise CorpusError(
                f"{self.source.path}: no column {image or columns.url!r} among {', '.join(names)}"
            )
        if image:
            _require_images(dataset, image, self.source.path)
        if images:
            return dataset.cast_column(image, datasets.Image(decode=False)).select_columns([image])
        return self._only(dataset, [n for n in columns.model_dump().values() if n in names])

    def _only(self, dataset: Any, names: list[str]) -> Any:
        """Return a dataset of some columns; where it can, the others are not even read."""
        names = list(dict.fromkeys(names))
        builder = None if self._saved() or not names else self._builder()
        if builder is not None and hasattr(builder.config, "columns"):
            return self._stream(self._builder(columns=names))
        return dataset.select_columns(names)

    def _stream(self, builder: Any) -> Any:
        try:
            return builder.as_streaming_dataset(split=self.source.split)
        except ValueError as error:
            raise CorpusError(f"{self.source.path}: {error}") from error


def _require_images(dataset: Any, image: str, path: str) -> None:
    import datasets

    feature = (dataset.features or {}).get(image)
    castable = ("string", "binary", "large_string", "large_binary", "null")
    if isinstance(feature, datasets.Value) and feature.dtype not in castable:
        raise CorpusError(f"{path}: column {image!r} is {feature.dtype}, expected images")


def _part(dataset: Any, part: int) -> Any:
    return dataset.shard(num_shards=dataset.num_shards, index=part)


def _slice(dataset: Any, unit: Unit) -> Any:
    return _part(dataset, unit.part).skip(unit.start).take(unit.end - unit.start)


def _files(folder: str) -> list[str]:
    return sorted(
        os.path.join(place, name) for place, _, names in os.walk(folder) for name in names
    )


def _encoded(image: dict[str, Any], dataset: str, max_bytes: int) -> bytes | None:
    """Return the encoded image of a row: its bytes, or those of a file of the dataset.

    One byte over `max_bytes` is read at most. A path that leads anywhere else is not followed:
    the row may have been written by a stranger.
    """
    path = image.get("path") or ""
    if image.get("bytes") is not None or not path:
        return image.get("bytes")
    archive = path.rsplit("::", 1)[-1] if path.startswith("zip://") else path
    if path.count("::") > 1 or not _is_inside(archive, dataset):
        return None
    try:
        with fsspec.open(path, "rb") as file:
            return file.read(max_bytes + 1)  # type: ignore[union-attr]
    except (FileNotFoundError, IsADirectoryError):
        return None


def _is_inside(path: str, dataset: str) -> bool:
    """Whether a path names a file of a dataset, here or on the Hub."""
    if path.startswith(f"hf://datasets/{dataset}"):
        rest = path.removeprefix(f"hf://datasets/{dataset}")
        return rest[:1] in ("/", "@") and ".." not in rest.split("/")
    if "::" in path or "://" in path or "\0" in path:
        return False
    root = os.path.realpath(dataset)
    return os.path.commonpath([root, os.path.realpath(path)]) == root
