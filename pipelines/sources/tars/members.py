"""Members of a tar, including links and appended tars."""

import struct
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, NamedTuple

from pipelines.sources.links import NEVER, Fault
from pipelines.sources.listing import PassedOver
from pipelines.sources.names import HIDDEN_FILE, IMAGE, SPECIAL, SYSTEM, TEXT, what_it_is
from pipelines.sources.tars.links import (
    LINKS,
    LOOP,
    Target,
    Targets,
    body_of,
    link_targets,
    plain_name,
)
from pipelines.sources.tars.stream import NotATarError, TarStream, open_tar
from schemas.source_config import Links

_EMPTY = tarfile.EmptyHeaderError  # type: ignore[attr-defined]
_ZEROS = bytes(tarfile.BLOCKSIZE)


class AfterEndError(tarfile.ReadError):
    """A complete tar is followed by data that is no tar."""


class Member(NamedTuple):
    """A file of a tar."""

    name: str
    part: int  # 1 for the first tar, more for appended tars
    what: str  # IMAGE, TEXT, or the name of a kind for counts
    offset: int = 0  # of its bytes in the decompressed tar
    size: int = 0  # bytes
    body: bytes = b""  # of a text, up to one byte over MAX_TEXT_BYTES
    fault: Fault | None = None  # reason why there are no bytes


class NoEndError(tarfile.ReadError):
    """A tar that ends after a member, without an end mark."""


def members(url: str, links: Links) -> Iterator[Member | PassedOver]:
    """Yield the members of a tar and of tars appended to it; read only headers and texts.

    Args:
        url: of the tar, which may be compressed.
        links: whether symbolic links to other members are followed; hard links always are, because
            a tar stores a file with several names as hard links.

    Raises:
        NotATarError: the file is no tar.
        tarfile.TarError: the tar is damaged, or ends before its end mark. `tarfile` itself would
            accept a damaged header as the end, and a missing end mark.
    """
    targets: Targets | None = None
    for tar, info, part in _walk(url):
        what = what_it_is(plain_name(info.name))
        if info.isdir():
            continue
        if not info.isreg() and info.type not in LINKS:
            yield PassedOver(what=SPECIAL if info.isdev() else "entry of a kind unknown")
        elif what in (SYSTEM, HIDDEN_FILE):
            yield PassedOver(what=what)
        elif what not in (IMAGE, TEXT):
            yield Member(info.name, part, what)
        elif info.type in LINKS:
            if targets is None:
                targets = link_targets(_sound(url), _sound(url))
            yield Member(info.name, part, what)._replace(**_linked(info, targets, links))
        else:
            yield _member(tar, info, part, what)


def _member(tar: tarfile.TarFile, info: tarfile.TarInfo, part: int, what: str) -> Member:
    member = Member(info.name, part, what, info.offset_data, info.size)
    if what == TEXT:
        return member._replace(body=body_of(tar, info))
    if info.issparse():
        what = "stored with holes (tar --sparse); expected in one piece, pack it again without"
        return member._replace(fault=Fault("sparse_member", what))
    return member


def _linked(info: tarfile.TarInfo, targets: Targets, links: Links) -> dict[str, Any]:
    """Return the fields of a member that is a link."""
    kind = "a hard link" if info.islnk() else "a link"
    if info.issym() and links == "never":
        return {"fault": Fault("link_not_followed", f"{kind} that {NEVER}")}
    found = targets.get(info.offset)
    if isinstance(found, Target):
        return found._asdict()
    what = f"{kind} to {info.linkname}, which"
    if found is LOOP:
        return {"fault": Fault("link_not_followed", f"{what} leads back to itself: a loop")}
    return {"fault": Fault("link_not_followed", f"{what} this tar does not hold in one piece")}


def _sound(url: str) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo, int]]:
    """Walk a tar up to its first damage."""
    try:
        yield from _walk(url)
    except tarfile.TarError:
        return


def _walk(url: str) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo, int]]:
    """Yield every member with the number of its part."""
    with open_tar(url) as stream:
        tar = tarfile.open(fileobj=BytesIO(_ZEROS * 2), mode="r:")  # noqa: SIM115
        tar.fileobj, tar.offset = stream, 0  # type: ignore[assignment]
        part, is_first = 1, True
        while True:
            at = tar.offset
            stream.seek(at)
            try:
                info = _header(tar)
            except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
                if (start := _next_start(stream)) is None:
                    return
                tar.offset = start
                part += not is_first
                is_first = True
                continue
            except tarfile.HeaderError as error:
                is_end = isinstance(error, _EMPTY) and stream.tell() == at
                raise _no_header(error, at, is_first, is_end, stream.packed) from error
            # Without this check the walk could be endless.
            if not at < tar.offset <= sys.maxsize or info.size < 0:
                raise tarfile.ReadError(f"{info.name} has a size of {info.size:,} bytes")
            is_first = False
            yield tar, info, part


def _header(tar: tarfile.TarFile) -> tarfile.TarInfo:
    with _damage():
        return tarfile.TarInfo.fromtarfile(tar)


def _next_start(stream: TarStream) -> int | None:
    """Return the offset of the next data after the end mark, None if there is none."""
    while block := stream.read(tarfile.BLOCKSIZE):
        if block.strip(b"\0"):
            stream.put_back(block)
            return stream.tell()
    return None


def _no_header(
    error: Exception, at: int, is_first: bool, is_end: bool, packed: str
) -> tarfile.ReadError:
    if at == 0:
        what = f"this is {packed} data of something else" if packed else "this is none"
        return NotATarError(f"expected a tar, {what} ({error})")
    if is_first:
        return AfterEndError(f"what follows the tar's end, from byte {at:,} on, is no tar")
    if is_end:
        return NoEndError(f"no end mark at byte {at:,}, where the file ends: it may be cut")
    return tarfile.ReadError(f"no end mark and no member at byte {at:,} ({error})")


@contextmanager
def _damage() -> Iterator[None]:
    """Turn errors that `tarfile` raises while parsing a header into tarfile.ReadError."""
    try:
        yield
    except (ValueError, OverflowError, LookupError, RecursionError, struct.error) as error:
        raise tarfile.ReadError(f"a header that cannot be read ({error})") from error
