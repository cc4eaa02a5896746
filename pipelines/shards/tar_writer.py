"""A writer of byte-deterministic tars that returns the place of each member."""

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType


class TarWriter:
    """A writer of a ustar file whose bytes depend only on names and contents.

    Members are in the order of `add`; owner, mode and time are fixed.

    Raises:
        ValueError: from `add`, for a name over 100 characters, not ASCII, or with a '/'.
    """

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115

    def add(self, name: str, data: bytes) -> tuple[int, int]:
        """Append a member; return (offset, length) of its data in the file, in bytes."""
        member = _info(name, len(data))
        offset = self._tar.offset + tarfile.BLOCKSIZE
        self._tar.addfile(member, io.BytesIO(data))
        return offset, len(data)

    def add_sample(self, key: str, members: Mapping[str, bytes]) -> list[dict[str, str | int]]:
        """Append a sample, its members in the given order; return rows of SHARD_INDEX."""
        rows: list[dict[str, str | int]] = []
        for member, data in members.items():
            offset, length = self.add(f"{key}.{member}", data)
            rows.append({"key": key, "member": member, "offset": offset, "length": length})
        return rows

    def __enter__(self) -> "TarWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tar.close()


def member_header(name: str, size: int) -> bytes:
    """Return the header of a member, 512 bytes.

    Raises:
        ValueError: `TarWriter.add` does not accept the name.
    """
    return _info(name, size).tobuf(tarfile.USTAR_FORMAT)


def _info(name: str, size: int) -> tarfile.TarInfo:
    if len(name) > 100 or "/" in name or not name.isascii():
        raise ValueError(f"member name {name!r}: expected up to 100 ASCII characters, no '/'")
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    member.mtime = 0
    return member


def describe_tar(path: Path) -> dict[str, str | int]:
    """Return size in bytes and sha256 of a tar, for the footer of its index."""
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": sha256}
