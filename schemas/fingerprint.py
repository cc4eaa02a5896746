"""Hashes of a file's inputs and of its content, which decide whether a stage runs again."""

import json
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

HEX_DIGITS = 32


def fingerprint(*parts: Any) -> str:
    """Hash JSON-like values (mappings in any key order) to 32 hex digits.

    Raises:
        TypeError: a part is not made of JSON values.
        ValueError: a float is not finite.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return blake2b(text.encode(), digest_size=HEX_DIGITS // 2).hexdigest()


def content_digest(table: "pa.Table") -> str:
    """Hash the names and values of a table's columns, without chunks, buffers and metadata.

    Two side-cars with equal digests have equal rows, so files made from one are fresh for the
    other. A null differs from every value, and a column that may have nulls has the same digest as
    one that may not, if it has none.
    """
    # Recipes have fingerprints too, and are read without Arrow.
    import numpy as np
    import pyarrow as pa

    digest = blake2b(json.dumps(table.column_names).encode(), digest_size=HEX_DIGITS // 2)
    # A copy, because buffers of a slice contain bits outside the slice.
    numbers = pa.py_buffer(np.arange(table.num_rows, dtype=np.int64).tobytes())
    every = pa.Array.from_buffers(pa.int64(), table.num_rows, [None, numbers])
    rows = table.combine_chunks().take(every)
    for batch in rows.to_batches():
        # The message of a batch has values but no schema, because Parquet does not preserve all of
        # the schema (names and metadata inside lists).
        digest.update(batch.serialize())
    return digest.hexdigest()
