"""JPEG files written marker by marker: what no encoder would write."""

import struct


def segment(marker: int, body: bytes) -> bytes:
    """Return a marker with a body."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def of_empty_scans(scans: int, width: int, height: int) -> bytes:
    """Return a progressive JPEG, grey all over, with so many scans that say nothing.

    Each says of all blocks that there is no more to come, in runs of 32,767 blocks.
    """
    blocks = -(-width // 8) * -(-height // 8)
    head = segment(0xDB, b"\0" + b"\1" * 64)
    head += segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0")
    head += segment(0xC4, b"\0\1" + bytes(15) + b"\0")  # one code, of one bit: no difference
    head += segment(0xC4, b"\x10\1" + bytes(15) + b"\xe0")  # one code: a run, 14 bits follow
    first = segment(0xDA, b"\1\1\0\0\0\0") + bytes(-(-blocks // 8))
    bits = ("0" + "1" * 14) * -(-blocks // 32_767)
    bits += "1" * (-len(bits) % 8)
    runs = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    # A comment in each, as long as the tables that an encoder would repeat.
    empty = segment(0xFE, bytes(122)) + segment(0xDA, b"\1\1\0\1\x3f\0") + runs
    return b"\xff\xd8" + head + first + empty * scans + b"\xff\xd9"
