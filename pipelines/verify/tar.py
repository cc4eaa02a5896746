"""Check a tar of samples and its index: bytes, places and footers, whatever the samples are."""

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
Sample = tuple[str, dict[str, bytes]]  # key, and members without it


@dataclass(kw_only=True)
class TarLook:
    """An output shard under examination."""

    tar: str  # path
    index: str  # path
    told: Mapping[str, Any]  # by the manifest
    places: list[Place] = field(default_factory=list)  # members, as found
    bytes: int = 0
    sha256: str = ""


def tar_sound(
    store: Storage, shard: TarLook, check: Callable[[Iterator[Sample]], Iterator[Fault]]
) -> Iterator[Fault]:
    """Read a tar once; give its samples to a check, and compare its bytes with the manifest."""
    with store.open(shard.tar) as file:
        tar = StrictTar(file, MAX_MEMBER_BYTES)
        try:
            yield from check(_gathered(shard, tar))
        except StoreError:
            raise
        except CorpusError as error:  # what follows cannot be understood
            yield Fault(shard.tar, str(error))
        tar.read_on()
        shard.bytes, shard.sha256 = tar.bytes, tar.sha256
    if not shard.told:
        return
    if (told := shard.told.get("bytes")) != shard.bytes:
        yield Fault(shard.tar, f"{shard.bytes:,} bytes, the manifest says {told!r}")
    elif shard.told.get("sha256") != shard.sha256:
        yield Fault(shard.tar, "sha256 is not the manifest's; some byte has changed")


def _gathered(shard: TarLook, tar: StrictTar) -> Iterator[Sample]:
    """Gather adjacent members of one key, as webdataset does; note where each lies."""
    key, members = "", {}
    for name, offset, data in tar.members():
        of, _, extension = name.partition(".")
        shard.places.append((of, extension, offset, len(data)))
        if of != key or extension in members:
            if members:
                yield key, members
            key, members = of, {}
        members[extension] = data
    if members:
        yield key, members


def in_order(samples: Iterator[Sample]) -> Iterator[tuple[str, dict[str, bytes], list[str]]]:
    """Yield each sample, and what is wrong with its place among the others."""
    seen: set[str] = set()
    last = ""
    for key, members in samples:
        said = [f"{key}: a second sample of this key"] * (key in seen)
        said += [f"{key}: not in the order of keys"] * (key < last)
        seen.add(key)
        last = max(key, last)
        yield key, members, said


def index_sound(
    store: Storage, shard: TarLook, stage: str
) -> Generator[Fault, None, Origin | None]:
    """Compare an index with its tar; return its footer, None where its rows tell nothing.

    Args:
        store: the folder.
        shard: its tar was read before.
        stage: that wrote both.
    """
    path = shard.index
    table, origin = read_table(store, path), checked_origin(store, path)
    if wrong := schema_faults(table, SHARD_INDEX):
        yield from (Fault(path, what) for what in wrong)
        return None
    yield from as_written(store, path, SHARD_INDEX)
    listed = [tuple(row.values()) for row in table.to_pylist()]
    if shard.sha256 and listed != shard.places:
        yield Fault(path, f"does not say where the members of {shard.tar} lie")
    if content_digest(table) != origin.content:
        yield Fault(path, "rows are not those that were written")
        return None
    if origin.stage != stage or origin.files or origin.passed_over:
        yield Fault(path, f"its footer tells of stage {origin.stage!r}, files {origin.files}")
    found = {"bytes": shard.bytes, "sha256": shard.sha256}
    if shard.sha256 and dict(origin.tar) != found:
        yield Fault(path, f"is the index of a tar of {dict(origin.tar)}, and this one is another")
    return origin
