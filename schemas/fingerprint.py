"""What made a file, and what is in it: the two hashes that decide whether work is redone."""

import io
import json
from hashlib import blake2b
from typing import Any

import pyarrow as pa

HEX_DIGITS = 32


def fingerprint(*parts: Any) -> str:
    """Hash JSON-like values (mappings in any key order) to 32 hex digits.

    Raises:
        TypeError: if a part is not made of JSON values.
        ValueError: if a float is not finite.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return blake2b(text.encode(), digest_size=HEX_DIGITS // 2).hexdigest()


def content_digest(table: pa.Table) -> str:
    """Hash the values of a table, whatever its chunks, buffers and metadata.

    Two side-cars with equal digests hold equal rows, so whatever was made from one
    is still fresh when the other takes its place.
    """
    digest = blake2b(digest_size=HEX_DIGITS // 2)
    bare = table.replace_schema_metadata(None).combine_chunks()
    sink = pa.PythonFile(_Hashing(digest), mode="w")
    with pa.ipc.new_stream(sink, bare.schema) as stream:
        stream.write_table(bare)
    return digest.hexdigest()


class _Hashing(io.RawIOBase):
    """A write-only file that keeps only the hash of what is written."""

    def __init__(self, digest: "blake2b") -> None:
        self._digest = digest

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._digest.update(data)
        return len(data)
