"""The format of a file by its bytes: one table for all callers, used before any decoder."""

import re
import zlib
from typing import NamedTuple


class FileFormat(NamedTuple):
    """A kind of file."""

    name: str  # for messages; Pillow's name of a readable format
    suffix: str = "bin"  # of a stored file
    read: bool = False  # whether Pillow, if built with it, reads it as an image
    image: bool = True  # whether people call such a file an image


# Formats by their first bytes; readable formats first, weak marks last.
_SIGNATURES = (
    (FileFormat("JPEG LS"), rb"\xff\xd8\xff\xf7"),
    (FileFormat("JPEG", "jpeg", read=True), rb"\xff\xd8\xff"),
    (FileFormat("PNG", "png", read=True), rb"\x89PNG\r\n\x1a\n"),
    (FileFormat("GIF", "gif", read=True), rb"GIF8[79]a"),
    (FileFormat("WEBP", "webp", read=True), rb"RIFF.{4}WEBP"),
    (FileFormat("Camera RAW (CR2)"), rb"(?:II\*\0|MM\0\*).{4}CR"),
    (FileFormat("TIFF", "tiff", read=True), rb"II[*+]\0|MM\0[*+]|II\0\*|MM\*\0"),
    # Two letters are a weak mark, so the size of the second header is checked too.
    (FileFormat("BMP", "bmp", read=True), rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
    (FileFormat("JPEG 2000"), rb"\0{3}\x0cjP(?:  |\x1a\x1a)\r\n\x87\n|\xff\x4f\xff\x51"),
    (FileFormat("JPEG XL"), rb"\xff\x0a|\0{3}\x0cJXL \r\n\x87\n"),
    (FileFormat("JPEG XR"), rb"II\xbc"),
    (FileFormat("PSD"), rb"8BPS"),
    (FileFormat("XCF"), rb"gimp xcf"),
    (FileFormat("OpenEXR"), rb"v/1\x01"),
    (FileFormat("Radiance HDR"), rb"#\?(?:RADIANCE|RGBE)"),
    (FileFormat("PDF"), rb"%PDF-"),
    (FileFormat("EPS"), rb"%!PS|\xc5\xd0\xd3\xc6"),
    (FileFormat("DDS"), rb"DDS \x7c\0\0\0"),
    (FileFormat("WMF"), rb"\xd7\xcd\xc6\x9a|[\1\2]\0\x09\0\0[\1\3]"),
    (FileFormat("EMF"), rb"\x01\0\0\0.{36} EMF"),
    (FileFormat("ICNS"), rb"icns"),
    (FileFormat("DjVu"), rb"AT&TFORM.{4}DJV"),
    (FileFormat("IFF"), rb"FORM.{4}(?:ILBM|PBM |ACBM)"),
    (FileFormat("MNG"), rb"[\x8a\x8b][MJ]NG\r\n\x1a\n"),
    (FileFormat("QOI"), rb"qoif"),
    (FileFormat("FLIF"), rb"FLIF"),
    (FileFormat("BPG"), rb"BPG\xfb"),
    (FileFormat("DICOM"), rb".{128}DICM"),
    (FileFormat("FITS"), rb"SIMPLE  ="),
    (FileFormat("NIfTI"), rb"\x5c\x01\0\0.{340}(?:n\+1|ni1)\0"),
    (FileFormat("KTX"), rb"\xabKTX [12][10]\xbb\r\n\x1a\n"),
    (FileFormat("PNM"), rb"P[1-7FfAf]\s[\s0-9#W-]"),
    (FileFormat("XPM"), rb"/\* XPM \*/"),
    (FileFormat("XBM"), rb"#define [A-Za-z0-9_]+_width\s"),
    (FileFormat("Sun raster"), rb"\x59\xa6\x6a\x95"),
    (FileFormat("SGI"), rb"\x01\xda[\0\1][\1\2]\0[\1-\3]"),
    (FileFormat("Camera RAW (ORF)"), rb"IIR[OS]|MMOR"),
    (FileFormat("Camera RAW (RW2)"), rb"IIU\0"),
    (FileFormat("Camera RAW (RAF)"), rb"FUJIFILMCCD-RAW"),
    (FileFormat("Camera RAW (X3F)"), rb"FOVb"),
    (FileFormat("Camera RAW (MRW)"), rb"\0MRM"),
    (FileFormat("CorelDRAW"), rb"RIFF.{4}CDR"),
    (FileFormat("WebM video", image=False), rb"\x1a\x45\xdf\xa3"),
    (FileFormat("ZIP", image=False), rb"PK\x03\x04"),
    (FileFormat("Zstandard", image=False), rb"\x28\xb5\x2f\xfd"),
    (FileFormat("ICO"), rb"\0\0[\1\2]\0[\1-\xff]\0.{3}\0.{4}"),
    (FileFormat("PCX"), rb"\x0a[\0\2-\5][\0\1][\1\2\4\x08]"),
)
_COMPILED = tuple((found, re.compile(mark, re.DOTALL)) for found, mark in _SIGNATURES)

AVIF = FileFormat("AVIF", "heif", read=True)
HEIC = FileFormat("HEIC", "heif")
SVG = FileFormat("SVG")
TGA = FileFormat("TGA")
HTML = FileFormat("HTML", image=False)
GZIP = FileFormat("gzip", image=False)

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
_HEIF_BRANDS = (b"mif1", b"mif2", b"msf1", b"miaf", b"MiHE", b"MiHB")
# Tags that only a web page begins with (WHATWG, MIME Sniffing, section 7.1).
_HTML_TAGS = (
    *("html", "head", "body", "script", "iframe", "h1", "div", "font", "table", "a", "style"),
    *("title", "b", "br", "p", "span", "meta", "link"),
)
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f]")
_READ_BYTES = 1 << 16  # of a text
_TGA_KINDS = (1, 2, 3, 9, 10, 11)
_TGA_FOOTER = b"TRUEVISION-XFILE.\0"


def file_format(data: bytes) -> FileFormat | None:
    """Return the format of a file by its first bytes, or None if it is unknown.

    A decoder may still refuse the file.

    >>> file_format(b"<!-- mine --><svg/>"), file_format(b"anything")
    (FileFormat(name='SVG', suffix='bin', read=False, image=True), None)
    """
    for found, mark in _COMPILED:
        if mark.match(data):
            return found
    if data[4:8] == b"ftyp":
        return _of_brands(data)
    if data[:2] == b"\x1f\x8b":
        return SVG if _markup(_inflated(data)) == SVG else GZIP
    return _markup(data) or (TGA if _is_tga(data) else None)


def _of_brands(data: bytes) -> FileFormat:
    """Return the format of a file in the ISO base media format (ISO/IEC 14496-12, `ftyp`)."""
    end = min(int.from_bytes(data[:4], "big"), 256)
    major = data[8:12]
    brands = {major, *(data[start : start + 4] for start in range(16, end, 4))}
    if major in _HEIC_BRANDS:
        return HEIC
    if brands & {b"avif", b"avis"}:
        return AVIF
    if brands & {*_HEIC_BRANDS, *_HEIF_BRANDS}:
        return HEIC
    if major == b"crx ":
        return FileFormat("Camera RAW (CR3)")
    return FileFormat("MP4 video", image=False)


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(31).decompress(data[:_READ_BYTES], _READ_BYTES)
    except zlib.error:
        return b""


def _markup(data: bytes) -> FileFormat | None:
    """Return whether a text is SVG, HTML, other XML or JSON, by its first element; else None."""
    text = _text(data[:_READ_BYTES]).lstrip("\ufeff \t\r\n\f")
    if text[:1] in ("{", "["):
        return None if _CONTROLS.search(text) else FileFormat("JSON", image=False)
    if text[:1] != "<":
        return None
    name = _root(text)
    if name == "svg" or name.endswith(":svg"):
        return SVG
    if name in _HTML_TAGS or name == "!doctype html":
        return HTML
    return FileFormat("XML", image=False) if name else None


def _text(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    if data[:2] in (b"<\0", b"\0<"):
        return data.decode("utf-16-le" if data[:1] == b"<" else "utf-16-be", "replace")
    return data.removeprefix(b"\xef\xbb\xbf").decode("latin-1")


def _root(text: str) -> str:
    """Return the name of the first element, in lower case; '' if there is none.

    For a page that begins with its document type, return `!doctype html`.
    """
    at = 0
    while True:
        at = _after_blanks(text, at)
        if text.startswith("<!--", at):
            end = text.find("-->", at + 4) + 3
        elif text.startswith("<?", at):
            end = text.find("?>", at + 2) + 2
        elif text[at : at + 9].lower() == "<!doctype":
            kind = text[at + 9 : at + 20].split()[:1]
            if [each.lower().rstrip(">") for each in kind] == ["html"]:
                return "!doctype html"
            end = _after_doctype(text, at)
        else:
            found = re.compile(r"<([A-Za-z_][\w.:-]*)").match(text, at)
            return found[1].lower() if found else ""
        if end <= at:
            return ""
        at = end


def _after_blanks(text: str, at: int) -> int:
    found = re.compile(r"\s*").match(text, at)
    return found.end() if found else at


def _after_doctype(text: str, at: int) -> int:
    close, inner = text.find(">", at), text.find("[", at)
    if 0 <= inner < close:  # entities, as in files of Illustrator
        close = text.find(">", text.find("]", inner)) if text.find("]", inner) > 0 else -1
    return close + 1


def _is_tga(data: bytes) -> bool:
    """Return whether a file is a Targa, which has no mark, by its footer or its whole header."""
    if data[-18:] == _TGA_FOOTER:
        return True
    if len(data) < 18 or data[1] > 1 or data[2] not in _TGA_KINDS:
        return False
    coloured = data[1] == 1
    map_fits = data[7] in (15, 16, 24, 32) if coloured else not any(data[3:8])
    sides = int.from_bytes(data[12:14], "little"), int.from_bytes(data[14:16], "little")
    is_mapped = data[2] in (1, 9)
    return (
        map_fits
        and is_mapped == coloured
        and all(sides)
        and data[16] in (8, 15, 16, 24, 32)
        and data[17] < 64
    )
