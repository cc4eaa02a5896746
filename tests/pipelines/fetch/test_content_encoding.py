"""Compressed bodies come out whole, or not at all, and never over their size."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pyarrow as pa
import pytest

from pipelines.fetch.content_encoding import TooLargeError, named_encodings, undone

BODY = bytes(range(256)) * 40
BOMB = bytes(200_000_000)


def arrow(codec: str) -> Callable[[bytes], bytes]:
    def compressed(body: bytes) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, codec) as stream:
            stream.write(body)
        return sink.getvalue().to_pybytes()

    return compressed


def bare_deflate(body: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return made.compress(body) + made.flush()


WAYS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", bare_deflate),
    ("br", arrow("brotli")),
    ("zstd", arrow("zstd")),
]
ways = pytest.mark.parametrize(("name", "compress"), WAYS)


@ways
def test_each_encoding_is_undone(name: str, compress: Callable[[bytes], bytes]) -> None:
    assert undone(compress(BODY), [name], len(BODY)) == BODY


@ways
def test_one_byte_over_the_size_is_too_large(name: str, compress: Callable[[bytes], bytes]) -> None:
    with pytest.raises(TooLargeError, match=f"over 10,239 bytes once {name} is undone"):
        undone(compress(BODY), [name], len(BODY) - 1)


@ways
def test_a_body_that_ends_early_or_is_another_is_refused(
    name: str, compress: Callable[[bytes], bytes]
) -> None:
    for body in (compress(BODY)[:-9], b"<html>Sorry</html>"):
        with pytest.raises(ValueError, match="not in content encoding"):
            undone(body, [name], len(BODY))


@pytest.mark.parametrize(("name", "compress"), [WAYS[0], WAYS[2], WAYS[4], WAYS[5]])
def test_a_bomb_takes_no_more_memory_than_the_size(
    name: str, compress: Callable[[bytes], bytes]
) -> None:
    bomb = compress(BOMB)
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            undone(bomb, [name], 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_several_are_undone_from_the_last_to_the_first() -> None:
    body = gzip.compress(zlib.compress(BODY))
    assert undone(body, ["deflate", "identity", "gzip"], len(BODY)) == BODY
    with pytest.raises(ValueError, match="5 encodings, over 4"):
        undone(BODY, ["gzip"] * 5, len(BODY))


def test_members_of_gzip_are_joined_and_what_follows_them_is_ignored() -> None:
    body = gzip.compress(BODY[:500]) + gzip.compress(BODY[500:]) + b"\0\0"
    assert undone(body, ["gzip"], len(BODY)) == BODY


def test_an_encoding_that_nobody_knows_is_named() -> None:
    with pytest.raises(ValueError, match="'compress' is not known"):
        undone(BODY, ["compress"], len(BODY))
    assert undone(BODY, ["", "identity", "none"], 1) == BODY


def test_headers_name_encodings_in_any_case_and_number() -> None:
    assert named_encodings(["GZip ,br", "identity"]) == ["gzip", "br", "identity"]
    assert named_encodings([]) == []
