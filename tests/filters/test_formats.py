"""What a file is, told by its first bytes: formats that are read, known ones, and no images."""

import gzip
import io

import pytest
from PIL import Image

from filters.decode import FORMATS, DecodeError, decode
from filters.formats import file_format

BOM = b"\xef\xbb\xbf"
PROLOGUE = b'<?xml version="1.0" encoding="UTF-8" standalone="no"?>\r\n'
DOCTYPE = b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/svg11.dtd">'
ENTITIES = b'<!DOCTYPE svg PUBLIC "x" "y" [\n<!ENTITY ns "http://ns.example/">\n]>'
SVGS = [
    b"<svg/>",
    b"\n <svg xmlns='http://www.w3.org/2000/svg'>",
    b"<SVG>",
    b"<svg:svg xmlns:svg='x'>",
    BOM + b"<svg>",
    PROLOGUE + b"<svg>",
    BOM + PROLOGUE + b"<!-- Made -- by <html> -->\n" + DOCTYPE + b"\n<svg>",
    ENTITIES + b"<svg>",
    b"<!-- " + b"licence " * 1000 + b"--><!-- x --><svg>",
    "<svg/>".encode("utf-16"),
    "\ufeff<svg/>".encode("utf-16-be"),
    "<svg/>".encode("utf-16-le"),
    gzip.compress(PROLOGUE + b"<svg>" + b"<g/>" * 100_000, mtime=0),
]
TGA = b"\0\0\x02" + bytes(9) + b"\x28\0\x1e\0\x18\x20"


def written(name: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 30, 90)).save(file, name)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("JPEG", "jpeg"),
        ("PNG", "png"),
        ("GIF", "gif"),
        ("WEBP", "webp"),
        ("BMP", "bmp"),
        ("TIFF", "tiff"),
        ("AVIF", "heif"),
    ],
)
def test_what_pillow_writes_and_we_read_is_known(name: str, suffix: str) -> None:
    found = file_format(written(name))
    assert found is not None
    assert (found.name, found.suffix, found.read) == (name, suffix, True)


@pytest.mark.parametrize("svg", SVGS)
def test_svg_is_told_however_it_begins(svg: bytes) -> None:
    found = file_format(svg)
    assert found is not None
    assert found.name == "SVG"


def ftyp(major: bytes, *brands: bytes) -> bytes:
    body = b"ftyp" + major + bytes(4) + b"".join(brands)
    return (len(body) + 4).to_bytes(4, "big") + body + bytes(40)


UNSUPPORTED = {
    "JPEG 2000": [written("JPEG2000"), b"\xff\x4f\xff\x51\0\x2f", b"\0\0\0\x0cjP  \r\n\x87\n"],
    "JPEG XL": [b"\xff\x0a\xfa\x7f", b"\0\0\0\x0cJXL \r\n\x87\n"],
    "JPEG XR": [b"II\xbc\x01\x20"],
    "JPEG LS": [b"\xff\xd8\xff\xf7\0\x0b"],
    "HEIC": [
        ftyp(b"heic", b"mif1", b"heic"),
        ftyp(b"mif1", b"mif1", b"heic"),
        ftyp(b"heix"),
        ftyp(b"hevc"),
        ftyp(b"msf1", b"hevc"),
    ],
    "PSD": [b"8BPS\0\1" + bytes(20)],
    "XCF": [b"gimp xcf v011\0"],
    "OpenEXR": [b"v/1\x01\x02\0\0\0"],
    "Radiance HDR": [b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n"],
    "PDF": [written("PDF")],
    "EPS": [written("EPS"), b"\xc5\xd0\xd3\xc6\x20\0\0\0"],
    "DDS": [written("DDS")],
    "WMF": [b"\xd7\xcd\xc6\x9a\0\0", b"\1\0\x09\0\0\3" + bytes(20)],
    "EMF": [b"\1\0\0\0" + bytes(36) + b" EMF"],
    "ICO": [written("ICO"), b"\0\0\2\0\1\0\x20\x20\0\0\1\0\4\0" + bytes(20)],
    "ICNS": [written("ICNS")],
    "PCX": [written("PCX")],
    "TGA": [written("TGA"), TGA + bytes(100)],
    "SGI": [written("SGI")],
    "PNM": [written("PPM"), b"P6\n# by\n4 4\n255\n"],
    "QOI": [written("QOI")],
    "Camera RAW (CR2)": [b"II*\0\x10\0\0\0CR\2\0" + bytes(100)],
    "Camera RAW (CR3)": [ftyp(b"crx ", b"crx ", b"isom")],
    "Camera RAW (RAF)": [b"FUJIFILMCCD-RAW 0201"],
    "Camera RAW (RW2)": [b"IIU\0\x18\0\0\0"],
    "Camera RAW (ORF)": [b"IIRO\x08\0\0\0"],
    "SVG": SVGS,
}


@pytest.mark.parametrize(
    ("name", "body"),
    [(name, body) for name, bodies in UNSUPPORTED.items() for body in bodies],
    # Not of the bytes: Pillow's PDF tells the second, and every process is to find the same tests.
    ids=[f"{name} {n}" for name, bodies in UNSUPPORTED.items() for n, _ in enumerate(bodies)],
)
def test_a_known_format_that_is_not_read_is_named(name: str, body: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(body, max_pixels=10**6)
    assert caught.value.reason == "unsupported_image"
    assert caught.value.detail == f"{name} is not read, only {', '.join(FORMATS)}"


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("HTML", b"<!DOCTYPE html><html><svg></svg>"),
        ("HTML", BOM + b"\r\n<!-- x --><!doctype HTML>"),
        ("HTML", PROLOGUE + b'<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0"><html>'),
        ("HTML", b"<html><body><svg/>"),
        ("HTML", b"  <script>"),
        ("HTML", b"<div><svg>"),
        ("XML", PROLOGUE + b"<Error><Code>AccessDenied</Code></Error>"),
        ("XML", b"<rss/>"),
        ("JSON", b'{"error": "not found"}'),
        ("gzip", gzip.compress(b"<html>", mtime=0)),
        ("gzip", b"\x1f\x8b\x08"),
        ("MP4 video", ftyp(b"isom", b"mp42")),
        ("ZIP", b"PK\x03\x04\x14\0"),
    ],
)
def test_what_is_no_image_is_named_too(name: str, body: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(body, max_pixels=10**6)
    assert caught.value.reason == "not_an_image"
    assert caught.value.detail.startswith(f"{name}, {len(body):,} bytes, starting with b")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"hello",
        b"BMW is a maker of cars",
        b"RIFF1234WAVE",
        b"<",
        b"<!--",
        b"<!-- " * 20_000,
        b"<?xml " * 20_000,
        b"<!DOCTYPE svg [",
        b"{\0\0",
        bytes(100),
    ],
)
def test_bytes_that_tell_nothing_have_no_format(body: bytes) -> None:
    assert file_format(body) is None


def test_an_avif_among_heif_files_is_told_by_its_brands() -> None:
    for data in (ftyp(b"avif"), ftyp(b"avis", b"msf1"), ftyp(b"mif1", b"avif", b"heic")):
        found = file_format(data)
        assert found is not None
        assert found.name == "AVIF"


@pytest.mark.parametrize(
    "tags", [{50706: b"\1\4\0\0"}, {254: 1, 330: 8}], ids=["DNG", "a thumbnail with sub-images"]
)
def test_a_cameras_raw_inside_a_tiff_is_no_picture_of_its_thumbnail(tags: dict) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, "TIFF", tiffinfo=tags)
    with pytest.raises(DecodeError, match=r"unsupported_image: Camera RAW \(in TIFF\)"):
        decode(file.getvalue(), max_pixels=10**6)
