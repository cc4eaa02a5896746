"""Checks of a tar of samples and its index that hold for every kind of sample."""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.runtime.sidecar import Origin, read_table
from pipelines.shards.tar_reader import StrictTar
from pipelines.verify.faults import Fault
from pipelines.verify.look import as_written, checked_origin, schema_faults
from schemas.fingerprint import content_digest
from schemas.store.errors import CorpusError, StoreError
from schemas.store.storage import Storage
from schemas.tables import SHARD_INDEX

MAX_MEMBER_BYTES = 1 << 30

Place = tuple[str, str, int, int]  # key, member, offset and length in bytes
Sample = tuple[str, dict[str, bytes]]  # key, and members by their names without the key


@dataclass(kw_only=True)
class TarLook:
    """An output shard to check; `tar_sound` sets the last three fields."""

    tar: str  # path
    index: str  # path
    line: Mapping[str, Any]  # in the manifest; {} if there is none
    places: list[Place] = field(default_factory=list)  # of the members, in order
    bytes: int = 0
    sha256: str = ""


def tar_sound(
    store: Storage, shard: TarLook, check: Callable[[Iterator[Sample]], Iterator[Fault]]
) -> Iterator[Fault]:
    """Read a tar once: check its samples, and compare its bytes and sha256 with the manifest."""
    with store.open(shard.tar) as file:
        tar = StrictTar(file, MAX_MEMBER_BYTES)
        try:
            yield from check(_read_samples(shard, tar))
        except StoreError:
            raise
        except CorpusError as error:  # the rest of the tar cannot be parsed
            yield Fault(shard.tar, str(error))
        tar.read_on()
        shard.bytes, shard.sha256 = tar.bytes, tar.sha256
    if not shard.line:
        return
    if (expected := shard.line.get("bytes")) != shard.bytes:
        yield Fault(shard.tar, f"{shard.bytes:,} bytes, the manifest says {expected!r}")
    elif shard.line.get("sha256") != shard.sha256:
        yield Fault(shard.tar, "sha256 differs from the manifest; some byte has changed")


def _read_samples(shard: TarLook, tar: StrictTar) -> Iterator[Sample]:
    """Yield adjacent members of one key as a sample, as webdataset does; note their places."""
    key, members = "", {}
    for name, offset, data in tar.members():
        member_key, _, extension = name.partition(".")
        shard.places.append((member_key, extension, offset, len(data)))
        if member_key != key or extension in members:
            if members:
                yield key, members
            key, members = member_key, {}
        members[extension] = data
    if members:
        yield key, members


def in_order(samples: Iterator[Sample]) -> Iterator[tuple[str, dict[str, bytes], list[str]]]:
    """Yield each sample with its faults of order: a repeated key, or one out of order."""
    seen: set[str] = set()
    last = ""
    for key, members in samples:
        messages = [f"{key}: a second sample of this key"] * (key in seen)
        messages += [f"{key}: not in the order of keys"] * (key < last)
        seen.add(key)
        last = max(key, last)
        yield key, members, messages


def index_sound(
    store: Storage, shard: TarLook, stage: str
) -> Generator[Fault, None, Origin | None]:
    """Compare an index with its tar; return its footer, None where its rows are damaged.

    Args:
        store: the folder.
        shard: the output shard; its tar was read before.
        stage: name of the stage that wrote both files.
    """
    path = shard.index
    table, origin = read_table(store, path), checked_origin(store, path)
    if wrong := schema_faults(table, SHARD_INDEX):
        yield from (Fault(path, what) for what in wrong)
        return None
    yield from as_written(store, path, SHARD_INDEX)
    listed = [tuple(row.values()) for row in table.to_pylist()]
    if shard.sha256 and listed != shard.places:
        yield Fault(path, f"has other places than the members of {shard.tar}")
    if content_digest(table) != origin.content:
        yield Fault(path, "rows are not the ones that were written")
        return None
    if origin.stage != stage or origin.files or origin.passed_over:
        yield Fault(path, f"its footer has stage {origin.stage!r} and files {origin.files}")
    found = {"bytes": shard.bytes, "sha256": shard.sha256}
    if shard.sha256 and dict(origin.tar) != found:
        yield Fault(path, f"is the index of another tar: {dict(origin.tar)}, expected {found}")
    return origin
