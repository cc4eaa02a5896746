"""The writer of one output shard: read the bytes that its samples refer to, write tar and index."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from filters.decode import DecodeError
from filters.freed_memory import keep_image_memory
from pipelines.runtime.active_images import active_images
from pipelines.runtime.crash_isolation import attempt
from pipelines.runtime.exchange import Slice, receive
from pipelines.runtime.face_boxes import BOXES, face_blur
from pipelines.runtime.images import (
    WRITTEN,
    read_checked,
    read_samples,
    refused,
)
from pipelines.runtime.sidecar import (
    Counts,
    Origin,
    Reject,
    count,
    make_origin,
    read_origin,
    write_dead_letters,
    write_sidecar,
)
from pipelines.shards.sample_image import sample_jpeg
from pipelines.shards.tar_writer import TarWriter, describe_tar
from schemas.fingerprint import fingerprint
from schemas.recipe import BlurConfig, DecodeConfig, ShardConfig
from schemas.sample import CONTRACT_VERSION
from schemas.store.storage import Storage
from schemas.subsets import Subset
from schemas.tables import RAW, SHARD_INDEX, TOKENS

STAGE = "shard"
VERSION = 4  # 4: further images
FOLDER = "shards"
BATCH_ROWS = 32

OF_IMAGE = ("key", "file", "offset", "length", "sha256", "images")  # columns of RAW
OF_ARRAY = ("member", "file", "offset", "length", "dtype", "shape", "sha256")  # columns of TOKENS
_ARRAY = pa.struct([TOKENS.field(name) for name in OF_ARRAY])
# A reference to a sample: its JSON, and the places of its images and arrays.
REFERENCES = pa.schema(
    [
        *(RAW.field(name) for name in OF_IMAGE),
        pa.field("json", pa.string()),  # the text of KEY.json
        pa.field("faces", BOXES),  # to be blurred
        pa.field("arrays", pa.list_(_ARRAY)),  # in the order of the members
    ]
)
Reference = dict[str, Any]  # a row of REFERENCES


class ShardFile(NamedTuple):
    """An output shard, for the manifest."""

    path: str  # relative to the corpus
    bytes: int
    sha256: str
    samples: int
    failed: Mapping[str, int]  # reason -> samples that could not be written

    @property
    def counts(self) -> Counts:
        """Return the counts of the samples that belong to the shard."""
        failed = sum(self.failed.values())
        return Counts(rows_in=self.samples + failed, kept=self.samples, failed=self.failed)


def output_name(subset: str, number: int) -> str:
    """Return the name of an output shard, without suffix.

    >>> output_name("t2i", 7)
    't2i-000007'
    """
    return f"{subset}-{number:06d}"


def listing_path(subset: str) -> str:
    """Return the path of the list of a subset's shards."""
    return f"{FOLDER}/{subset}.json"


def listing_bytes(files: Iterable[ShardFile]) -> bytes:
    """Return the bytes of the list of a subset's shards."""
    return json.dumps(sorted(files), indent=1).encode()


def output_number(path: str) -> int:
    """Return the number of an output shard from its name or the path of its tar.

    >>> output_number("shards/t2i-000007.tar")
    7
    """
    return int(path.rsplit("-", 1)[1].removesuffix(".tar"))


@dataclass(frozen=True, kw_only=True)
class WriteShard:
    """A writer of output shards: reads the bytes of the samples, writes tar and index."""

    store: Storage
    subset: Subset
    image: ShardConfig
    decode: DecodeConfig
    blur: BlurConfig | None = None

    def __call__(self, group: tuple[int, Iterable[Slice]]) -> ShardFile:
        """Write the shard, unless the same one is there; return its line for the manifest."""
        number, slices = group
        (table,) = receive(self.store, slices).values()
        refs = table.sort_by("key").to_pylist()
        name = f"{FOLDER}/{output_name(self.subset.name, number)}"
        wanted = self.fingerprint(refs)
        found = read_origin(self.store, f"{name}.parquet")
        if found is None or found.fingerprint != wanted or not self.store.exists(f"{name}.tar"):
            found = self._write(number, name, refs, wanted)
        tar = found.tar
        counts = found.counts
        return ShardFile(
            f"{name}.tar", int(tar["bytes"]), str(tar["sha256"]), counts.kept, dict(counts.failed)
        )

    def fingerprint(self, refs: Sequence[Reference]) -> str:
        """Return the fingerprint of the shard with these samples."""
        made_of = [
            [
                ref["json"],
                ref["sha256"],
                *([image["role"], image["sha256"]] for image in ref["images"]),
                _array_hashes(ref),
                *[ref["faces"]] * bool(self.blur),
            ]
            for ref in refs
        ]
        settings = [self.image.model_dump(mode="json"), self.decode.decides()]
        settings += [self.blur.model_dump(mode="json")] if self.blur else []
        return fingerprint(STAGE, VERSION, CONTRACT_VERSION, self.subset.name, settings, made_of)

    def _write(self, number: int, name: str, refs: Sequence[Reference], wanted: str) -> Origin:
        stage = self.subset.shard_stage
        with attempt(self.store, stage, number) as call, self.store.scratch() as scratch:
            local = scratch / "shard.tar"
            index, rejects = call(self._write_tar, local, refs)
            tar = describe_tar(local)
            # Otherwise a kill between the two writes would leave an old index with a new tar.
            self.store.remove(f"{name}.parquet")
            with self._published(f"{name}.tar", local):
                write_dead_letters(self.store, stage, number, rejects)
                table = pa.Table.from_pylist(index, schema=SHARD_INDEX)
                counts = count(len(refs), len(refs) - len(rejects), rejects)
                origin = make_origin(stage, wanted, table, counts, tar=tar)
                write_sidecar(self.store, f"{name}.parquet", table, origin)
        return origin

    @contextmanager
    def _published(self, path: str, local: Path) -> Iterator[None]:
        """Publish a tar before the body writes its index; remove it if the body fails."""
        self.store.commit_file(path, local)
        try:
            yield
        except Exception:
            with suppress(Exception):  # the error of the body is the one to report
                self.store.remove(path)
            raise

    def _write_tar(
        self, local: Path, refs: Sequence[Reference]
    ) -> tuple[list[dict[str, Any]], list[Reject]]:
        """Write the tar; return the place of each member, and the samples that failed."""
        keep_image_memory()
        index: list[dict[str, Any]] = []
        rejects: list[Reject] = []
        with TarWriter(local) as tar:
            for batch in read_samples(refs, self.store, BATCH_ROWS):
                arrays = self._read_arrays([ref for ref, _ in batch])
                for ref, bodies in batch:
                    found = {array["member"]: next(arrays) for array in ref["arrays"]}
                    try:
                        found |= self.jpegs(ref, bodies)
                    # It could be decoded before: by another library version, or with more memory.
                    except DecodeError as error:
                        rejects.append(refused(ref["key"], json.loads(ref["json"]), error))
                        continue
                    found["json"] = ref["json"].encode()
                    ordered = self.subset.members(array_names(self.subset, ref))
                    index += tar.add_sample(ref["key"], {name: found[name] for name in ordered})
        return index, rejects

    def _read_arrays(self, refs: Sequence[Reference]) -> Iterator[bytes]:
        """Yield the arrays of the samples in order, as `.npy` bytes."""
        rows = [{"key": ref["key"], **array} for ref in refs for array in ref["arrays"]]
        for row, body in zip(rows, read_checked(rows, self.store, WRITTEN), strict=True):
            yield npy(np.frombuffer(body, row["dtype"]).reshape(row["shape"]))

    def jpegs(self, ref: Reference, bodies: Sequence[bytes]) -> dict[str, bytes]:
        """Return the members that are images; faces are known of main images alone.

        Args:
            ref: the sample.
            bodies: its encoded images, the main one first, then those of `ref["images"]`.

        Raises:
            DecodeError: an image cannot be used.
        """
        with active_images(ref["key"]):
            blur = face_blur(ref["faces"], self.blur)
            main, *others = bodies
            found = {self.subset.main_image: sample_jpeg(main, self.decode, self.image, blur)}
            for image, other in zip(ref["images"], others, strict=True):
                member = self.subset.further_image(image["role"])
                found[member] = sample_jpeg(other, self.decode, self.image)
            return found


def array_names(subset: Subset, ref: Reference) -> list[str]:
    """Return what each generated image has: the names of arrays without prefixes, in order."""
    names = (subset.without_prefix(array["member"]) for array in ref["arrays"])
    return list(dict.fromkeys(names))


def _array_hashes(ref: Reference) -> list[Any]:
    names = ("member", "dtype", "shape", "sha256")
    return [[array[name] for name in names] for array in ref["arrays"]]


def npy(array: np.ndarray) -> bytes:
    """Return an array as the `.npy` bytes of a shard."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()
