"""The clips of Debian's unpacked openclipart packages: a PNG and the metadata of its SVG."""

import hashlib
import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote
from xml.parsers import expat

RDF_RESOURCE = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}resource"
PUBLIC_DOMAIN = frozenset(
    {
        "http://web.resource.org/cc/PublicDomain",
        "http://creativecommons.org/licenses/publicdomain/",
    }
)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

Row = dict[str, str | list[str]]  # one line of a JSONL file


class UnsafeSvgError(ValueError):
    """An SVG that declares entities, which can be used to exhaust memory or to read files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """The RDF block of an SVG; a field is empty if the SVG lacks it."""

    title: str = ""
    text: str = ""  # dc:description
    tags: tuple[str, ...] = ()
    licence: str = ""  # the URI of cc:license; several different ones are joined by a space
    author: str = ""
    problem: str = ""  # why the SVG could not be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One PNG file of the package; symbolic links to it are not clips."""

    path: str  # relative to the png folder
    file: Path
    width: int  # px, from the header
    height: int  # px, from the header
    size_bytes: int
    about: Metadata

    @property
    def digest(self) -> str:
        """The hash that clips are drawn by; it depends on the path alone."""
        return hashlib.blake2b(self.path.encode(), digest_size=16).hexdigest()

    @property
    def is_public_domain(self) -> bool:
        """Whether every licence in the SVG is the public domain."""
        return self.about.licence in PUBLIC_DOMAIN

    def row(self) -> Row:
        """Return the row of this clip in a list of images, without its path or URL."""
        about = self.about
        return {
            "title": about.title,
            "text": about.text,
            "tags": list(about.tags),
            "licence": about.licence,
            "author": about.author,
        }


def share_folder(folder: Path) -> Path:
    """Return the folder of the `png` and `svg` trees of the packages unpacked in `folder`."""
    return folder / "root/usr/share/openclipart"


def package_version(folder: Path) -> str:
    """Return the Debian version of the PNG package in `folder`, read from its file name.

    Raises:
        FileNotFoundError: the package file is missing.
    """
    packages = sorted(folder.glob("openclipart-png_*_all.deb"))
    if not packages:
        raise FileNotFoundError(f"no openclipart-png_*_all.deb in {folder}: run `fetch` first")
    return unquote(packages[-1].name.split("_")[1])


def read_clips(folder: Path) -> Iterator[Clip]:
    """Yield every clip unpacked in `folder`, ordered by path."""
    share = share_folder(folder)
    for path, file in sorted((png_path(share, file), file) for file in png_files(share)):
        width, height = png_size(file)
        yield Clip(
            path=path,
            file=file,
            width=width,
            height=height,
            size_bytes=file.stat().st_size,
            about=read_metadata(share / "svg" / Path(path).with_suffix(".svg")),
        )


def png_files(share: Path) -> Iterator[Path]:
    """Yield the real PNG files; the package also links 1,221 other names to them."""
    return (file for file in (share / "png").rglob("*.png") if not file.is_symlink())


def png_path(share: Path, file: Path) -> str:
    """Return the path of a PNG inside the package, with forward slashes."""
    return file.relative_to(share / "png").as_posix()


def png_size(file: Path) -> tuple[int, int]:
    """Return (width, height) in px from the header alone: some clips have 623 million pixels.

    Raises:
        ValueError: the file has no PNG header.
    """
    with file.open("rb") as stream:
        head = stream.read(24)
    if len(head) < 24 or not head.startswith(PNG_SIGNATURE):
        raise ValueError(f"expected a PNG header, found {head[:16]!r} in {file}")
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def read_metadata(svg: Path) -> Metadata:
    """Read the RDF block of one SVG; if it is missing, broken or unsafe, return the problem."""
    try:
        root = parse_untrusted(svg.read_bytes())
    except (FileNotFoundError, expat.ExpatError, UnsafeSvgError) as error:
        return Metadata(problem=f"{type(error).__name__}: {error}")
    work = root.find(".//{*}Work")
    if work is None:
        return Metadata(problem="no cc:Work")
    tags = (words(tag.text) for tag in work.findall("{*}subject//{*}li"))
    return Metadata(
        title=words(work.findtext("{*}title")),
        text=words(work.findtext("{*}description")),
        tags=tuple(tag for tag in tags if tag),
        licence=stated_licence(root),
        author=words(work.findtext("{*}creator//{*}title")),
    )


def parse_untrusted(xml: bytes) -> ET.Element:
    """Parse XML that declares no entity; an external DTD is never fetched.

    Raises:
        expat.ExpatError: it is not well-formed.
        UnsafeSvgError: it declares an entity.
    """
    guard = expat.ParserCreate()
    guard.EntityDeclHandler = refuse_entity
    guard.Parse(xml, True)
    return ET.fromstring(xml)


def refuse_entity(name: str, *_declaration: object) -> None:
    """Stop the parser at the declaration, before the entity is used."""
    raise UnsafeSvgError(f"the SVG declares the entity {name!r}")


def stated_licence(root: ET.Element) -> str:
    """Return the licences of all works in the SVG (merged drawings keep several RDF blocks)."""
    named = root.findall(".//{*}Work/{*}license")
    return " ".join(sorted({words(licence.get(RDF_RESOURCE)) for licence in named}))


def words(text: str | None) -> str:
    """Return the text with every run of white space as one space."""
    return " ".join((text or "").split())
