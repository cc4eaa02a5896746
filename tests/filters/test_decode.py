import io
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFile, PngImagePlugin

from filters.decode import FORMATS, DecodeError, Header, decode, decode_scaled, read_header

MAX_PIXELS = 1_000_000

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")  # pytest undoes the filter of decode.py


def photo(width: int = 48, height: int = 32) -> Image.Image:
    """Four flat quadrants, all different, that survive any compression."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (250, 10, 10)
    pixels[: height // 2, width // 2 :] = (10, 250, 10)
    pixels[height // 2 :, : width // 2] = (10, 10, 250)
    pixels[height // 2 :, width // 2 :] = (240, 240, 10)
    return Image.fromarray(pixels)


def noise(side: int = 96) -> Image.Image:
    values = (np.arange(side * side * 3, dtype=np.uint64) * 2654435761 >> 7) % 256
    return Image.fromarray(values.astype(np.uint8).reshape(side, side, 3))


def encoded(image: Image.Image, format_name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> Image.Image:
    return decode(data, max_pixels=MAX_PIXELS)


def reason(data: bytes, max_pixels: int = MAX_PIXELS) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(data, max_pixels=max_pixels)
    return caught.value.reason


def corners(image: Image.Image) -> list[str]:
    """Name the colours of the four quadrants, clockwise from the top left."""
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 0): "yellow"}
    x, y = image.width // 4, image.height // 4
    places = [(x, y), (3 * x, y), (3 * x, 3 * y), (x, 3 * y)]
    pixels = [image.getpixel(place) for place in places]
    return [names[tuple(int(channel > 128) for channel in pixel)] for pixel in pixels]


@pytest.mark.parametrize("format_name", FORMATS)
def test_every_allowed_format_decodes_to_plain_rgb(format_name: str) -> None:
    image = decoded(encoded(photo(), format_name))
    assert type(image) is Image.Image
    assert (image.mode, image.size, image.info) == ("RGB", (48, 32), {})
    assert corners(image) == ["red", "green", "yellow", "blue"]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_all_eight_exif_orientations_come_out_upright(format_name: str, orientation: int) -> None:
    if format_name not in FORMATS:
        pytest.skip(f"this Pillow has no {format_name}")
    as_stored = {  # what a camera stores so that the orientation makes it upright again
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = photo()
    for turn in as_stored[orientation]:
        stored = stored.transpose(turn)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = decoded(encoded(stored, format_name, exif=exif))
    assert image.size == (48, 32)
    assert corners(image) == ["red", "green", "yellow", "blue"]


@pytest.mark.parametrize("exif", [b"Exif\0\0junk", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\xff" * 40])
def test_broken_exif_does_not_cost_the_image(exif: bytes) -> None:
    assert decoded(encoded(photo(), "JPEG", exif=exif)).size == (48, 32)


@pytest.mark.parametrize("format_name", ["GIF", "PNG", "WEBP"])
def test_an_animation_gives_its_first_frame(format_name: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    options = {"save_all": True, "append_images": frames[1:]}
    if format_name == "WEBP":
        options["lossless"] = True
    image = decoded(encoded(frames[0], format_name, **options))
    assert image.getcolors() == [(256, (255, 0, 0))]


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_an_error_and_no_grey_half(format_name: str, share: float) -> None:
    data = encoded(noise(), format_name)
    expected = {"truncated_image"}
    if format_name == "AVIF":  # its index points past the end, which libavif calls a bad header
        expected.add("corrupt_image")
    assert reason(data[: int(len(data) * share)]) in expected
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_bytes_that_are_no_image_say_what_they_start_with() -> None:
    with pytest.raises(DecodeError) as caught:
        decoded(b"<!DOCTYPE html><html>not found</html>")
    assert caught.value.reason == "not_an_image"
    assert "b'<!DOCTYPE html><'" in caught.value.detail
    assert reason(b"") == "not_an_image"


def test_a_format_outside_the_list_is_named() -> None:
    with pytest.raises(DecodeError, match="JPEG 2000 is not read, only JPEG, PNG, ") as caught:
        decoded(encoded(photo(), "JPEG2000"))
    assert caught.value.reason == "unsupported_image"
    assert reason(encoded(photo(), "ICO")) == "unsupported_image"


def png(width: int, height: int, rest: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rest + chunk(b"IEND", b"")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("side", [10_000, 60_000])  # 60,000 is past Pillow's own limit
def test_a_bomb_is_refused_by_its_header(side: int) -> None:
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    assert reason(png(side, side, pixels)) == "too_many_pixels"


@pytest.mark.parametrize(("max_pixels", "fits"), [(1535, False), (1536, True), (1537, True)])
def test_max_pixels_is_the_largest_size_that_passes(max_pixels: int, fits: bool) -> None:
    data = encoded(photo(48, 32), "PNG")
    if fits:
        assert decode(data, max_pixels=max_pixels).size == (48, 32)
    else:
        assert reason(data, max_pixels) == "too_many_pixels"


def test_a_large_image_and_broken_exif_print_no_warning(tmp_path: Path) -> None:
    # In a process of its own, because pytest replaces the warning filters.
    (tmp_path / "large.png").write_bytes(encoded(Image.new("1", (9500, 9500)), "PNG"))
    exif = b"Exif\0\0II*\0\xff\xff\xff\xff"
    (tmp_path / "exif.jpg").write_bytes(encoded(photo(), "JPEG", exif=exif))
    script = (
        "import sys, pathlib; from filters.decode import decode\n"
        "for path in sys.argv[1:]:\n"
        "    print(decode(pathlib.Path(path).read_bytes(), max_pixels=10**8).size)"
    )
    files = [str(tmp_path / "large.png"), str(tmp_path / "exif.jpg")]
    command = [sys.executable, "-W", "always", "-c", script, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(9500, 9500)\n(48, 32)\n", "")


def test_a_text_chunk_that_inflates_without_end_is_an_error() -> None:
    text = b"key\0\0" + zlib.compress(bytes(PngImagePlugin.MAX_TEXT_CHUNK + 1))
    pixels = chunk(b"IDAT", zlib.compress((b"\0" + bytes(12)) * 4))
    assert decoded(png(4, 4, pixels)).size == (4, 4)
    assert reason(png(4, 4, chunk(b"zTXt", text) + pixels)) == "corrupt_image"


def test_many_threads_decode_what_one_does() -> None:
    data = [encoded(noise(32 + side), name) for side in range(8) for name in ("JPEG", "PNG")]
    with ThreadPoolExecutor(4) as pool:
        threaded = [image.tobytes() for image in pool.map(decoded, data)]
    assert threaded == [decoded(one).tobytes() for one in data]


def test_a_background_that_is_no_colour_is_our_mistake_and_not_the_files() -> None:
    with pytest.raises(ValueError, match="unknown color"):
        decode(encoded(photo(), "PNG"), max_pixels=MAX_PIXELS, background="#12")


def half(width: int, height: int) -> bool:
    return min(width, height) >= 100


@pytest.mark.parametrize("format_name", FORMATS)
def test_an_image_is_scaled_as_far_as_suffices_and_its_own_size_is_told(format_name: str) -> None:
    data = encoded(photo(403, 302), format_name)
    found = decode_scaled(data, max_pixels=MAX_PIXELS, suffices=half)
    assert (found.width, found.height, found.image.size) == (403, 302, (202, 151))
    assert type(found.image) is Image.Image
    assert (found.image.mode, found.image.info) == ("RGB", {})
    assert corners(found.image) == ["red", "green", "yellow", "blue"]


@pytest.mark.parametrize(
    ("enough", "size"),
    [(0, (51, 38)), (38, (101, 76)), (75, (101, 76)), (76, (202, 151)), (152, (403, 302))],
)
@pytest.mark.parametrize("format_name", ["JPEG", "PNG"])
def test_the_scale_is_the_least_that_suffices(
    format_name: str, enough: int, size: tuple[int, int]
) -> None:
    def suffices(width: int, height: int) -> bool:
        return height >= enough

    data = encoded(photo(403, 302), format_name)
    assert decode_scaled(data, max_pixels=MAX_PIXELS, suffices=suffices).image.size == size


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_scaled_jpeg_is_nearly_the_mean_of_its_blocks(mode: str, scale: int) -> None:
    y, x = np.mgrid[:96, :128] / 16
    waves = [127 + 60 * np.sin(x + phase) + 60 * np.cos(y - phase) for phase in (0, 1, 2)]
    image = Image.fromarray(np.stack(waves, -1).astype(np.uint8)).convert(mode)
    data = encoded(image, "JPEG", quality=95)

    def suffices(width: int, height: int) -> bool:
        return width >= 128 // scale

    found = decode_scaled(data, max_pixels=MAX_PIXELS, suffices=suffices).image
    means = np.asarray(decoded(data)).reshape(96 // scale, scale, 128 // scale, scale, 3)
    assert found.size == (128 // scale, 96 // scale)
    assert np.abs(np.asarray(found) - means.mean((1, 3))).max() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_scaled_image_is_upright_and_so_are_its_size_and_its_box(orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    y, x = np.mgrid[:301, :403] * 0.6
    slopes = Image.fromarray(np.stack([x, y, x], -1).astype(np.uint8))
    data = encoded(slopes, "JPEG", exif=exif, subsampling=0, quality=98)
    found = decode_scaled(data, max_pixels=MAX_PIXELS, suffices=half)
    whole = decoded(data)
    assert (found.width, found.height) == whole.size
    left, top, right, bottom = found.box
    assert (right - left, bottom - top) == (whole.width / 2, whole.height / 2)
    assert 0 <= left <= right <= found.image.width == -(-whole.width // 2)
    assert 0 <= top <= bottom <= found.image.height == -(-whole.height // 2)
    # What lies in the box is the whole picture: stretched to one size they are the same.
    size, bilinear = (64, 64), Image.Resampling.BILINEAR
    apart = np.asarray(found.image.resize(size, bilinear, found.box)).astype(int)
    apart -= np.asarray(whole.resize(size, bilinear))
    assert np.abs(apart[4:-4, 4:-4].mean((0, 1))).max() < 0.15


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_truncated_jpeg_is_found_at_every_scale(options: dict) -> None:
    data = encoded(noise(), "JPEG", **options)
    for scale in (1, 2, 4, 8):

        def suffices(width: int, height: int, side: int = 96 // scale) -> bool:
            return width >= side

        whole = decode_scaled(data, max_pixels=MAX_PIXELS, suffices=suffices).image
        assert whole.size == (96 // scale, 96 // scale)
        # A file that lacks its end mark alone is whole, whatever the scale.
        lacking = decode_scaled(data[:-2], max_pixels=MAX_PIXELS, suffices=suffices).image
        assert lacking.tobytes() == whole.tobytes()
        for cut in (*range(3, 40), len(data) // 2, len(data) - 700):
            with pytest.raises(DecodeError, match="truncated_image"):
                decode_scaled(data[:-cut], max_pixels=MAX_PIXELS, suffices=suffices)


def test_the_limits_hold_for_the_size_in_the_file() -> None:
    data = encoded(photo(403, 302), "JPEG")
    with pytest.raises(DecodeError, match="too_many_pixels"):
        decode_scaled(data, max_pixels=403 * 302 - 1, suffices=lambda *size: True)


def test_a_header_tells_size_turn_and_profile_without_decoding() -> None:
    plain = encoded(photo(), "JPEG")
    assert read_header(plain, max_pixels=MAX_PIXELS) == Header(
        width=48, height=32, upright=True, srgb=True
    )
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned = read_header(encoded(photo(), "JPEG", exif=exif), max_pixels=MAX_PIXELS)
    assert (turned.width, turned.height, turned.upright) == (48, 32, False)
    assert not read_header(encoded(photo().convert("L"), "JPEG"), max_pixels=MAX_PIXELS).srgb
    with pytest.raises(DecodeError, match="too_many_pixels"):
        read_header(plain, max_pixels=48 * 32 - 1)
    with pytest.raises(DecodeError, match="truncated_image"):
        read_header(plain[:100], max_pixels=MAX_PIXELS)
