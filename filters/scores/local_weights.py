"""Local copies of weights for loaders that only read local files."""

import hashlib
import os
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock
from fsspec.implementations.local import LocalFileSystem

from filters.scorer import ScorerError
from filters.scores.weights_hash import checked, file_sha256
from schemas.store.retries import open_fs


def local_weights(url: str, sha256: str = "") -> Path:
    """Return the path of a local file, or of a copy that the processes of this machine share.

    The copy is in the user's own folder below the system's folder of temporary files, under the
    version of the remote file, so a changed file is copied again. Copies are never removed.

    Args:
        url: a local path or any fsspec URL.
        sha256: expected of the file's bytes; not checked if empty.

    Raises:
        ScorerError: there is no such file, or it has another sha256.
        StoreError: the store cannot be reached.
    """
    fs, path = open_fs(url)
    try:
        local = Path(path) if isinstance(fs, LocalFileSystem) else _copied(fs, path)
    except FileNotFoundError as error:
        raise ScorerError(f"{url}: no such file") from error
    if not local.is_file():
        raise ScorerError(f"{url}: no such file")
    if sha256:
        checked(url, file_sha256(str(local)), sha256)
    return local


def _copied(fs: Any, path: str) -> Path:
    version = hashlib.sha256(f"{fs.unstrip_protocol(path)} {fs.ukey(path)}".encode()).hexdigest()
    copy = _own_folder() / f"{version[:32]}-{PurePosixPath(path).name}"
    with FileLock(f"{copy}.lock"):
        if not copy.exists():
            partial = copy.with_name(f"{copy.name}.partial")
            fs.get_file(path, str(partial))
            os.replace(partial, copy)
    return copy


def _own_folder() -> Path:
    """Return the folder of copies; one that another user made could hold other weights."""
    folder = Path(tempfile.gettempdir()) / f"vargpt-corpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise ScorerError(f"{folder} belongs to another user; remove it")
    return folder
