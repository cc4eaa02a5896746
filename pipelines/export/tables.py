"""Samples as rows of Parquet: one column a field, an image or an array.

| column | of |
|---|---|
| `key`, `messages`, `caption`, ... | a field of KEY.json; null where a sample has none |
| `signals` | the JSON object of the field, as text: recipes differ in what they measure |
| `image`, `source_image`, `chosen_image`, ... | the member `jpg`, `source.jpg`, `chosen.jpg` |
| `tokens256`, `chosen_tokens256`, ... | an array, flattened in C order |
| `tokens256_shape`, ... | the array's shape |
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.data.manifest import DataError
from pipelines.export.samples import READ_SAMPLES, Sample, Shard
from schemas.store.storage import Storage
from schemas.subsets import Subset

ImageValue = Callable[[str, bytes], Any]
"""Returns the value of an image, from its file name and bytes."""

MESSAGES: Final = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
CAPTIONS: Final = pa.list_(
    pa.struct([("style", pa.string()), ("origin", pa.string()), ("caption", pa.string())])
)
_LISTS: Final = {"messages": MESSAGES, "captions": CAPTIONS}
_TYPES: Final = {str: pa.string(), int: pa.int64(), float: pa.float64(), dict: pa.string()}


def image_columns(subset: Subset) -> dict[str, str]:
    """Return the member of each image column.

    >>> from schemas.subsets import EDIT
    >>> image_columns(EDIT)
    {'source_image': 'source.jpg', 'image': 'jpg'}
    """
    return {"_".join([*member.split(".")[:-1], "image"]): member for member in subset.images}


def array_columns(shard: Shard) -> dict[str, str]:
    """Return the member of each array column."""
    members = (name for each in shard.tokens for name in shard.subset.of_images(each.member))
    return {member.removesuffix(".npy").replace(".", "_"): member for member in members}


def field_columns(subset: Subset) -> dict[str, pa.DataType]:
    """Return the type of each column that is a field of KEY.json."""
    return {name: _LISTS.get(name) or _TYPES[type_] for name, type_ in subset.fields.items()}


def sample_schema(shard: Shard, image: pa.DataType) -> pa.Schema:
    """Return the columns of a shard's samples; images have the type `image`."""
    dtypes = {
        member: "float16" if each.kind == "features" else each.codes_dtype
        for each in shard.tokens
        for member in shard.subset.of_images(each.member)
    }
    arrays: dict[str, pa.DataType] = {}
    for column, member in array_columns(shard).items():
        arrays[column] = pa.list_(pa.from_numpy_dtype(np.dtype(dtypes[member])))
        arrays[f"{column}_shape"] = pa.list_(pa.int32())
    images = dict.fromkeys(image_columns(shard.subset), image)
    return pa.schema(list({**field_columns(shard.subset), **images, **arrays}.items()))


def sample_members(shard: Shard) -> tuple[str, ...]:
    """Return the members that `sample_rows` needs."""
    return (*image_columns(shard.subset).values(), *array_columns(shard).values())


def sample_rows(
    shard: Shard, samples: Iterable[Sample], image: ImageValue
) -> Iterator[dict[str, Any]]:
    """Yield the row of each sample.

    Raises:
        DataError: an array is damaged.
    """
    images, arrays = image_columns(shard.subset), array_columns(shard)
    for sample in samples:
        row = field_values(sample.fields)
        for column, member in images.items():
            row[column] = image(f"{sample.key}.{member}", sample.members[member])
        for column, member in arrays.items():
            array = load_array(f"{shard.file.path}: {sample.key}.{member}", sample.members[member])
            row[column], row[f"{column}_shape"] = array.ravel(), array.shape
        yield row


def field_values(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the columns that are fields of KEY.json.

    >>> field_values({"key": "0", "signals": {"sharpness": 1.5}})
    {'key': '0', 'signals': '{"sharpness": 1.5}'}
    """
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
        for name, value in fields.items()
    }


def write_parquet(
    path: str, schema: pa.Schema, rows: Iterable[dict[str, Any]], to: Storage
) -> dict[str, int]:
    """Write rows to a file, a row group for `READ_SAMPLES` of them; return its bytes, by path.

    Raises:
        DataError: a value is not of the type of its column.
    """
    texts: Any = [each.name for each in schema if pa.types.is_string(each.type)]
    waiting = iter(rows)
    with to.scratch() as folder:
        local = folder / "rows.parquet"
        # JPEGs and codes do not get smaller by a dictionary.
        with pq.ParquetWriter(local, schema, use_dictionary=texts) as writer:
            while batch := list(islice(waiting, READ_SAMPLES)):
                writer.write_table(_table(path, batch, schema))
        size = local.stat().st_size
        to.commit_file(path, local)
    return {path: size}


def _table(path: str, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    try:
        return pa.Table.from_pylist(rows, schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        keys = f"{rows[0]['key']} to {rows[-1]['key']}"
        raise DataError(f"{path}: a field of the samples {keys}: {error}") from error


def load_array(where: str, data: bytes) -> NDArray[Any]:
    """Return the array of a member; `where` names it in the error.

    Raises:
        DataError: it is damaged.
    """
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{where}: damaged: {error}; restore the shard") from error
