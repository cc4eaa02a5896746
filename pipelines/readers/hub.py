"""Hugging Face datasets, by Hub name or local folder, streamed through `datasets`."""

import os.path
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import fsspec
import pyarrow as pa

from pipelines.addresses import check_url
from pipelines.fetch import FetchLimits
from pipelines.raw_shard import RawShard
from pipelines.readers.listing import Listed, Unit, listed_from
from pipelines.readers.lists import fetch
from pipelines.sidecar import Reject, column
from pipelines.storage import CorpusError, Storage
from schemas.recipe import HuggingFaceSource


@dataclass(frozen=True, slots=True)
class HubReader:
    """Rows of a dataset; images in it are copied, URLs in it are crawled."""

    source: HuggingFaceSource
    limits: FetchLimits

    def plan(self, rows_per_shard: int, store: Storage) -> list[Unit]:
        """Cut each file of the dataset into units, after counting its rows."""
        dataset = self._open()
        units: list[Unit] = []
        for part in range(dataset.num_shards):
            rows = sum(1 for _ in self._without_images(_part(dataset, part)))
            units += [
                Unit(
                    source=self.source.name,
                    path=self.source.path,
                    version=f"{rows} rows",
                    start=start,
                    end=min(start + rows_per_shard, rows),
                    first_row=start,
                    part=part,
                )
                for start in range(0, rows, rows_per_shard)
            ]
        return units

    def rows(self, unit: Unit) -> Iterator[Listed | Reject]:
        """List the rows; an image without a URL is named by its split, file and row."""
        slice_ = self._without_images(_slice(self._open(), unit))
        for number, row in enumerate(slice_, unit.first_row):
            id_ = f"{self.source.split}/{unit.part}/{number}"
            listed = listed_from(id_, row, self.source.columns)
            if self.source.image:
                yield replace(listed, url=listed.url or id_, place=str(number))
            elif not listed.url:
                yield Reject(id=id_, reason="missing_url", detail="the row has no URL")
            elif why := check_url(listed.url):
                yield Reject(id=id_, reason="bad_url", detail=f"{listed.url!r}: {why}")
            else:
                yield listed

    def acquire(self, unit: Unit, rows: pa.Table, raw: RawShard) -> None:
        """Copy the images of the rows, or fetch their URLs."""
        keys = column(rows, "key")
        if not self.source.image:
            fetch(keys, column(rows, "url"), self.limits, raw)
            return
        wanted = dict(zip(column(rows, "place"), keys, strict=True))
        for number, row in enumerate(_slice(self._open(), unit), unit.first_row):
            key = wanted.get(str(number))
            if key is None:
                continue
            body = _bytes(row[self.source.image], self.source.path)
            if not body:
                raw.reject(key, "missing_file", f"row {number} has no image")
            elif len(body) > self.limits.max_bytes:
                raw.reject(key, "too_large", f"row {number}: {len(body):,} bytes")
            else:
                raw.store(key, body)

    def _open(self) -> Any:
        import datasets

        source = self.source
        if os.path.exists(os.path.join(source.path, "state.json")):  # made by save_to_disk
            dataset: Any = datasets.load_from_disk(source.path)
            dataset = dataset.to_iterable_dataset()
        else:
            dataset = datasets.load_dataset(
                source.path, source.config, split=source.split, streaming=True
            )
        if source.image:
            if source.image not in (dataset.features or {}):
                names = ", ".join(dataset.features or {})
                raise CorpusError(f"{source.path}: no column {source.image!r} among {names}")
            dataset = dataset.cast_column(source.image, datasets.Image(decode=False))
        return dataset

    def _without_images(self, dataset: Any) -> Any:
        return dataset.remove_columns(self.source.image) if self.source.image else dataset


def _part(dataset: Any, part: int) -> Any:
    return dataset.shard(num_shards=dataset.num_shards, index=part)


def _slice(dataset: Any, unit: Unit) -> Any:
    return _part(dataset, unit.part).skip(unit.start).take(unit.end - unit.start)


def _bytes(image: dict[str, Any] | None, dataset: str) -> bytes:
    """Return the encoded image of a row: its bytes, or those of a file of the dataset.

    A path that leads anywhere else is not followed: the row may have been written by a stranger.
    """
    if not image:
        return b""
    path = image.get("path") or ""
    if image.get("bytes") or not path:
        return image.get("bytes") or b""
    root = os.path.realpath(dataset)
    if path.startswith(f"hf://datasets/{dataset}") or os.path.realpath(path).startswith(root + "/"):
        with fsspec.open(path, "rb") as file:
            return file.read()  # type: ignore[union-attr]
    return b""
