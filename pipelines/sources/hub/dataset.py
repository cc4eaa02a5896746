"""Datasets opened with `datasets`, as Arrow tables; its errors become one line."""

import csv
import logging
import os.path
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from pipelines.sources.files import find_files
from pipelines.sources.hub.damage import name_damaged, require_split
from pipelines.sources.hub.local import (
    class_of,
    escaped,
    files_of_odd_folder,
    named_files,
    oddly_named,
    require_ours,
)
from pipelines.sources.hub.metadata import read_as_written
from schemas.source_config import HuggingFaceSource
from schemas.store.storage import CorpusError

HUB_TIMEOUT_S = 10.0
SHOWN_CHARS = 400  # of an error of `datasets`
_MAGIC = re.compile(r"[*?\[{]")


@contextmanager
def one_line(path: str, what: str = "cannot be opened") -> Iterator[None]:
    """Turn errors of `datasets`, which have no common class, into a CorpusError of one line."""
    try:
        yield
    except CorpusError:
        raise
    except Exception as error:
        if is_local(path):
            name_damaged(path, str(error))
        message = " ".join(str(error).split())[:SHOWN_CHARS] or type(error).__name__
        raise CorpusError(f"{path}: {what}: {message.removeprefix(f'{path}: ')}") from error


def _quiet() -> Any:
    """Import `datasets` with its log turned off."""
    import datasets

    datasets.logging.set_verbosity(logging.CRITICAL)
    return datasets


def is_local(path: str) -> bool:
    """Return whether a dataset is local, and not on the Hub."""
    return os.path.isabs(path)


def folder_of(path: str) -> str:
    """Return the folder of a local dataset."""
    if os.path.isdir(path):
        return path
    while path and not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def saved_folder(source: HuggingFaceSource) -> str:
    """Return the folder of the split that `save_to_disk` wrote, '' if there is none."""
    folders = (source.path, os.path.join(source.path, source.split))
    found = next((f for f in folders if os.path.exists(os.path.join(f, "state.json"))), "")
    if is_local(source.path):
        require_split(source, found)
    return found


def require_reachable(source: HuggingFaceSource) -> None:
    """Check once that the dataset exists, because `datasets` would retry for half a minute.

    Raises:
        CorpusError: the dataset is neither local nor on the Hub, or the Hub cannot be reached.
    """
    path = source.path
    if os.path.exists(path) and not os.path.isabs(path):
        raise CorpusError(
            f"{path}: cannot be opened: it lies in the working directory, not beside the recipe; "
            "give its whole path"
        )
    if is_local(path):
        if not os.path.isdir(path):
            if not os.path.exists(path) and not _MAGIC.search(path):
                raise CorpusError(f"{path}: cannot be opened: no such file or folder")
            find_files(path)
        return
    import datasets.config
    import huggingface_hub

    if datasets.config.HF_HUB_OFFLINE:
        return  # the cache is used, without a request
    try:
        huggingface_hub.HfApi().dataset_info(path, timeout=HUB_TIMEOUT_S)
    except huggingface_hub.errors.RepositoryNotFoundError as error:
        raise CorpusError(
            f"{path}: cannot be opened: no folder beside the recipe, and no dataset on the Hub "
            "that may be seen (a private or gated one needs `hf auth login`)"
        ) from error
    except Exception as error:  # the client raises classes of three libraries
        message = " ".join(str(error).split())[:SHOWN_CHARS]
        raise CorpusError(
            f"{path}: cannot be opened: no folder beside the recipe, and the Hub did not answer "
            f"({type(error).__name__}: {message}); give the path of a folder, or try again"
        ) from error


def builder_of(source: HuggingFaceSource, **options: Any) -> Any:
    """Return the builder of a dataset that was not written by `save_to_disk`."""
    datasets = _quiet()
    path = source.path
    with one_line(path):
        if not is_local(path):
            builder = datasets.load_dataset_builder(path, source.config, **options)
            if not options and (options := _as_written(builder, source)):
                return datasets.load_dataset_builder(path, source.config, **options)
            return _of_images(builder)
        if os.path.isdir(path) and not oddly_named(path):
            builder = datasets.load_dataset_builder(path, source.config, **options)
            require_ours(builder, path)
            return _of_images(builder)
        is_folder = os.path.isdir(path)
        name, files = files_of_odd_folder(path, source.split) if is_folder else named_files(path)
        return datasets.load_dataset_builder(
            name, data_files={source.split: escaped(files)}, **options
        )


def _of_images(builder: Any) -> Any:
    if class_of(builder) == "ImageFolder":
        read_as_written(builder)
    return builder


def data_files(source: HuggingFaceSource) -> list[str]:
    """Return the files of the split."""
    files = builder_of(source).config.data_files or {}
    return [
        str(name) for each, names in files.items() if str(each) == source.split for name in names
    ]


def _as_written(builder: Any, source: HuggingFaceSource) -> dict[str, Any]:
    """Return options that keep CSV on the Hub as text, so that `007` and `NA` are unchanged."""
    if class_of(builder) != "Csv":
        return {}
    config = builder.config
    options: dict[str, Any] = {"keep_default_na": False, "na_filter": False}
    if config.sep == "\t" and config.quoting == csv.QUOTE_MINIMAL:
        options["quoting"] = csv.QUOTE_NONE
    if config.features is None and config.converters is None:
        names = [*source.columns.mapped().values(), *([source.image] if source.image else [])]
        options["converters"] = dict.fromkeys(names, str)
    return options


def stream(source: HuggingFaceSource, builder: Any = None) -> Any:
    """Open the split for streaming."""
    datasets = _quiet()
    with one_line(source.path):
        if saved := saved_folder(source):
            loaded: Any = datasets.load_from_disk(saved)
            return loaded.to_iterable_dataset()
        builder = builder or builder_of(source)
        return builder.as_streaming_dataset(split=source.split)


def schema_of(dataset: Any, path: str) -> pa.Schema:
    """Return the schema of a dataset, or of its first rows if it has none."""
    if dataset.features is not None:
        return dataset.features.arrow_schema
    first = next(tables(dataset, path, 1), None)
    return pa.schema([]) if first is None else first.schema


def features_of(table: pa.Table) -> Any:
    """Return the features of a table's schema."""
    datasets = _quiet()
    return datasets.Features.from_arrow_schema(table.schema)


def tables(dataset: Any, path: str, batch_rows: int) -> Iterator[pa.Table]:
    """Yield the rows of a dataset as Arrow tables, without decoding images."""
    with one_line(path, "cannot be read"):
        found = iter(dataset.with_format("arrow").iter(batch_rows))
    while True:
        with one_line(path, "cannot be read"):
            table = next(found, None)
        if table is None:
            return
        yield table
