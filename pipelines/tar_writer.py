"""Byte-deterministic tars that say where each member lies."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType


class TarWriter:
    """Write a ustar file whose bytes depend on names and contents alone.

    Members stand in the order they are added; owner, mode and time are fixed.

    Raises:
        ValueError: from `add`, for a name over 100 characters, not ASCII, or with a path in it.
    """

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115

    def add(self, name: str, data: bytes) -> tuple[int, int]:
        """Append a member; return (offset, length) of its data in the file, in bytes."""
        if len(name) > 100 or "/" in name or not name.isascii():
            raise ValueError(f"member name {name!r}: expected up to 100 ASCII characters, no '/'")
        member = tarfile.TarInfo(name)
        member.size = len(data)
        member.mode = 0o644
        member.mtime = 0
        offset = self._tar.offset + tarfile.BLOCKSIZE
        self._tar.addfile(member, io.BytesIO(data))
        return offset, len(data)

    def __enter__(self) -> "TarWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tar.close()


def write_samples(
    path: Path, samples: Mapping[str, Mapping[str, bytes]]
) -> list[dict[str, str | int]]:
    """Write samples by key, their members in the order given; return rows of SHARD_INDEX."""
    index: list[dict[str, str | int]] = []
    with TarWriter(path) as tar:
        for key in sorted(samples):
            for member, data in samples[key].items():
                offset, length = tar.add(f"{key}.{member}", data)
                index.append({"key": key, "member": member, "offset": offset, "length": length})
    return index
