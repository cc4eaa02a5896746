"""Side-cars laid out by hand, so that each stage is tested alone, on real files."""

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from filters.registry import SIGNALS, columns
from pipelines.runtime.sidecar import Counts, make_origin, read_table, sidecar_path, write_sidecar
from pipelines.sources.listing import Unit
from pipelines.sources.plan import PLAN
from pipelines.sources.raw_shard import RawShard
from schemas import tables
from schemas.keys import sample_key, shard_name
from schemas.store.storage import Storage

SCHEMAS = {
    "sources": tables.SOURCES,
    "raw": tables.RAW,
    "signals": tables.signals_schema([column.field for column in columns(SIGNALS)]),
    "scores": tables.SCORES,
    "duplicates": tables.DUPLICATES,
    "selection": tables.SELECTION,
    "captions": tables.CAPTIONS,
    "pairs": tables.PAIRS,
    "tokens": tables.TOKENS,
}
BLANK: Mapping[Any, Any] = {
    pa.string(): "",
    pa.bool_(): False,
    **{kind: 0 for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint64())},
    pa.float64(): 0.0,
}


@dataclass(frozen=True)
class Desk:
    """A corpus in the making; every method writes or reads side-cars of it."""

    store: Storage

    def put(self, folder: str, shard: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write a side-car of rows in key order; columns left out are blank, others ignored."""
        schema = SCHEMAS[folder]
        blank = {
            field.name: [] if pa.types.is_list(field.type) else BLANK.get(field.type)
            for field in schema
        }
        whole = sorted((blank | dict(row) for row in rows), key=lambda row: row["key"])
        self.put_table(folder, shard, pa.Table.from_pylist(whole, schema=schema))

    def put_table(
        self, folder: str, shard: int, table: pa.Table, files: Iterable[str] = ()
    ) -> None:
        """Write a side-car of a table; `files` are those that its rows refer to."""
        counts = Counts(rows_in=table.num_rows, kept=table.num_rows)
        origin = make_origin("by hand", "0" * 32, table, counts, files=files)
        write_sidecar(self.store, sidecar_path(folder, shard), table, origin)

    def put_images(self, shard: int, images: Mapping[str, bytes], **listed: Any) -> None:
        """Write `sources/` and `raw/` of a shard from {url: image}; `listed` fills every row."""
        keys = {url: sample_key("web", url) for url in images}
        told = {"source": "web", "text": "a drawing of a thing"} | listed
        self.put("sources", shard, [told | {"key": keys[url], "url": url} for url in images])
        with self.store.scratch() as scratch:
            raw = RawShard(shard, scratch)
            for url, image in images.items():
                raw.store(keys[url], image, status=200)
            outcome = raw.finish(rows_in=len(images))
            for path, local in outcome.files.items():
                self.store.commit_file(path, local)
        self.put_table("raw", shard, outcome.table, files=outcome.files)

    def put_plan(self, sources: Sequence[str]) -> None:
        """Publish a plan with a shard for each name of a source."""
        plan: dict[str, Any] = {}
        for source in sources:
            unit = asdict(Unit(source=source, path="", version="", start=0, end=0))
            plan.setdefault(source, {"made_of": "", "units": []})["units"].append(unit)
        self.store.commit_bytes(PLAN, json.dumps(plan).encode())

    def rows(self, folder: str, shard: int) -> list[dict[str, Any]]:
        """Read a side-car."""
        return read_table(self.store, sidecar_path(folder, shard)).to_pylist()

    def tar(self, shard: int) -> Path:
        """Return the only tar of a shard in `raw/`."""
        (path,) = Path(self.store.root, "raw").glob(f"{shard_name(shard)}-*.tar")
        return path

    def files(self) -> dict[str, bytes]:
        """Read every file of the corpus."""
        root = Path(self.store.root)
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }


@pytest.fixture(scope="session")
def make_desk() -> Callable[[Path], Desk]:
    """Return a function that opens an empty corpus in a folder."""
    return lambda folder: Desk(Storage(str(folder)))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """An empty corpus on disk."""
    return Desk(Storage(str(tmp_path / "corpus")))


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """Return a function that draws an image file, the same for the same arguments."""

    def draw(seed: int, size: tuple[int, int] = (96, 64), kind: str = "PNG") -> bytes:
        x = np.linspace(0, 1, size[0])[None, :, None]
        y = np.linspace(0, 1, size[1])[:, None, None]
        phase = np.array([0.3, 1.1, 2.3]) * (seed + 1)
        waves = np.sin((3 + seed % 5) * x + phase) + np.cos((2 + seed % 7) * y * 3 - phase)
        pixels = np.uint8(127.5 + 63 * waves)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind)
        return file.getvalue()

    return draw
