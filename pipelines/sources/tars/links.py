"""Targets of the links in a tar, the same as after unpacking."""

import posixpath
import tarfile
from collections import defaultdict
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from pipelines.sources.listing import MAX_TEXT_BYTES
from pipelines.sources.names import TEXT, what_it_is

LINKS: Final = (tarfile.LNKTYPE, tarfile.SYMTYPE)
LOOP: Final = "loop"
MOST_LINKS: Final = 40  # in a chain, as in Linux


class Target(NamedTuple):
    """The target of a link."""

    offset: int
    size: int
    body: bytes  # of a text


_Name = tuple[int, str]  # part of the tar, name of a member
_Found = Target | _Name | None  # None: in several pieces
Targets = dict[int, Target | Literal["loop"] | None]  # by offset of the link's header
_Walk = Iterable[tuple[tarfile.TarFile, tarfile.TarInfo, int]]


def link_targets(first: _Walk, again: _Walk) -> Targets:
    """Return the target of each link in a tar.

    A member replaces an earlier one with the same name. So a hard link leads to the last member
    with that name before the link, or else to a later one; a symbolic link leads to the last member
    with that name in the tar. There are two passes, so that only links and targets are in memory.

    Args:
        first: members of the tar, each with the number of its part.
        again: the same members, for the second pass.
    """
    leads: defaultdict[_Name, set[_Name]] = defaultdict(set)
    for _, info, part in first:
        if info.type in LINKS:
            leads[part, plain_name(info.name)].add((part, _target_name(info)))
    wanted = {end for ends in leads.values() for end in ends}
    texts = _reached({name for name in leads if what_it_is(name[1]) == TEXT}, leads)
    held: dict[_Name, _Found] = {}
    found: dict[int, _Found] = {}
    for tar, info, part in again:
        name = (part, plain_name(info.name))
        if info.type in LINKS:
            to = (part, _target_name(info))
            held[name] = found[info.offset] = held.get(to, to) if info.islnk() else to
        elif name in wanted and info.isreg():
            body = body_of(tar, info) if name in texts else b""
            held[name] = None if info.issparse() else Target(info.offset_data, info.size, body)
    return {offset: _end(each, held) for offset, each in found.items()}


def plain_name(name: str) -> str:
    """Return a member's name in the form of link targets: without ./ at its start."""
    return posixpath.normpath(name)


def body_of(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    """Read a text, up to one byte over MAX_TEXT_BYTES."""
    file = tar.extractfile(info)
    return file.read(MAX_TEXT_BYTES + 1) if file else b""


def _reached(starts: set[_Name], leads: dict[_Name, set[_Name]]) -> set[_Name]:
    """Return the names that links lead to, directly or by other links."""
    reached: set[_Name] = set()
    todo = list(starts)
    while todo:
        further = leads.get(todo.pop(), set()) - reached
        reached |= further
        todo.extend(further)
    return reached


def _end(found: _Found, held: dict[_Name, _Found]) -> Target | Literal["loop"] | None:
    for _ in range(MOST_LINKS):
        if not (found and not isinstance(found, Target)):
            return found
        found = held.get(found)
    return LOOP


def _target_name(info: tarfile.TarInfo) -> str:
    """Return the name of the member that a link leads to."""
    if info.islnk():
        return plain_name(info.linkname)
    return posixpath.normpath(posixpath.join(posixpath.dirname(info.name), info.linkname))
