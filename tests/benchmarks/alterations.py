"""What happens to images on the web: each alteration takes an RGB image and returns a file."""

import io
from collections.abc import Callable, Mapping

from PIL import Image, ImageDraw, ImageFont, ImageOps

MARK = "sample.example"


def jpeg(image: Image.Image, quality: int) -> bytes:
    return _file(image, "JPEG", quality=quality)


def resized(image: Image.Image, scale: float) -> bytes:
    return _file(_resized(image, scale))


def web_copy(image: Image.Image) -> bytes:
    """Return half the width and height, as a JPEG of quality 75."""
    return jpeg(_resized(image, 0.5), 75)


def cropped(image: Image.Image, share: float) -> bytes:
    """Cut a share of width and height, half of it at each edge."""
    x, y = (max(1, round(side * share / 2)) for side in image.size)
    return _file(image.crop((x, y, image.width - x, image.height - y)))


def cut_left(image: Image.Image, share: float) -> bytes:
    """Cut a share of the width, all of it on the left."""
    return _file(image.crop((max(1, round(image.width * share)), 0, *image.size)))


def bordered(image: Image.Image, share: float) -> bytes:
    """Add a black border, of a share of the shorter side at each edge."""
    return _file(ImageOps.expand(image, max(1, round(min(image.size) * share)), "black"))


def marked(image: Image.Image) -> bytes:
    """Write a grey text across the middle, half transparent, 60 % as wide as the image."""
    font = ImageFont.load_default(40)
    left, top, right, bottom = font.getbbox(MARK)
    mask = Image.new("L", (round(right - left), round(bottom - top)))
    ImageDraw.Draw(mask).text((-left, -top), MARK, 128, font)
    width = max(1, round(0.6 * image.width))
    mask = mask.resize((width, max(1, width * mask.height // mask.width)))
    altered = image.copy()
    middle = ((image.width - mask.width) // 2, (image.height - mask.height) // 2)
    altered.paste(Image.new("RGB", mask.size, "grey"), middle, mask)
    return _file(altered)


ALTERATIONS: Mapping[str, Callable[[Image.Image], bytes]] = {
    "JPEG, quality 75": lambda image: jpeg(image, 75),
    "JPEG, quality 30": lambda image: jpeg(image, 30),
    "half as wide": lambda image: resized(image, 0.5),
    "a quarter as wide": lambda image: resized(image, 0.25),
    "half as wide, JPEG 75": web_copy,
    "watermark": marked,
    "5 % cropped, all round": lambda image: cropped(image, 0.05),
    "5 % cropped, left": lambda image: cut_left(image, 0.05),
    "border of 5 %": lambda image: bordered(image, 0.05),
    "mirrored": lambda image: _file(ImageOps.mirror(image)),
}


def _resized(image: Image.Image, scale: float) -> Image.Image:
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _file(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **({"compress_level": 1} if kind == "PNG" else options))
    return file.getvalue()
