"""What made a file, and what is in it: the two hashes that decide whether work is redone."""

import json
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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


def content_digest(table: "pa.Table") -> str:
    """Hash the names and values of a table's columns, whatever its chunks, buffers and metadata.

    Two side-cars with equal digests hold equal rows, so whatever was made from one
    is still fresh when the other takes its place. A table with nulls is not told from one
    without its null flags; our schemas have none.
    """
    # Recipes have fingerprints too, and are read without Arrow.
    import numpy as np
    import pyarrow as pa

    digest = blake2b(json.dumps(table.column_names).encode(), digest_size=HEX_DIGITS // 2)
    # A copy: buffers of a slice hold bits of its neighbours.
    numbers = pa.py_buffer(np.arange(table.num_rows, dtype=np.int64).tobytes())
    every = pa.Array.from_buffers(pa.int64(), table.num_rows, [None, numbers])
    rows = table.combine_chunks().take(every)
    for batch in rows.to_batches():
        # The message of a batch holds its values but no schema, which Parquet does not give
        # back to the letter (names and metadata inside lists).
        digest.update(batch.serialize())
    return digest.hexdigest()
