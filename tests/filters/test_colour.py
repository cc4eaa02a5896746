import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from filters.decode import DecodeError, decode

RED, BLUE, WHITE, BLACK = (255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def through(image: Image.Image, format_name: str = "PNG", **options: object) -> Image.Image:
    """Write an image with Pillow and read it back with `decode`, on a blue background."""
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return decode(buffer.getvalue(), max_pixels=10**6, background="#0000ff")


def greys(image: Image.Image) -> list[int]:
    pixels = np.asarray(image)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0].ravel().tolist()


@pytest.mark.parametrize("format_name", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped_to_white(format_name: str) -> None:
    levels = np.array([[0, 128, 129, 257, 32768, 65406, 65407, 65535]], np.uint16)
    image = through(Image.fromarray(levels), format_name)
    assert greys(image) == [0, 0, 1, 1, 128, 254, 255, 255]


def test_big_endian_16_bit_grey_is_scaled() -> None:
    levels = np.array([[0, 257, 32768, 65535]], np.uint16)
    image = Image.frombytes("I;16B", (4, 1), levels.astype(">u2").tobytes())
    assert greys(through(image, "TIFF")) == [0, 1, 128, 255]


def test_32_bit_grey_is_read_as_16_bit_where_it_fits() -> None:
    levels = np.array([[0, 257, 65535]], np.int32)
    assert greys(through(Image.fromarray(levels), "TIFF")) == [0, 1, 255]


def test_float_grey_is_read_as_0_to_1() -> None:
    levels = np.array([[0.0, 0.25, 0.5, 1.0]], np.float32)
    assert greys(through(Image.fromarray(levels), "TIFF")) == [0, 64, 128, 255]


@pytest.mark.parametrize(
    "levels",
    [
        np.array([[0, 65536]], np.int32),
        np.array([[-1, 5]], np.int32),
        np.array([[0.0, 1.5]], np.float32),
        np.array([[0.0, np.nan]], np.float32),
    ],
    ids=["over_16_bit", "negative", "over_1", "nan"],
)
def test_samples_of_unknown_range_are_refused_and_not_guessed(levels: np.ndarray) -> None:
    with pytest.raises(DecodeError, match="samples outside") as caught:
        through(Image.fromarray(levels), "TIFF")
    assert caught.value.reason == "unsupported_image"


def test_16_bit_grey_with_a_colour_key_shows_the_background_there_only() -> None:
    levels = np.array([[1000, 1001]], np.uint16)
    image = through(Image.fromarray(levels), transparency=1000)
    assert [image.getpixel((x, 0)) for x in range(2)] == [BLUE, (4, 4, 4)]


def test_one_bit_images_are_black_and_white() -> None:
    bits = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert greys(through(bits)) == [0, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_mixed_with_the_background(mode: str) -> None:
    image = Image.new(mode, (3, 1), (255,) * len(mode))
    image.putalpha(Image.fromarray(np.array([[0, 51, 255]], np.uint8)))
    expected = [BLUE, (51, 51, 255), WHITE]
    assert [through(image).getpixel((x, 0)) for x in range(3)] == expected


def test_the_colour_hidden_under_full_transparency_does_not_show() -> None:
    assert through(Image.new("RGBA", (4, 4), (*RED, 0))).getcolors() == [(16, BLUE)]


@pytest.mark.parametrize(("format_name", "key"), [("GIF", 1), ("PNG", 1), ("PNG", b"\xff\x00")])
def test_palette_transparency_shows_the_background(format_name: str, key: int | bytes) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *WHITE])
    image.putpixel((1, 0), 1)
    flat = through(image, format_name, transparency=key)
    assert [flat.getpixel((x, 0)) for x in range(2)] == [RED, BLUE]


@pytest.mark.parametrize(("mode", "key"), [("L", 255), ("RGB", WHITE), ("1", 255)])
def test_a_colour_key_shows_the_background(mode: str, key: object) -> None:
    image = Image.new(mode, (2, 1))
    image.putpixel((1, 0), key)
    flat = through(image, transparency=1 if mode == "1" else key)
    assert [flat.getpixel((x, 0)) for x in range(2)] == [BLACK, BLUE]


def test_cmyk_ink_is_taken_from_white() -> None:
    for ink, colour in [((0, 255, 255, 0), RED), ((0, 0, 0, 0), WHITE), ((0, 0, 0, 255), BLACK)]:
        image = through(Image.new("CMYK", (8, 8), ink), "JPEG", quality=100)
        assert np.abs(np.asarray(image).astype(int) - colour).max() <= 4


def test_cielab_comes_out_in_its_own_colours() -> None:
    red = through(Image.new("LAB", (2, 2), (138, 209, 198)), "TIFF")  # D50: 54, 81, 70
    assert np.abs(np.asarray(red).astype(int) - RED).max() <= 6  # 8-bit Lab is that coarse
    grey = through(Image.new("LAB", (2, 2), (255, 128, 128)), "TIFF")
    assert np.asarray(grey).min() >= 253


def profile_with_red_as_green() -> bytes:
    """Return an sRGB profile whose red and green primaries are swapped."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = data.index(b"rXYZ"), data.index(b"gXYZ")
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data)


def test_an_icc_profile_is_applied() -> None:
    image = through(Image.new("RGB", (2, 2), RED), icc_profile=profile_with_red_as_green())
    assert np.abs(np.asarray(image).astype(int) - (0, 255, 0)).max() <= 1


def test_an_icc_profile_is_applied_under_alpha() -> None:
    profile = profile_with_red_as_green()
    image = through(Image.new("RGBA", (2, 2), (*RED, 51)), icc_profile=profile)
    assert np.abs(np.asarray(image).astype(int) - (0, 51, 204)).max() <= 1


def test_an_srgb_profile_changes_no_pixel() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    cube = np.arange(4096 * 3, dtype=np.uint32).reshape(64, 64, 3) % 256
    image = Image.fromarray(cube.astype(np.uint8))
    assert through(image, icc_profile=profile).tobytes() == image.tobytes()


@pytest.mark.parametrize("profile", [b"junk", b"\0" * 16 + b"RGB " + b"\0" * 400])
def test_a_broken_icc_profile_counts_as_none(profile: bytes) -> None:
    image = Image.new("RGB", (2, 2), RED)
    assert through(image, icc_profile=profile).getcolors() == [(4, RED)]


def test_a_profile_of_another_colour_space_counts_as_none() -> None:
    image = Image.new("L", (2, 2), 100)
    assert greys(through(image, icc_profile=profile_with_red_as_green())) == [100] * 4
