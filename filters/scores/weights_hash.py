"""Hashes of files of weights, so that changed weights are noticed."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fsspec.implementations.local import LocalFileSystem

from filters.scorer import ScorerError
from schemas.store.retries import open_fs

CHUNK_BYTES: Final = 1 << 20
# Of a folder of open_clip: what decides the embeddings.
_NAMES: Final = ("open_clip_config.json", "tokenizer*.json", "*.safetensors", "*.bin", "*.pth")


def file_sha256(url: str) -> str:
    """Return the sha256 of a file's bytes, 64 hex digits.

    Args:
        url: a local path or any fsspec URL.

    Raises:
        ScorerError: there is no such file.
        StoreError: the store cannot be reached.
    """
    digest = hashlib.sha256()
    try:
        fs, path = open_fs(url)
        with fs.open(path, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise ScorerError(f"{url}: no such file") from error
    return digest.hexdigest()


def folder_sha256(url: str, names: Sequence[str] = _NAMES) -> str:
    """Return a sha256 of the configuration, tokenizer and weights in a folder.

    It is of the files' names and own hashes.

    Args:
        url: path of a local folder.
        names: patterns of the files that decide; those of open_clip if not given.

    Raises:
        ScorerError: there is no such folder.
        StoreError: the store cannot be reached.
    """
    fs, path = open_fs(url)
    if not isinstance(fs, LocalFileSystem) or not Path(path).is_dir():
        raise ScorerError(f"{url}: expected a local folder")
    digest = hashlib.sha256()
    for file in sorted(Path(path).iterdir()):
        if any(file.match(pattern) for pattern in names):
            digest.update(f"{file.name} {file_sha256(str(file))}\n".encode())
    return digest.hexdigest()


def checked(what: str, found: str, expected: str) -> str:
    """Return a hash, after a check that it is the one expected, if any is.

    Raises:
        ScorerError: it is another one.
    """
    if expected and found != expected:
        raise ScorerError(f"{what}: sha256 is {found}, expected {expected}")
    return found
