"""Checks of the names in a folder: files that are missing, stray, left behind or not regular."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from pipelines.out_folder import RECIPE
from pipelines.report.build_log import LOG, REPORT
from pipelines.runtime.crash_isolation import FOLDER as ATTEMPTS
from pipelines.runtime.sidecar import Origin, dead_letters_path, sidecar_path
from pipelines.runtime.stage import SidecarStage
from pipelines.shards.manifest import MANIFEST
from pipelines.shards.write_shard import FOLDER, listing_path, output_name
from pipelines.sources.plan import PLAN
from pipelines.verify.faults import Fault, guarded
from pipelines.verify.look import checked_origin
from schemas.keys import shard_name
from schemas.store.regular_store import RegularStorage
from schemas.store.whole_file import TEMPORARY_PREFIX
from schemas.subsets import Subset

ALWAYS = (RECIPE, LOG, MANIFEST, PLAN, REPORT)
# Folder -> pattern of the files that its stage publishes with a side-car.
_PUBLISHED = {
    "raw": r"raw/{}-[0-9a-f]{{12}}\.tar",
    "tokens": r"tokens/{}\.[\w.-]+\.npy",
    "preferences": rf"{FOLDER}/[a-z_]+-0*{{}}\.(tar|parquet)",
}
STRAY = "the command that made this folder did not write it"
LEFT = "left by a command that was killed; the same command removes it"


@dataclass(kw_only=True)
class Files:
    """The files that lie in a folder, and those that should."""

    found: dict[str, str]  # path -> '' for a regular file, or its kind, such as 'a link'
    bytes: int  # of all files
    required: set[str] = field(default_factory=set)
    allowed: set[str] = field(default_factory=set)

    def may_be_empty(self, folders: Collection[str]) -> None:
        """Ignore empty folders of these names: a command may leave them."""
        ignored = {*folders, "dead_letters", ATTEMPTS}
        self.found = {
            path: kind
            for path, kind in self.found.items()
            if kind != "a folder" or path not in ignored
        }

    def missing(self) -> set[str]:
        """Return the required paths where no regular file lies."""
        return {path for path in self.required if self.found.get(path, "nothing")}

    def faults(self) -> Iterator[Fault]:
        """Yield a fault for each stray or missing file, and for each FIFO, link or the like."""
        expected = self.required | self.allowed
        for path, kind in self.found.items():
            if kind:
                yield Fault(path, f"is {kind}, expected a regular file")
            elif path not in expected:
                yield Fault(path, _stray(path))
        for path in sorted(self.required - self.found.keys()):
            inside = any(other.startswith(f"{path}/") for other in self.found)
            yield Fault(path, "is a folder, expected a regular file" if inside else "missing")


def find_files(store: RegularStorage) -> Files:
    """List the files in a folder and below.

    Raises:
        OSError, CorpusError: the folder cannot be listed.
    """
    found: dict[str, str] = {}
    size = 0
    for path, kind, length in store.everything():
        found[path] = kind
        size += length
    return Files(found=found, bytes=size)


def read_footers(
    store: RegularStorage, stage: SidecarStage | type[SidecarStage], shards: int, files: Files
) -> tuple[list[Origin | None], list[Fault]]:
    """Read the footers of a stage's side-cars, and add the files they name to `files`."""
    folder = stage.folder
    origins: list[Origin | None] = []
    faults: list[Fault] = []
    for shard in range(shards):
        path = sidecar_path(folder, shard)
        files.required.add(path)
        origin, footer_faults = _footer(store, path, files)
        origins.append(origin)
        faults += footer_faults
        for file in origin.files if origin else ():
            if _may_name(folder, shard, file):
                files.required.add(file)
            else:
                faults.append(Fault(path, f"its footer names {file!r}, not a file of its stage"))
        if not stage.judges:
            _expect_letters(files, dead_letters_path(stage.name, shard), origin)
    return origins, faults


def expect_outputs(
    store: RegularStorage, subset: Subset, outputs: int, files: Files
) -> list[Fault]:
    """Read the footers of a subset's output shards, and add their files to `files`.

    A shard without any file may be one that has no sample: `CheckShard` decides.
    """
    faults: list[Fault] = []
    files.required.add(listing_path(subset.name))
    for number in range(outputs):
        name = f"{FOLDER}/{output_name(subset.name, number)}"
        both = {f"{name}.tar", f"{name}.parquet"}
        if both & files.found.keys():
            files.required |= both
        origin, footer_faults = _footer(store, f"{name}.parquet", files)
        faults += footer_faults
        _expect_letters(files, dead_letters_path(subset.shard_stage, number), origin)
    return faults


def _footer(store: RegularStorage, path: str, files: Files) -> tuple[Origin | None, list[Fault]]:
    found: list[Origin | None] = []

    def read() -> Iterator[Fault]:
        found.append(checked_origin(store, path))
        yield from ()

    if files.found.get(path, "nothing"):
        return None, []
    faults = guarded(path, read)
    return (found[0] if found else None), faults


def _expect_letters(files: Files, path: str, origin: Origin | None) -> None:
    counts = origin.counts if origin else None
    if counts is None:
        files.allowed.add(path)
    elif any(counts.dropped.values()) or any(counts.failed.values()):
        files.required.add(path)


def _may_name(folder: str, shard: int, file: str) -> bool:
    """Return whether a stage may publish a file with one of its side-cars."""
    pattern = _PUBLISHED.get(folder, "").format(re.escape(shard_name(shard)))
    return re.fullmatch(pattern, file) is not None


def _stray(path: str) -> str:
    name = path.rsplit("/", 1)[-1]
    if TEMPORARY_PREFIX in path or path.startswith((f"{ATTEMPTS}/", "exchange/")):
        return LEFT
    if name.startswith("."):
        return f"stray and hidden: {STRAY}"
    return f"stray: {STRAY}"
