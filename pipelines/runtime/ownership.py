"""Find the files that a stage wrote, by name and content: only those may be removed.

Which numbers are this corpus' own, its claims say (`pipelines.runtime.claims`). A file under one of
them may be removed only if something of ours names it too: a side-car's footer, the index of an
output shard, the mark of an attempt. Whatever else lies in the folder is the user's, and stays.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b

from pipelines.runtime.sidecar import (
    EarlierReleaseError,
    Origin,
    dead_letters_path,
    read_origin,
    read_table,
    sidecar_path,
)
from schemas.keys import shard_name
from schemas.store.storage import CorpusError, Storage
from schemas.subsets import SUBSETS
from schemas.tables import DEAD_LETTERS

WRITERS_OF_SHARDS = ("preferences", *(subset.shard_stage for subset in SUBSETS.values()))
SHARDS = "shards"
CHUNK_BYTES = 1 << 24

_SIDECAR = re.compile(r"(\d{5,})\.parquet")
_RAW_TAR = re.compile(r"(\d{5,})-([0-9a-f]{12})\.tar")
_OUTPUT = re.compile(r"([a-z0-9_]+-\d{6,})\.(tar|parquet)")
_EXCHANGED = re.compile(r"(.+)\.([0-9a-f]{12})\.arrow", re.DOTALL)
_ATTEMPT = re.compile(r"\d{5,}")


def own_sidecar(store: Storage, folder: str, name: str) -> Origin | None:
    """Read a side-car's footer; None for a file that no stage of this folder wrote."""
    if shard_of(name) is None:
        return None
    origin = own_footer(store, f"{folder}/{name}")
    return origin if origin is not None and origin.folder == folder else None


def shard_of(name: str) -> int | None:
    """Return the number of a side-car by its name; None for any other file.

    >>> shard_of("00003.parquet"), shard_of("3.parquet"), shard_of("00003.parquet.bak")
    (3, None, None)
    """
    found = _SIDECAR.fullmatch(name)
    return int(found[1]) if found else None


def files_named(origin: Origin, folder: str, shard: int) -> Iterator[str]:
    """Yield the files of a shard that its side-car names, and that its stage can have written."""
    number = shard_name(shard)
    ours = re.compile(
        rf"{re.escape(folder)}/{number}[.-][\w.-]+|{SHARDS}/[a-z0-9_]+-0*{shard}\.(tar|parquet)"
    )
    for file in origin.files:
        if ours.fullmatch(file) and file != sidecar_path(folder, shard):
            yield file


def surplus(store: Storage, folders: Mapping[str, Collection[int]]) -> list[str]:
    """List side-cars that have one of a folder's numbers, each after the files that it names."""
    found: list[str] = []
    for folder, numbers in folders.items():
        for name in sorted(store.listing(folder)) if numbers else ():
            number = shard_of(name)
            if number is not None and number in numbers:
                origin = own_sidecar(store, folder, name)
                if origin is not None:
                    found += [*files_named(origin, folder, number), f"{folder}/{name}"]
    return found


def surplus_letters(store: Storage, stage: str, numbers: Collection[int]) -> list[str]:
    """List the dead letters of a stage that have one of these numbers."""
    return [
        f"dead_letters/{stage}/{name}"
        for name in sorted(store.listing(f"dead_letters/{stage}"))
        if (number := shard_of(name)) is not None
        and number in numbers
        and is_own_letters(store, stage, number)
    ]


def is_own_letters(store: Storage, stage: str, shard: int) -> bool:
    """Whether a stage wrote the dead letters of a shard; false if there are none."""
    path = dead_letters_path(stage, shard)
    if not store.exists(path):
        return False
    try:
        table = read_table(store, path)
    except CorpusError:
        return False
    same = table.schema.equals(DEAD_LETTERS, check_metadata=False)
    return same and set(table["stage"].to_pylist()) == {stage}


def tar_mark(stage: str, file: str) -> str:
    """Return the mark of a file that an attempt is about to publish under a name of its contents.

    >>> tar_mark("crawl", "raw/00003-0123456789ab.tar")
    '.attempts/crawl/00003-0123456789ab.tar'
    """
    return f".attempts/{stage}/{file.rsplit('/', 1)[-1]}"


def stray_tars(store: Storage, origins: Sequence[Origin]) -> list[str]:
    """List tars of `raw/` left by attempts that died or came second, each before its mark.

    Their bytes have the hash in their name, and no side-car names them.
    """
    named = {file for origin in origins for file in origin.files}
    there = store.listing("raw")
    found: list[str] = []
    for name in sorted(store.listing(".attempts/crawl")):
        match = _RAW_TAR.fullmatch(name)
        if match is None:
            continue
        path = f"raw/{name}"
        if name in there and path not in named and _sha256(store, path).startswith(match[2]):
            found.append(path)
        found.append(tar_mark("crawl", path))
    return found


def old_outputs(
    store: Storage, listed: Collection[str], numbers: Mapping[str, Collection[int]]
) -> list[str]:
    """List output shards whose name without suffix is not `listed`: each tar before its index.

    An index of ours names the tar beside it, with its size.

    Args:
        store: the corpus.
        listed: what stays.
        numbers: by subset, those that this corpus wrote.
    """
    there = store.listing(SHARDS)
    found: list[str] = []
    for name in sorted(there):
        match = _OUTPUT.fullmatch(name)
        if match is None or match[2] != "parquet" or match[1] in listed:
            continue
        subset, _, number = match[1].rpartition("-")
        if int(number) not in numbers.get(subset, ()):
            continue
        origin = own_footer(store, f"{SHARDS}/{name}")
        if origin is None or origin.stage not in WRITERS_OF_SHARDS or not origin.tar:
            continue
        tar = f"{match[1]}.tar"
        if tar not in there:
            found.append(f"{SHARDS}/{name}")
        elif _size(store, f"{SHARDS}/{tar}") == origin.tar["bytes"]:
            found += [f"{SHARDS}/{tar}", f"{SHARDS}/{name}"]
    return found


def exchange_name(what: str) -> str:
    """Name a file of `exchange/`, by what it holds and a hash of that.

    >>> exchange_name("dedup-read-00000-by_url")
    'dedup-read-00000-by_url.3784f1dda8be.arrow'
    """
    return f"{what}.{blake2b(what.encode(), digest_size=6).hexdigest()}.arrow"


def exchanged(names: Iterable[str]) -> list[str]:
    """Choose the files of `exchange/` that a job wrote."""
    ours = ((name, _EXCHANGED.fullmatch(name)) for name in names)
    return sorted(name for name, match in ours if match and exchange_name(match[1]) == name)


def marks(names: Iterable[str]) -> set[str]:
    """Choose the marks of attempts among the files of a stage's folder."""
    return {name for name in names if _ATTEMPT.fullmatch(name)}


def own_footer(store: Storage, path: str) -> Origin | None:
    """Read the footer of a file; None if there is none, or it is not ours."""
    try:
        return read_origin(store, path)
    except EarlierReleaseError:
        raise
    except CorpusError:  # not ours, or too damaged to tell
        return None


def _size(store: Storage, path: str) -> int:
    fs, full = store.locate(path)
    return int(fs.info(full)["size"])


def _sha256(store: Storage, path: str) -> str:
    digest = hashlib.sha256()
    with store.open(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
