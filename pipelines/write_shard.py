"""Write one output shard: fetch the bytes that its samples refer to, and lay out tar and index."""

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image

from filters.decode import DecodeError
from pipelines.attempts import attempt
from pipelines.images import WRITTEN, decode_image, read_checked, read_images
from pipelines.in_hand import in_hand
from pipelines.sidecar import (
    Counts,
    Origin,
    Reject,
    count,
    make_origin,
    read_origin,
    write_dead_letters,
    write_sidecar,
)
from pipelines.storage import Storage
from pipelines.tar_writer import TarWriter
from schemas.fingerprint import fingerprint
from schemas.recipe import Decode
from schemas.recipe import Shard as ShardRecipe
from schemas.sample import CONTRACT_VERSION
from schemas.tables import SHARD_INDEX

STAGE = "shard"
VERSION = 2
FOLDER = "shards"
BATCH_ROWS = 32
JPEG_MAX_PX = 65_500  # of a side, libjpeg's JPEG_MAX_DIMENSION


class ArrayRef(NamedTuple):
    """An array of a sample, and where its bytes lie."""

    member: str
    file: str
    offset: int
    length: int
    dtype: str
    shape: tuple[int, ...]
    sha256: str


class SampleRef(NamedTuple):
    """One sample on its way to its shard: its text, and where its bytes lie."""

    key: str
    json: str  # KEY.json, as it will stand in the shard
    file: str
    offset: int
    length: int
    sha256: str
    arrays: tuple[ArrayRef, ...]  # in the order of their members


class ShardFile(NamedTuple):
    """An output shard, for the manifest."""

    path: str  # relative to the corpus
    bytes: int
    sha256: str
    samples: int
    dead: Mapping[str, int]  # reason -> samples that could not be written

    @property
    def counts(self) -> Counts:
        """What became of the samples that belong into it."""
        gone = sum(self.dead.values())
        return Counts(rows_in=self.samples + gone, kept=self.samples, dead=self.dead)


def output_name(subset: str, number: int) -> str:
    """Name an output shard, without suffix.

    >>> output_name("t2i", 7)
    't2i-000007'
    """
    return f"{subset}-{number:06d}"


def output_number(path: str) -> int:
    """Return the number of an output shard from its name or the path of its tar.

    >>> output_number("shards/t2i-000007.tar")
    7
    """
    return int(path.rsplit("-", 1)[1].removesuffix(".tar"))


def fitted_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Return the (width, height) in px of an image shrunk to `short_side`; never enlarged.

    One that is still longer than a JPEG can be is shrunk until it fits.

    >>> fitted_size(1000, 600, 300), fitted_size(200, 100, 300), fitted_size(70_000, 80, 300)
    ((500, 300), (200, 100), (65500, 75))
    """
    scale = min(1, short_side / min(width, height), JPEG_MAX_PX / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


@dataclass(frozen=True, kw_only=True)
class WriteShard:
    """Fetch the bytes of one output shard's samples and write its tar and its index."""

    store: Storage
    subset: str
    image: ShardRecipe
    decode: Decode

    def __call__(self, group: tuple[int, Iterable[SampleRef]]) -> ShardFile:
        """Write the shard, unless the very same one is there."""
        number, refs = group[0], sorted(group[1])
        name = f"{FOLDER}/{output_name(self.subset, number)}"
        wanted = self._fingerprint(refs)
        found = read_origin(self.store, f"{name}.parquet")
        if found is None or found.fingerprint != wanted or not self.store.exists(f"{name}.tar"):
            found = self._write(number, name, refs, wanted)
        tar = found.tar
        counts = found.counts
        return ShardFile(
            f"{name}.tar", int(tar["bytes"]), str(tar["sha256"]), counts.kept, dict(counts.dead)
        )

    def _fingerprint(self, refs: Sequence[SampleRef]) -> str:
        made_of = [
            [ref.json, ref.sha256, [[a.member, a.dtype, a.shape, a.sha256] for a in ref.arrays]]
            for ref in refs
        ]
        settings = [self.image.model_dump(mode="json"), self.decode.model_dump(mode="json")]
        return fingerprint(STAGE, VERSION, CONTRACT_VERSION, self.subset, settings, made_of)

    def _write(self, number: int, name: str, refs: Sequence[SampleRef], wanted: str) -> Origin:
        attempted = attempt(self.store, STAGE, number)
        with attempted as call, self.store.scratch() as scratch:
            local = scratch / "shard.tar"
            index, rejects = call(self._write_tar, local, refs)
            with open(local, "rb") as file:
                tar = {
                    "bytes": local.stat().st_size,
                    "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
                }
            # Or, killed between the two, a later build would find the old index of a new tar.
            self.store.remove(f"{name}.parquet")
            self.store.commit_file(f"{name}.tar", local)
            write_dead_letters(self.store, STAGE, number, rejects)
            table = pa.Table.from_pylist(index, schema=SHARD_INDEX)
            counts = count(len(refs), len(refs) - len(rejects), rejects)
            origin = make_origin(STAGE, wanted, table, counts, tar)
            write_sidecar(self.store, f"{name}.parquet", table, origin)
        return origin

    def _write_tar(
        self, local: Path, refs: Sequence[SampleRef]
    ) -> tuple[list[dict[str, Any]], list[Reject]]:
        """Write the tar; return where each member lies, and the samples that are not in it."""
        index: list[dict[str, Any]] = []
        rejects: list[Reject] = []
        by_key = {ref.key: ref for ref in refs}
        with TarWriter(local) as tar:
            for batch in read_images([ref._asdict() for ref in refs], self.store, BATCH_ROWS):
                refs_of_batch = [by_key[row["key"]] for row, _ in batch]
                arrays = self._read_arrays(refs_of_batch)
                for ref, (_, body) in zip(refs_of_batch, batch, strict=True):
                    members = {array.member: next(arrays) for array in ref.arrays}
                    try:
                        members = {
                            "jpg": self._jpeg(ref.key, body),
                            "json": ref.json.encode(),
                            **members,
                        }
                    # Measured and tokenized well before: by another library, or in more memory.
                    except DecodeError as error:
                        rejects.append(Reject(id=ref.key, reason=error.reason, detail=error.detail))
                        continue
                    for member, data in members.items():
                        offset, length = tar.add(f"{ref.key}.{member}", data)
                        index.append(
                            {"key": ref.key, "member": member, "offset": offset, "length": length}
                        )
        return index, rejects

    def _read_arrays(self, refs: Sequence[SampleRef]) -> Iterator[bytes]:
        """Read the arrays of each sample in turn, as `.npy`."""
        wanted = [(ref.key, array) for ref in refs for array in ref.arrays]
        rows = [{"key": key, **array._asdict()} for key, array in wanted]
        for body, (_, array) in zip(read_checked(rows, self.store, WRITTEN), wanted, strict=True):
            yield npy(np.frombuffer(body, array.dtype).reshape(array.shape))

    def _jpeg(self, key: str, body: bytes) -> bytes:
        with in_hand(key):
            return jpeg(decode_image(body, self.decode), self.image)


def jpeg(image: Image.Image, settings: ShardRecipe) -> bytes:
    """Encode an image as it stands in a shard."""
    size = fitted_size(*image.size, settings.short_side)
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=settings.jpeg_quality)
    return encoded.getvalue()


def npy(array: np.ndarray) -> bytes:
    """Encode an array as it stands in a shard."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()
