"""Files of texts, one a line: hosts, licences, prompts, names."""

import hashlib

from schemas.store.errors import CorpusError
from schemas.store.retries import open_fs

MAX_BYTES = 1 << 28


def read_texts(path: str, sha256: str = "") -> list[str]:
    """Read the texts of a file, each once, in order; blank lines and lines with # are left out.

    Args:
        path: any fsspec URL, UTF-8.
        sha256: of the file, checked if given.

    Raises:
        CorpusError: the file is missing, too large, no UTF-8, empty, or not the one of the hash.
    """
    body = read_bytes(path)
    found = hashlib.sha256(body).hexdigest()
    if sha256 and found != sha256:
        raise CorpusError(f"{path}: sha256 is {found}, the recipe says {sha256}")
    try:
        lines = [line.strip() for line in body.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: expected a text file in UTF-8: {error}") from error
    texts = [line for line in dict.fromkeys(lines) if line and not line.startswith("#")]
    if not texts:
        raise CorpusError(f"{path}: expected one text a line, found none")
    return texts


def file_sha256(path: str, sha256: str = "") -> str:
    """Return the sha256 of a file of texts, after it was read as one; `sha256` as `read_texts`.

    Raises:
        CorpusError: as `read_texts`.
    """
    read_texts(path, sha256)
    return hashlib.sha256(read_bytes(path)).hexdigest()


def read_bytes(path: str) -> bytes:
    """Read a file of at most MAX_BYTES.

    Raises:
        CorpusError: the file is missing, too large, or none that can be read twice, as a pipe.
    """
    try:
        fs, place = open_fs(path)
        info = fs.info(place)
        if info["type"] == "other":
            raise CorpusError(f"{path}: a pipe or a device, expected a file")
        size = info.get("size")
        if size is not None and size > MAX_BYTES:
            raise CorpusError(f"{path}: {size:,} bytes, expected at most {MAX_BYTES:,}")
        return fs.cat_file(place)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise CorpusError(f"{path}: no such file") from error
