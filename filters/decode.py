"""Decoding of untrusted bytes to an upright sRGB image, or an error with a reason."""

import re
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

from PIL import ExifTags, Image, ImageColor, UnidentifiedImageError, features

from filters.colour import is_srgb, to_srgb, to_srgb_with_alpha
from filters.decode_work import excess_in_bytes, excess_in_image
from filters.formats import FileFormat, file_format
from filters.jpeg_scans import ended_otherwise
from filters.tag_work import excess_of_exif, without_excess

_ALLOWED = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
FORMATS = tuple(name for name in _ALLOWED if name != "AVIF" or features.check("avif"))

# Tags of TIFF.
_NEW_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION = 254, 330, 50706

_SCALES = (8, 4, 2)  # what libjpeg decodes to: an eighth, a quarter, half of each side
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = tuple(_TURNS[orientation] for orientation in (5, 6, 7, 8))
_TO_THE_LEFT = tuple(_TURNS[orientation] for orientation in (2, 3, 6, 7))  # the last column
_TO_THE_TOP = tuple(_TURNS[orientation] for orientation in (3, 4, 7, 8))  # the last row

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """A decoded image that may be smaller than its file says."""

    image: Image.Image  # RGB, upright
    width: int  # of the file, upright, px
    height: int
    # Left, top, right and bottom of the picture in `image`, px. Its sides are rounded up, so up to
    # a pixel at one end shows nothing of the file.
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the header of a file says of its image."""

    width: int  # as stored, px
    height: int
    upright: bool  # no EXIF or XMP orientation turns it
    srgb: bool  # 8-bit RGB, with no profile that changes a colour


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
    return decode_scaled(data, max_pixels=max_pixels, background=background).image


def decode_with_alpha(data: bytes, *, max_pixels: int) -> Image.Image:
    """Decode the first frame of a file to an upright sRGB image: RGBA if it has alpha, else RGB.

    Args:
        data: as in `decode`.
        max_pixels: as in `decode`.

    Raises:
        DecodeError: the file is no usable image.
    """
    if data.startswith(b"\xff\xd8\xff"):  # a JPEG has no alpha, and may lack its end
        return decode(data, max_pixels=max_pixels)
    with _opened(_checked(data), max_pixels) as image:
        image.load()
        turn = _turn(image)
        return to_srgb_with_alpha(image if turn is None else image.transpose(turn))


def decode_scaled(
    data: bytes,
    *,
    max_pixels: int,
    background: str = "#ffffff",
    suffices: Callable[[int, int], bool] = lambda width, height: False,
) -> Scaled:
    """Decode as `decode` does, to an eighth, a quarter or half of each side if that suffices.

    A JPEG is scaled in the frequency domain while it is decoded, which is faster. Images of other
    formats are decoded, and blocks of pixels averaged. All limits hold for the full size, and a
    truncated file is found at every scale.

    Args:
        data: as in `decode`.
        max_pixels: as in `decode`.
        background: as in `decode`.
        suffices: whether an image of this width and height is large enough.

    Raises:
        DecodeError: the file is no usable image.
        ValueError: `background` is not a colour.
    """
    ImageColor.getrgb(background)
    data = _checked(data)

    def decoded(data: bytes, scales: Sequence[int] = _SCALES) -> Scaled:
        with _opened(data, max_pixels) as image:
            fine = (s for s in scales if suffices(image.width // s, image.height // s))
            return _loaded(image, background, next(fine, 1))

    try:
        return decoded(data)
    except DecodeError as error:
        if error.reason != "truncated_image" or not data.startswith(b"\xff\xd8\xff"):
            raise
        # At full size, as the last bits may not show in a smaller image.
        return decoded(_with_end(data, error, lambda ended: decoded(ended, ()).image))


def read_header(data: bytes, *, max_pixels: int) -> Header:
    """Read the header of a file, with the checks of `decode`; its pixels may still be unusable.

    Raises:
        DecodeError: the file is no usable image.
    """
    with _opened(_checked(data), max_pixels) as image:
        return Header(
            width=image.width,
            height=image.height,
            upright=_turn(image) is None,
            srgb=is_srgb(image),
        )


def not_read(found: FileFormat | None, data: bytes) -> DecodeError:
    """Return the error for a file with a format that is not in `FORMATS`, or with none."""
    if found is not None and found.image:
        read = ", ".join(FORMATS)
        return DecodeError("unsupported_image", f"{found.name} is not read, only {read}")
    what = f"{found.name}, " if found else ""
    return DecodeError("not_an_image", f"{what}{len(data):,} bytes, starting with {data[:16]!r}")


def _checked(data: bytes) -> bytes:
    """Return a file that is not too much work to open, without tags that would be."""
    if (found := file_format(data)) is not None and not found.read:
        raise not_read(found, data)
    if excess := excess_in_bytes(data):
        raise DecodeError("decode_timeout", excess)
    return without_excess(data) if data.startswith(b"\xff\xd8\xff") else data


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Generator[Image.Image]:
    """Open a file whose size and work are allowed; whatever the body raises is a DecodeError."""
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            _check_size(image, max_pixels)
            _check_kind(image)
            if excess := excess_in_image(data, image):
                raise DecodeError("decode_timeout", excess)
            yield image
    except DecodeError:
        raise
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    # For hostile bytes Pillow's plugins raise almost any class: OSError, ValueError, SyntaxError,
    # EOFError, KeyError, struct.error, OverflowError, NotImplementedError, ... also MemoryError:
    # the size is checked, so the file is at fault.
    except Exception as error:
        raise DecodeError(_reason(error, data), f"{type(error).__name__}: {error}") from error


def _loaded(image: Image.Image, background: str, scale: int) -> Scaled:
    """Load the pixels of an open image, each side divided by `scale`."""
    width, height = size = image.size
    if scale > 1:
        image.draft(None, (max(1, width // scale), max(1, height // scale)))
    image.load()
    turn = _turn(image)
    rgb = to_srgb(image if turn is None else image.transpose(turn), background)
    if scale > 1 and image.size == size:  # not a JPEG
        rgb = rgb.reduce(scale)
    if turn in _SIDEWAYS:
        width, height = height, width
    left = rgb.width - width / scale if turn in _TO_THE_LEFT else 0
    top = rgb.height - height / scale if turn in _TO_THE_TOP else 0
    box = (left, top, left + width / scale, top + height / scale)
    return Scaled(image=rgb, width=width, height=height, box=box)


def _with_end(data: bytes, error: DecodeError, decoded: Callable[[bytes], Image.Image]) -> bytes:
    """Return a JPEG that lacks only its end mark with that mark, or raise `error`."""
    versions = ended_otherwise(data) or ()
    pixels = None
    for ended in versions:
        try:
            found = decoded(ended).tobytes()
        except DecodeError:
            raise error from None
        if pixels not in (None, found):
            raise error
        pixels = found
    if not versions:
        raise error
    return versions[0]


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


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return what makes the image upright by its EXIF or XMP orientation; None for nothing.

    An orientation counts only if the EXIF can be read safely.
    """
    try:
        if excess_of_exif(image.info):
            return None
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    # EXIF is a TIFF inside the file, just as hostile, and the pixels do not need it.
    except Exception:
        return None


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
