"""Untrusted bytes to an upright sRGB image, or a reason why not."""

import re
import warnings
from io import BytesIO

from PIL import ExifTags, Image, ImageColor, UnidentifiedImageError, features

from filters.colour import to_srgb
from filters.decode_work import excess_in_bytes, excess_in_image
from filters.formats import FileFormat, file_format
from filters.jpeg_scans import ended_otherwise
from filters.tag_work import excess_of_exif, without_excess

_ALLOWED = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
FORMATS = tuple(name for name in _ALLOWED if name != "AVIF" or features.check("avif"))

# Tags of TIFF.
_NEW_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION = 254, 330, 50706

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow warns of bombs and of broken EXIF; the first is an error here, the second means no EXIF.
# `warnings.catch_warnings` swaps state that all threads share, so the filter is set once.
warnings.filterwarnings("ignore", module=r"PIL\.")


class DecodeError(Exception):
    """A file that cannot be used as an image.

    `reason` is one of `not_an_image`, `unsupported_image`, `too_many_pixels`,
    `truncated_image`, `corrupt_image`, `out_of_memory` and `decode_timeout`, which also stands for
    more work than `filters.decode_work` allows; `detail` is a sentence.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def decode(data: bytes, *, max_pixels: int, background: str = "#ffffff") -> Image.Image:
    """Decode the first frame of a file to a plain RGB image: upright, sRGB, no alpha.

    The header is read, and the size and the work checked, before any pixel is.
    `filters.colour.to_srgb` says how each pixel format is converted. A JPEG that lacks nothing but
    its end mark is whole; it costs a few decodes more. Safe to call from many threads.

    Args:
        data: a whole JPEG, PNG, GIF, WebP, BMP, TIFF or (if Pillow has it) AVIF file.
        max_pixels: width times height allowed. Pillow's own limit, twice
            `Image.MAX_IMAGE_PIXELS` or 179 million, holds as well.
        background: colour under transparent pixels, in any form Pillow's ImageColor reads.

    Raises:
        DecodeError: for anything wrong in the file.
        ValueError: if `background` is not a colour.
    """
    ImageColor.getrgb(background)
    if (found := file_format(data)) is not None and not found.read:
        raise not_read(found, data)
    if excess := excess_in_bytes(data):
        raise DecodeError("decode_timeout", excess)
    if data.startswith(b"\xff\xd8\xff"):
        data = without_excess(data)
    try:
        return _decoded(data, max_pixels, background)
    except DecodeError as error:
        if error.reason == "truncated_image" and data.startswith(b"\xff\xd8\xff"):
            return _without_end(data, error, max_pixels, background)
        raise


def not_read(found: FileFormat | None, data: bytes) -> DecodeError:
    """Return why a file of another format than `FORMATS`, or of none, is no image here."""
    if found is not None and found.image:
        read = ", ".join(FORMATS)
        return DecodeError("unsupported_image", f"{found.name} is not read, only {read}")
    what = f"{found.name}, " if found else ""
    return DecodeError("not_an_image", f"{what}{len(data):,} bytes, starting with {data[:16]!r}")


def _decoded(data: bytes, max_pixels: int, background: str) -> Image.Image:
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            _check_size(image, max_pixels)
            _check_kind(image)
            if excess := excess_in_image(data, image):
                raise DecodeError("decode_timeout", excess)
            image.load()
            return to_srgb(_upright(image), background)
    except DecodeError:
        raise
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    # Pillow's plugins meet hostile bytes with almost every class there is: OSError, ValueError,
    # SyntaxError, EOFError, KeyError, struct.error, OverflowError, NotImplementedError, ...
    # MemoryError is one of them: the size is checked, so it is the file that asks for too much.
    except Exception as error:
        raise DecodeError(_reason(error, data), f"{type(error).__name__}: {error}") from error


def _without_end(data: bytes, error: DecodeError, max_pixels: int, background: str) -> Image.Image:
    """Decode a JPEG that lacks its end mark and no pixel, or raise what was raised of it."""
    pixels, image = None, None
    for ended in ended_otherwise(data) or ():
        try:
            image = _decoded(ended, max_pixels, background)
        except DecodeError:
            raise error from None
        if pixels not in (None, image.tobytes()):
            raise error
        pixels = image.tobytes()
    if image is None:
        raise error
    return image


def _check_size(image: Image.Image, max_pixels: int) -> None:
    if not (image.width and image.height):
        raise DecodeError("corrupt_image", f"size is {image.width} x {image.height}")
    if image.width * image.height > max_pixels:
        size = f"{image.width} x {image.height}"
        raise DecodeError("too_many_pixels", f"{size} is over {max_pixels} pixels")


def _check_kind(image: Image.Image) -> None:
    """Refuse a camera's RAW in a TIFF (DNG, NEF, ARW): what can be read of it is a thumbnail."""
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    is_reduced = tags.get(_NEW_SUBFILE_TYPE, 0) == 1 and _SUB_IFDS in tags
    if _DNG_VERSION in tags or is_reduced:
        raise DecodeError("unsupported_image", "Camera RAW (in TIFF) is not read")


def _upright(image: Image.Image) -> Image.Image:
    """Turn the image as its EXIF or XMP orientation says, if its EXIF is fit to be read."""
    try:
        if excess_of_exif(image.info):
            return image
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    # EXIF is a TIFF of its own, as hostile as the file, and the pixels do not need it.
    except Exception:
        turn = None
    return image if turn is None else image.transpose(turn)


def _unidentified(data: bytes) -> DecodeError:
    """Tell a broken header from a format that this Pillow does not read and from no image."""
    found = file_format(data)
    if found is not None and found.name in FORMATS:
        return DecodeError("corrupt_image", f"{found.name} with a header that cannot be read")
    return not_read(found, data)


def _reason(error: Exception, data: bytes) -> str:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "too_many_pixels"
    if isinstance(error, MemoryError):
        return "out_of_memory"
    if isinstance(error, NotImplementedError) or re.search("unsupported", str(error), re.I):
        return "unsupported_image"
    if isinstance(error, EOFError) or re.search("truncated|end of file", str(error), re.I):
        return "truncated_image"
    return "truncated_image" if _ends_early(data) else "corrupt_image"


def _ends_early(data: bytes) -> bool:
    """Tell if a WebP is shorter than its header says; Pillow's error does not."""
    return data[:4] == b"RIFF" and len(data) < 8 + int.from_bytes(data[4:8], "little")
