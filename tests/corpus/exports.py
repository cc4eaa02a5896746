"""What the exports are compared with: the samples of a corpus, read with `tarfile`."""

import tarfile
from pathlib import Path

Members = dict[str, bytes]


def samples_of(corpus: Path, subset: str) -> dict[str, Members]:
    """Return the members of each sample of a subset, by key."""
    found: dict[str, Members] = {}
    for path in sorted(corpus.glob(f"shards/{subset}-[0-9]*.tar")):
        with tarfile.open(path) as tar:
            for entry in tar:
                key, _, member = entry.name.partition(".")
                found.setdefault(key, {})[member] = tar.extractfile(entry).read()
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files below a folder, but for the lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
