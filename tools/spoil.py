"""Changes that make a real clip a bad or odd image; each takes and returns a file's bytes."""

import io
import struct
import zlib

from PIL import ExifTags, Image

BOMB_SIDE = 30_000  # px: 900 million pixels


def flattened(png: bytes) -> Image.Image:
    """Decode a clip as RGB on white."""
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def encoded(image: Image.Image, kind: str, exif: Image.Exif | None = None) -> bytes:
    """Encode an image as `kind`, JPEG or PNG."""
    stream = io.BytesIO()
    image.save(stream, kind, quality=90, optimize=True, exif=exif or Image.Exif())
    return stream.getvalue()


def first_half(png: bytes) -> bytes:
    """Cut the file in the middle."""
    return png[: len(png) // 2]


def decompression_bomb(png: bytes) -> bytes:
    """Declare a side of 30,000 px in the header, with a valid checksum."""
    header = png[12:16] + struct.pack(">II", BOMB_SIDE, BOMB_SIDE) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def turned_jpeg(png: bytes) -> bytes:
    """Store the image rotated by 90 degrees, with the EXIF orientation that corrects it."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return encoded(flattened(png).transpose(Image.Transpose.ROTATE_90), "JPEG", exif)


def cmyk_jpeg(png: bytes) -> bytes:
    """Store the image in the four colours of print."""
    return encoded(flattened(png).convert("CMYK"), "JPEG")


def grey_16_bit_png(png: bytes) -> bytes:
    """Store the image in shades of grey of 16 bits, each the 8-bit one times 257."""
    grey = flattened(png).convert("L")
    both_bytes = Image.merge("LA", (grey, grey)).tobytes()
    return encoded(Image.frombytes("I;16", grey.size, both_bytes), "PNG")


def white_on_transparent(png: bytes) -> bytes:
    """Keep the shape as alpha and paint it white, so that it is invisible on white."""
    alpha = Image.open(io.BytesIO(png)).convert("RGBA").getchannel("A")
    white = Image.new("L", alpha.size, 255)
    return encoded(Image.merge("RGBA", (white, white, white, alpha)), "PNG")


def smaller_jpeg(png: bytes) -> bytes:
    """Shrink the image to three quarters, as a mirror or a thumbnailer does."""
    image = flattened(png)
    return encoded(image.resize((image.width * 3 // 4, image.height * 3 // 4)), "JPEG")


def icon(png: bytes) -> bytes:
    """Shrink the image to 32 x 32 px."""
    return encoded(flattened(png).resize((32, 32)), "PNG")
