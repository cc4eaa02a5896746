"""Decoding of untrusted bytes to an upright sRGB image, or an error with a reason."""

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

# Pillow warns of decompression bombs, which are an error here, and of broken EXIF, which counts as
# no EXIF. `warnings.catch_warnings` changes state of all threads, so the filter is set once.
warnings.filterwarnings("ignore", module=r"PIL\.")


class DecodeError(Exception):
    """A file that cannot be used as an image.

    `reason` is one of `not_an_image`, `unsupported_image`, `too_many_pixels`,
    `truncated_image`, `corrupt_image`, `out_of_memory` and `decode_timeout`. The last also means
    more work than `filters.decode_work` allows. `detail` is a sentence.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def decode(data: bytes, *, max_pixels: int, background: str = "#ffffff") -> Image.Image:
    """Decode the first frame of a file to an upright sRGB image without alpha.

    It reads the header and checks size and work before it decodes pixels. `filters.colour.to_srgb`
    describes the conversion of each pixel format. A JPEG that lacks only its end mark is accepted;
    it costs a few more decodes. Safe to call from many threads.

    Args:
        data: a whole JPEG, PNG, GIF, WebP, BMP, TIFF or (if Pillow has it) AVIF file.
        max_pixels: largest width times height. Pillow's own limit, twice
            `Image.MAX_IMAGE_PIXELS` or 179 million, also holds.
        background: colour under transparent pixels, in any form of Pillow's ImageColor.

    Raises:
        DecodeError: the file is no usable image.
        ValueError: `background` is not a colour.
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
    """Return the error for a file with a format that is not in `FORMATS`, or with none."""
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
    # For hostile bytes Pillow's plugins raise almost any class: OSError, ValueError, SyntaxError,
    # EOFError, KeyError, struct.error, OverflowError, NotImplementedError, ... also MemoryError:
    # the size is checked, so the file is at fault.
    except Exception as error:
        raise DecodeError(_reason(error, data), f"{type(error).__name__}: {error}") from error


def _without_end(data: bytes, error: DecodeError, max_pixels: int, background: str) -> Image.Image:
    """Decode a JPEG that lacks only its end mark, or raise `error`."""
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
    """Refuse camera RAW in a TIFF (DNG, NEF, ARW): only its thumbnail can be read."""
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    is_reduced = tags.get(_NEW_SUBFILE_TYPE, 0) == 1 and _SUB_IFDS in tags
    if _DNG_VERSION in tags or is_reduced:
        raise DecodeError("unsupported_image", "Camera RAW (in TIFF) is not read")


def _upright(image: Image.Image) -> Image.Image:
    """Rotate the image by its EXIF or XMP orientation, if its EXIF can be read safely."""
    try:
        if excess_of_exif(image.info):
            return image
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    # EXIF is a TIFF inside the file, just as hostile, and the pixels do not need it.
    except Exception:
        turn = None
    return image if turn is None else image.transpose(turn)


def _unidentified(data: bytes) -> DecodeError:
    """Return the error of a file with a broken header, an unsupported format or no image."""
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
    """Return whether a WebP is shorter than its header says; Pillow's error does not tell."""
    return data[:4] == b"RIFF" and len(data) < 8 + int.from_bytes(data[4:8], "little")
