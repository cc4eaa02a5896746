"""Grouping of a tar's members into samples."""

import posixpath
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pipelines.sources.listing import TEXT_SUFFIXES, PassedOver
from pipelines.sources.names import FURTHER_IMAGE, FURTHER_TEXT, IMAGE, TEXT
from pipelines.sources.tars.members import AfterEndError, Member, NoEndError
from pipelines.sources.tars.stream import NotATarError

# Limits of a run that is grouped at once; a longer run is cut.
MOST_MEMBERS = 10_000
MOST_TEXT_BYTES = 64_000_000
_READ = (IMAGE, TEXT)
_NUMBER = re.compile(r"\d+(?:[._-]\d+)*")


@dataclass(slots=True)
class Sample:
    """An image with its texts, or texts without an image."""

    name: str  # folder and key
    part: int  # of the tar
    image: Member | None = None
    texts: list[Member] = field(default_factory=list)
    suffixes: list[str] = field(default_factory=list)  # of all its members


@dataclass(slots=True)
class _Run:
    """Consecutive members with one folder and one name up to the first dot."""

    key: tuple[int, str]  # part of the tar, folder and name
    members: dict[str, Member] = field(default_factory=dict)  # by the text after that dot
    text_bytes: int = 0

    @property
    def is_full(self) -> bool:
        return len(self.members) >= MOST_MEMBERS or self.text_bytes >= MOST_TEXT_BYTES


def samples(members: Iterable[Member | PassedOver]) -> Iterator[Sample | PassedOver]:
    """Group members into samples.

    As in webdataset, a sample is a run of members with one folder and one name up to the first dot;
    a repeated member begins another sample. The sample's image is KEY.jpg rather than an image like
    KEY.depth.png, which is counted. But names may contain more dots, so
    - if every name of a run has another dot, as img.05.jpg and img.05.txt, names are cut at the
      last dot: each image is a sample;
    - in any other run, an image with a text that differs only after the last dot, as img.a.jpg and
      img.a.txt, is a separate sample; so is each of several images that differ by a number, as
      img.1.jpg. A text without an image is counted.

    >>> from pipelines.sources.names import what_it_is
    >>> names = ("1.jpg", "1.seg.png", "1.txt", "v.05.jpg", "v.05.txt", "v.06.jpg")
    >>> found = samples(Member(name, 1, what_it_is(name)) for name in names)
    >>> [each.name if isinstance(each, Sample) else each.what for each in found]
    ['further image of a sample', '1', 'v.05', 'v.06']
    """
    run: _Run | None = None
    try:
        for member in members:
            if isinstance(member, PassedOver):
                yield member
                continue
            name, extension = _cut(member.name)
            key = (member.part, name)
            if run is None or run.key != key or extension in run.members or run.is_full:
                if run is not None:
                    yield from _samples(run)
                run = _Run(key)
            run.members[extension] = member
            run.text_bytes += len(member.body)
    except AfterEndError:
        yield from _samples(run) if run else ()
        raise
    except NotATarError:
        raise
    except NoEndError as error:
        yield from _samples(run) if run else ()
        raise tarfile.ReadError(f"{error}; all samples up to there are kept") from error
    except tarfile.TarError as error:
        if run is None:
            raise tarfile.ReadError(f"{error}; lost: every sample") from error
        last = _without_last(run)
        yield from _samples(run)
        raise tarfile.ReadError(f"{error}; lost: sample {last!r} and what follows") from error
    if run is not None:
        yield from _samples(run)


def _without_last(run: _Run) -> str:
    """Remove the last sample before a damage, which may lack members; return its name."""
    middles = [_middle(extension) for extension in run.members]
    if None in middles:
        run.members.clear()
        return run.key[1]
    run.members = {e: m for e, m in run.members.items() if _middle(e) != middles[-1]}
    return f"{run.key[1]}.{middles[-1]}"


def _cut(path: str) -> tuple[str, str]:
    """Split a path at the first dot of its name, or at the last if the name begins with a dot.

    >>> _cut("a.b/img.Seg.PNG"), _cut(".x.jpg")
    (('a.b/img', 'Seg.png'), ('.x', 'jpg'))
    """
    folder, base = posixpath.split(path)
    stem, _, extension = base.rpartition(".") if base.startswith(".") else base.partition(".")
    middle, dot, suffix = extension.rpartition(".")
    return posixpath.join(folder, stem), f"{middle}{dot}{suffix.lower()}"


def _middle(extension: str) -> str | None:
    """Return the text between the first and the last dot of a name; None for KEY.jpg."""
    return extension.rpartition(".")[0] if "." in extension else None


def _samples(run: _Run) -> Iterator[Sample | PassedOver]:
    groups: dict[str | None, dict[str, Member]] = {}
    for extension, member in run.members.items():
        group = groups.setdefault(_middle(extension), {})
        group[f".{extension.rpartition('.')[2]}"] = member
    part, key = run.key
    whole = None in groups
    several = sum(member.what == IMAGE for member in run.members.values()) > 1
    alone = [
        middle
        for middle, group in groups.items()
        if middle is not None and _stands(middle, group, whole=whole, several=several)
    ]
    for middle in alone:
        yield from _sample(f"{key}.{middle}", part, [groups.pop(middle)])
    rest = [groups.pop(None, {}), *groups.values()]
    yield from _sample(key, part, rest, has_images=bool(alone))


def _stands(middle: str, group: Mapping[str, Member], *, whole: bool, several: bool) -> bool:
    """Return whether the image of a group is a separate sample.

    In a webdataset sample (`whole`) the image may be a mask, for example. There it is a separate
    sample if it has its own .txt, or if several images differ only by a number. Its own .json
    counts only if the name has a number, because a mask may have a .json.
    """
    if not whole or (several and _NUMBER.fullmatch(middle)):
        return bool(_images(group))
    numbered = any(letter.isdigit() for letter in middle)
    return bool(_images(group)) and (".txt" in group or (numbered and ".json" in group))


def _sample(
    name: str, part: int, groups: list[dict[str, Member]], *, has_images: bool = False
) -> Iterator[Sample | PassedOver]:
    """Yield a sample of the first group, and counts of its further members.

    Args:
        name: of the sample.
        part: of the tar.
        groups: members by suffix.
        has_images: whether other samples of the run have images; then texts here are further texts.
    """
    members = [member for group in groups for member in group.values()]
    images = [member for member in members if member.what == IMAGE]
    texts = [member for member in members if member.what == TEXT]
    own = [groups[0][suffix] for suffix in TEXT_SUFFIXES if suffix in groups[0] and images]
    yield from (PassedOver(what=member.what) for member in members if member.what not in _READ)
    if len(images) > 1:
        yield PassedOver(what=FURTHER_IMAGE, count=len(images) - 1)
    if images or has_images:
        if further := len(texts) - len(own):
            yield PassedOver(what=FURTHER_TEXT, count=further)
    elif texts:
        suffixes = [member.name.removeprefix(name) for member in members]
        yield Sample(name, part, None, texts, suffixes)
    if images:
        yield Sample(name, part, images[0], own)


def _images(group: Mapping[str, Member]) -> list[Member]:
    return [member for member in group.values() if member.what == IMAGE]
