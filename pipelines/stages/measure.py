"""measure: decode every image once and store its signals; values, not verdicts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from filters.decode import DecodeError, Scaled
from filters.freed_memory import keep_image_memory
from filters.image_change import image_change
from filters.registry import columns, make_signal
from filters.signal import Record, Signal, least_side, suffices
from pipelines.runtime.active_images import active_images, most_at_once
from pipelines.runtime.images import (
    decode_image_scaled,
    read_samples,
    refused,
)
from pipelines.runtime.sidecar import Reject, read_table, sidecar_path
from pipelines.runtime.stage import MapStage, ShardResult
from schemas.recipe import DecodeConfig, MeasureConfig, Recipe
from schemas.store.storage import Storage
from schemas.tables import signals_schema

BATCH_ROWS = 32
# Decoded images wait for their batch only up to here: 150 MB of RGB, or one image.
BATCH_PIXELS = 50_000_000


@dataclass(frozen=True, kw_only=True)
class Measure(MapStage):
    """Measure every signal of the recipe on one raw shard."""

    folder: ClassVar[str] = "signals"
    reads: ClassVar[tuple[str, ...]] = ("sources", "raw")
    version: ClassVar[int] = 4  # 4: further images
    decides: ClassVar[tuple[str, ...]] = ("measure", "decode", "vq_tokens")
    decodes: ClassVar[bool] = True
    retries: ClassVar[bool] = True

    config: MeasureConfig
    decode: DecodeConfig
    rows_of: str = "raw"
    batch_rows: int = BATCH_ROWS
    batch_pixels: int = BATCH_PIXELS

    @classmethod
    def from_recipe(cls, recipe: Recipe, rows_of: str) -> "Measure":
        """Return the stage as a recipe has it."""
        config = recipe.measure
        if "crop_loss" in config.signals:
            shape = {"crop_loss": {"aspects": recipe.vq_tokens.aspects}}
            config = config.model_copy(update={"settings": {**shape, **config.settings}})
        return cls(config=config, decode=recipe.decode, rows_of=rows_of)

    def schema(self) -> pa.Schema:
        """Return the schema of the side-cars: the key, then one column a measured value."""
        return signals_schema([column.field for column in columns(self.config.signals)])

    def settings(self, shard: int, store: Storage) -> Any:
        """Return the signals and how images are decoded."""
        settings = {name: self.config.settings.get(name, {}) for name in self.config.signals}
        return [list(self.config.signals), settings, self.decode.decides()]

    def process(self, shard: int, store: Storage, scratch: Path) -> ShardResult:
        """Write `signals/NNNNN.parquet`."""
        raw = self.rows("raw", shard, store).to_pylist()
        return self.measured(raw, shard, store)

    def measured(self, raw: list[dict[str, Any]], shard: int, store: Storage) -> ShardResult:
        """Measure some rows of a raw shard."""
        keep_image_memory()
        sources = {
            row["key"]: row for row in read_table(store, sidecar_path("sources", shard)).to_pylist()
        }
        schema = self.schema()
        settings = self.config.settings
        signals = [make_signal(name, settings.get(name)) for name in self.config.signals]
        large_enough = partial(suffices, side=least_side(signals))
        rejects: list[Reject] = []
        further = FurtherImages(decode=self.decode, suffices=large_enough)
        tables = [
            _measure(batch, signals, schema, further)
            for batch in self._decoded(raw, sources, store, rejects, further)
        ]
        table = pa.concat_tables(tables) if tables else schema.empty_table()
        return ShardResult(table=table.combine_chunks(), rows_in=len(raw), rejects=rejects)

    def _decoded(
        self,
        raw: list[dict[str, Any]],
        sources: dict[str, dict[str, Any]],
        store: Storage,
        rejects: list[Reject],
        further: "FurtherImages",
    ) -> Iterator[list[tuple[str, Record]]]:
        """Yield lists of (key, record), none of them empty."""
        records: list[tuple[str, Record]] = []
        pixels = 0
        for batch in read_samples(raw, store, self.batch_rows):
            for row, (body, *others) in batch:
                source = sources[row["key"]]
                try:
                    with active_images(row["key"]):
                        scaled = decode_image_scaled(body, self.decode, further.suffices)
                        record = _record(scaled, len(body), source)
                        further.measure(row, others, record, source)
                except DecodeError as error:
                    rejects.append(refused(row["key"], source, error))
                    continue
                records.append((row["key"], record))
                pixels += scaled.image.width * scaled.image.height
                if len(records) == most_at_once(self.batch_rows) or pixels > self.batch_pixels:
                    yield records
                    records, pixels = [], 0
        if records:
            yield records


@dataclass(kw_only=True)
class FurtherImages:
    """Decodes the further images of samples, and compares each with the main image."""

    decode: DecodeConfig
    suffices: Callable[[int, int], bool]  # whether an image of this size is large enough
    found: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # rows by key

    def measure(
        self, row: dict[str, Any], bodies: Sequence[bytes], main: Record, source: dict[str, Any]
    ) -> None:
        """Measure the further images of a row of `raw/`; `bodies` are their encoded bytes.

        Raises:
            DecodeError: one cannot be used.
        """
        self.found[row["key"]] = [
            self._measured(image["role"], body, main, source)
            for image, body in zip(row["images"], bodies, strict=True)
        ]

    def _measured(
        self, role: str, body: bytes, main: Record, source: dict[str, Any]
    ) -> dict[str, Any]:
        try:
            scaled = decode_image_scaled(body, self.decode, self.suffices)
        except DecodeError as error:
            raise DecodeError(error.reason, f"{role} image: {error.detail}") from error
        record = _record(scaled, len(body), source)
        change = asdict(image_change(main, record))
        return {"role": role, "width": record.size[0], "height": record.size[1], **change}


def _measure(
    batch: list[tuple[str, Record]],
    signals: list[Signal],
    schema: pa.Schema,
    further: FurtherImages,
) -> pa.Table:
    values: dict[str, Any] = {"key": [key for key, _ in batch]}
    values["images"] = [further.found.pop(key, []) for key, _ in batch]
    records = [record for _, record in batch]
    with active_images(*values["key"]):
        for signal in signals:
            values |= signal.measure(records)
    arrays = [pa.array(values[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _record(scaled: Scaled, file_bytes: int, source: dict[str, Any]) -> Record:
    return Record(
        image=scaled.image,
        full_size=(scaled.width, scaled.height),
        box=scaled.box,
        file_bytes=file_bytes,
        text=source["text"],
        title=source["title"],
        tags=tuple(source["tags"]),
    )
