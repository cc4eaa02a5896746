"""The bytes of a dataset's images, from the row or from a file inside the dataset."""

import os.path
from collections.abc import Mapping
from typing import Any

import fsspec

from pipelines.sources.hub.dataset import folder_of, is_local


def image_of(value: Any) -> Mapping[str, Any]:
    """Return {bytes, path} of a value of an image column.

    Raises:
        ValueError: the value is no image.
    """
    if isinstance(value, Mapping):
        return value
    if isinstance(value, bytes):
        return {"bytes": value}
    if value and not isinstance(value, str):
        raise ValueError(f"expected an image, found {type(value).__name__}")
    return {"path": value or None}


def why_none(path: Any) -> str:
    """Return the reason why a row has no image, given its path."""
    if str(path).startswith(("http://", "https://")):
        return f"no image but a URL, {path!r}; to fetch it, set image: '' and columns: {{url: ...}}"
    return f"no image in the dataset ({path!r})"


def encoded(image: Mapping[str, Any], dataset: str, max_bytes: int) -> bytes | None:
    """Return the encoded image of a row: its bytes, or those of a file of the dataset.

    At most one byte over `max_bytes` is read. A path outside the dataset is not followed, because
    rows are untrusted.
    """
    path = image.get("path") or ""
    if image.get("bytes") is not None or not path:
        return image.get("bytes")
    if is_local(dataset) and "://" not in path:
        path = os.path.join(folder_of(dataset), path)
    archive = path.rsplit("::", 1)[-1] if path.startswith("zip://") else path
    if path.count("::") > 1 or not _is_inside(archive, dataset):
        return None
    try:
        with fsspec.open(path, "rb") as file:
            return file.read(max_bytes + 1)  # type: ignore[union-attr]
    except (FileNotFoundError, IsADirectoryError):
        return None


def _is_inside(path: str, dataset: str) -> bool:
    """Return whether a path names a file of the dataset, local or on the Hub."""
    if path.startswith(f"hf://datasets/{dataset}"):
        rest = path.removeprefix(f"hf://datasets/{dataset}")
        return rest[:1] in ("/", "@") and ".." not in rest.split("/")
    if "::" in path or "://" in path or "\0" in path:
        return False
    root = os.path.realpath(folder_of(dataset))
    return os.path.commonpath([root, os.path.realpath(path)]) == root
