"""Arrow schemas of the files that dedup keeps of lists, beside its side-cars."""

import pyarrow as pa

from schemas.tables import field

BENCHMARK = pa.schema(
    [
        field("image", pa.string(), "file in the folder, or key in the corpus"),
        field("sha256", pa.string(), "of the bytes, 64 hex digits"),
        field("phash", pa.uint64(), "as in signals; 0 where pHashes are not compared"),
        field("colour_layout", pa.string(), "as in signals; '' where pHashes are not compared"),
        field("points", pa.binary(), "embedding, int16 of value * 32767; empty if not compared"),
    ]
)

BALANCE = pa.schema(
    [
        field("entry", pa.string(), "as in the list of entries"),
        field("rows", pa.int64(), "rows with it that are no duplicates, before the balance"),
    ]
)
