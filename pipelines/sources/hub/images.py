"""Check of a dataset's image column, before rows are read."""

from typing import Any

import pyarrow as pa

from pipelines.sources.arrow_rows import python_rows
from pipelines.sources.columns import column_of
from pipelines.sources.hub.dataset import one_line, tables
from pipelines.sources.lists.parquet import is_list
from schemas.source_config import HuggingFaceSource
from schemas.store.storage import CorpusError
from schemas.subsets import DEFAULT_SUBSET


def require_images(dataset: Any, schema: pa.Schema, source: HuggingFaceSource, image: str) -> None:
    """Check that a column of images exists in a dataset and has images.

    Raises:
        CorpusError: it does not; has the content of the column and a suggestion for the recipe.
    """
    path, names = source.path, schema.names
    root = column_of(image, names)
    if root is None:
        if names:
            found = f"no column {image!r} among {', '.join(names)}"
            raise CorpusError(f"{path}: {found}; {_instead(dataset, schema)}")
        return
    if root != image:  # a path into a column; its values are checked with the rows
        return
    kind = schema.field(image).type
    feature = (dataset.features or {}).get(image)
    if what := _not_images(kind, feature, image, one_of_list=source.subset != DEFAULT_SUBSET):
        raise CorpusError(f"{path}: column {image!r} is {what}")
    if _is_text(kind) and (url := _first(dataset.select_columns([image]), path)):
        raise CorpusError(
            f"{path}: column {image!r} holds URLs such as {url!r:.100}, expected images; "
            f"to fetch them, set image: '' and columns: {{url: {image}}}"
        )


def _not_images(kind: pa.DataType, feature: Any, name: str, *, one_of_list: bool) -> str:
    """Return the kind of a column that cannot have images, '' if it can.

    `one_of_list`: whether it may hold lists, of one image each.
    """
    if type(feature).__name__ in ("Audio", "Video", "Pdf", "Nifti", "Mesh"):
        return f"of {type(feature).__name__}, expected images"
    if is_list(kind) and one_of_list:
        return ""
    if is_list(kind) or isinstance(kind, pa.BaseExtensionType):
        return f"a list, expected images; to take one of each, set image: '{name}[0]'"
    if pa.types.is_struct(kind):
        keys = [kind.field(number).name for number in range(kind.num_fields)]
        inside = "bytes" in keys or "path" in keys
        return "" if inside else f"a struct of {', '.join(keys)}, expected images"
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    if binary or _is_text(kind) or pa.types.is_null(kind):
        return ""
    return f"{kind}, expected images"


def _instead(dataset: Any, schema: pa.Schema) -> str:
    """Return a suggestion for the recipe, based on the existing columns."""
    features = dataset.features or {}
    images = [n for n in schema.names if type(features.get(n)).__name__ == "Image"]
    if images:
        return f"name it: image: {images[0]}"
    urls = [name for name in schema.names if "url" in name.lower()]
    url = urls[0] if urls else "COLUMN"
    return f"name one that holds images, or to fetch URLs set image: '' and columns: {{url: {url}}}"


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _first(dataset: Any, path: str) -> str:
    """Return the first text of the column if it is a URL, else ''."""
    for table in tables(dataset, path, 1):
        with one_line(path, "cannot be read"):
            (row,) = python_rows(table)
        if isinstance(row, dict) and (text := next(iter(row.values()))):
            return text if text.startswith(("http://", "https://")) else ""
    return ""
