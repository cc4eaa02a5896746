"""What `bench_pixels.py` times, each in a worker process of its own: decoders and two stages."""

import io
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from pipelines.runtime.sidecar import Counts, make_origin, read_table, sidecar_path, write_sidecar
from pipelines.shards.write_shard import WriteShard
from pipelines.sources.raw_shard import RawShard
from pipelines.stages.measure import Measure
from schemas.keys import sample_key
from schemas.recipe import DecodeConfig, MeasureConfig, ShardConfig
from schemas.store.storage import Storage
from schemas.subsets import T2I
from schemas.tables import SOURCES

DECODE = DecodeConfig()


def put_images(store: Storage, files: Iterable[bytes]) -> None:
    """Write `raw/` and `sources/` of one shard of images, in the layout of a corpus."""
    with store.scratch() as scratch:
        raw = RawShard(0, scratch)
        for number, body in enumerate(files):
            raw.store(sample_key("images", str(number)), body, status=200)
        made = raw.finish(rows_in=0)
        for path, local in made.files.items():
            store.commit_file(path, local)
        _put(store, "raw", made.table, made.files)
    rows = [_listed(key.as_py()) for key in made.table["key"]]
    _put(store, "sources", pa.Table.from_pylist(rows, schema=SOURCES), ())


def _listed(key: str) -> dict[str, Any]:
    blank = {name: "" for name in SOURCES.names} | {"tags": ["red", "fox"]}
    words = {"source": "images", "text": "a red fox in the snow", "title": "Fox"}
    return blank | words | {"key": key, "url": key}


def _put(store: Storage, folder: str, table: pa.Table, files: Iterable[str]) -> None:
    counts = Counts(rows_in=table.num_rows, kept=table.num_rows)
    origin = make_origin("by hand", "0" * 32, table, counts, files=files)
    write_sidecar(store, sidecar_path(folder, 0), table, origin)


def rows_of(store: Storage) -> list[dict[str, Any]]:
    """Return the rows of `raw/`."""
    return read_table(store, sidecar_path("raw", 0)).to_pylist()


def pillow_load(body: bytes) -> None:
    """Decode by plain Pillow to the file's own mode."""
    with Image.open(io.BytesIO(body)) as image:
        image.load()


def pillow_rgb(body: bytes) -> Image.Image:
    """Decode by plain Pillow to RGB, transparent pixels on white: what signals are measured on."""
    with Image.open(io.BytesIO(body)) as image:
        if not image.has_transparency_data:
            return image.convert("RGB")
        straight = image.convert("RGBA")
    flat = Image.new("RGB", straight.size, "white")
    flat.paste(straight, (0, 0), straight)
    return flat


def pillow_half(body: bytes) -> None:
    """Decode a JPEG by plain Pillow to half of each side."""
    with Image.open(io.BytesIO(body)) as image:
        image.draft(None, (image.width // 2, image.height // 2))
        image.load()


def opencv(body: bytes) -> Any:
    """Decode by OpenCV to RGB."""
    import cv2
    import numpy as np

    image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert image is not None
    return image


def torchvision(body: bytes) -> Any:
    """Decode by torchvision to RGB."""
    import torch
    from torchvision.io import ImageReadMode, decode_image

    encoded = torch.frombuffer(bytearray(body), dtype=torch.uint8)
    return decode_image(encoded, ImageReadMode.RGB)


def measure(store: Storage) -> int:
    """Measure the default signals; return the number of images that could be."""
    stage = Measure(config=MeasureConfig(), decode=DECODE)
    return stage.process(0, store, Path()).table.num_rows


def shard(store: Storage, **settings: Any) -> int:
    """Write an output shard of the images; return its bytes."""
    # Another commit may not have a setting yet.
    known = {name: value for name, value in settings.items() if name in ShardConfig.model_fields}
    writer = WriteShard(store=store, subset=T2I, image=ShardConfig(**known), decode=DECODE)
    refs = [
        {**{name: row[name] for name in ("key", "file", "offset", "length", "sha256")}}
        | {"json": '{"source": "images", "url": ""}', "arrays": [], "faces": []}
        for row in rows_of(store)
    ]
    with store.scratch() as scratch:
        writer._write_tar(scratch / "shard.tar", refs)
        return (scratch / "shard.tar").stat().st_size


DECODERS: Mapping[str, Callable[[bytes], Any]] = {
    "pillow_load": pillow_load,
    "pillow_rgb": pillow_rgb,
    "pillow_half": pillow_half,
    "opencv": opencv,
    "torchvision": torchvision,
}
STAGES: Mapping[str, Callable[[Storage], int]] = {
    "measure": measure,
    "shard": shard,
    "shard_always": lambda store: shard(store, reencode="always"),
}


def timed(work: tuple[str, str, int]) -> tuple[int, list[float]]:
    """Run a decoder or a stage over the images of a folder some times.

    Args:
        work: its name, the folder, and the number of runs.

    Returns:
        The number of images, and the CPU seconds of each run.
    """
    name, folder, runs = work
    store = Storage(folder)
    rows = rows_of(store)
    if name in STAGES:
        return len(rows), [_seconds(lambda: STAGES[name](store)) for _ in range(runs)]
    decoder = DECODERS[name]
    bodies = store.read_ranges([(row["file"], row["offset"], row["length"]) for row in rows])
    if name in ("opencv", "torchvision"):
        _one_thread()
    decoder(bodies[0])  # imports what it needs

    def decode_all() -> None:
        for body in bodies:
            decoder(body)

    return len(rows), [_seconds(decode_all) for _ in range(runs)]


def _seconds(run: Callable[[], Any]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


def _one_thread() -> None:
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def colour_distances(folder: str, images: int) -> dict[str, dict[str, float]]:
    """Return how far other decoders are from Pillow, in levels: the mean, and the largest."""
    import numpy as np

    store = Storage(folder)
    places = [(row["file"], row["offset"], row["length"]) for row in rows_of(store)[:images]]
    bodies = store.read_ranges(places)
    found: dict[str, dict[str, float]] = {}
    for name, decoder in (("opencv", opencv), ("torchvision", torchvision)):
        apart = [
            np.abs(_pixels(decoder(body)) - _pixels(pillow_rgb(body)).astype(np.int16))
            for body in bodies
        ]
        found[name] = {
            "mean": float(np.mean([one.mean() for one in apart])),
            "most": float(max(one.max() for one in apart)),
        }
    return found


def _pixels(image: Any) -> Any:
    import numpy as np

    pixels = np.asarray(image)
    return pixels.transpose(1, 2, 0) if pixels.shape[0] == 3 else pixels
