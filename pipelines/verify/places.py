"""Checks of `raw/` against the listed rows: where each image lies, and its HTTP answer."""

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.runtime.sidecar import dead_letters_path
from pipelines.sources.edits.make import NO_INVERSE, NOT_FITTING
from pipelines.sources.known_images import KnownImages, reason_of
from pipelines.sources.listing import MALFORMED
from pipelines.sources.plan import read_plan
from pipelines.sources.raw_shard import NOT_FETCHED
from pipelines.sources.readers import make_reader
from pipelines.sources.roles import SEVERAL_INPUTS
from pipelines.verify.faults import Fault
from pipelines.verify.look import ShardLook
from schemas.store.retries import open_fs

# Reasons that readers which fetch nothing reject a listed row for, by the kind of source.
_SIZES = frozenset({"empty_file", "too_large"})
_OF_IMAGES = {
    *("not_an_image", "unsupported_image", "too_many_pixels", "truncated_image", "corrupt_image"),
    *("out_of_memory", "decode_timeout"),
}
_OF_FILES = {"missing_file", "unreadable_file", "link_not_followed", "bad_path"}
_OF_DATASETS = {MALFORMED, "missing_file"}
REASONS = {
    "folder": _SIZES | _OF_FILES,
    "webdataset": _SIZES,
    "huggingface": _SIZES | _OF_DATASETS,
    "edits": _SIZES | _OF_FILES | _OF_DATASETS | _OF_IMAGES,
}
# Those that they drop a row for, by a rule.
DROPPED = {
    "huggingface": frozenset({SEVERAL_INPUTS}),
    "edits": frozenset({NOT_FITTING, NO_INVERSE}),
}

Row = Mapping[str, Any]


def places_sound(look: ShardLook) -> Iterator[Fault]:
    """Check that every image lies where its row was listed; only fetched rows have an answer."""
    source, listed = look.corpus.source(look.shard), look.rows("sources")
    fetched = _is_fetched(look)
    unit = read_plan(look.corpus.store)[look.shard]
    folder = _Folder(source.path) if source.kind == "folder" else None
    for row in look.tables["raw"].to_pylist():
        if (listed_row := listed.get(row["key"])) is None:  # `conserved` reports it
            continue
        messages = [*_answer_faults(row, fetched)]
        if folder:
            messages += folder.faults(row, listed_row["place"])
        elif source.kind == "webdataset":
            place = listed_row["place"]
            at = row["offset"] if "://" in row["file"] else place.partition("+")[0]
            if f"{at}+{row['length']}" != place:
                messages.append(f"lies at {at}+{row['length']}, it was listed at {place}")
            if "://" in row["file"] and row["file"] != unit.path:
                messages.append(f"lies in {row['file']!r}, its unit is {unit.path}")
        elif "://" in row["file"]:
            messages.append(f"lies in {row['file']!r}, expected a file in the corpus")
        yield from (look.fault("raw", f"{row['key']}: {what}") for what in messages)
    if not fetched:
        yield from _letters_sound(look)


class _Folder:
    """The folder that images of a source lie in; a corpus built elsewhere may have another root."""

    def __init__(self, path: str) -> None:
        self._fs, self._root = open_fs(path)
        # A relative path starts at the working directory of the build: all images share that start.
        self._is_relative = "://" not in path and not path.startswith(("/", "~"))
        parts = (p for p in posixpath.normpath(path).split("/") if p not in (".", ".."))
        self._end = "".join(f"/{part}" for part in parts)

    def faults(self, row: Row, place: str) -> Iterator[str]:
        """Yield how a row of `raw/` differs from the path that it was listed with."""
        expected = self._url(place)
        if self._is_relative and row["file"] != expected:
            root = row["file"].removesuffix(expected.removeprefix(self._url("").rstrip("/")))
            if root != row["file"] and root.endswith(self._end):
                self._fs, self._root = open_fs(root)
                self._is_relative = False
                expected = self._url(place)
        if row["file"] != expected:
            yield f"lies in {row['file']!r}, it was listed in {expected!r}"
        if row["offset"]:
            yield f"lies at byte {row['offset']:,} of its file, expected 0"

    def _url(self, place: str) -> str:
        return self._fs.unstrip_protocol(posixpath.join(self._root, place))


def _is_fetched(look: ShardLook) -> bool:
    """Return whether the images of a shard's source come over HTTP."""
    source = look.corpus.source(look.shard)
    return source.kind == "list" or (source.kind == "huggingface" and not source.image)


def _answer_faults(row: Row, fetched: bool) -> Iterator[str]:
    answer = {name: row[name] for name in NOT_FETCHED}
    if not fetched and answer != NOT_FETCHED:
        yield f"has an answer, {answer}, and was not fetched"
    elif fetched and not (100 <= row["status"] < 600 and "://" in row["final_url"]):
        yield f"was fetched, and its answer is {answer}"


def _letters_sound(look: ShardLook) -> Iterator[Fault]:
    """Check the reasons of failed rows that were not fetched; `--deep` reads their images again."""
    source, letters = look.corpus.source(look.shard), look.letters.get("raw")
    if letters is None or not letters.num_rows:
        return
    path = dead_letters_path("crawl", look.shard)
    lists = look.corpus.recipe.crawl.known_hashes
    known = {reason_of(each) for each in lists} | DROPPED.get(source.kind, frozenset())
    rows = [row for row in letters.to_pylist() if row["reason"] not in known]
    dropped = {row["id"]: row["reason"] for row in letters.to_pylist() if row["reason"] in known}
    for row in rows:
        if row["outcome"] != "failed" or row["reason"] not in REASONS[source.kind]:
            yield Fault(path, f"{row['id']}: {row['reason']} is not a reason of a {source.kind}")
    if look.corpus.deep:
        failed = {row["id"] for row in rows}
        table = look.tables["sources"]
        readable = _ReadableImages(KnownImages(lists=lists, decode=look.corpus.recipe.decode))
        tried = failed | dropped.keys()
        chosen = table.filter([key in tried for key in look.column("sources", "key")])
        unit = read_plan(look.corpus.store)[look.shard]
        recipe = look.corpus.recipe
        reader = make_reader(source, recipe.crawl, recipe.decode)
        reader.acquire(unit, chosen, readable)
        for key in failed.intersection(readable.found):
            yield Fault(path, f"{key}: failed, and its image can be read")
        for key, reason in dropped.items():
            if (found := readable.rejected.get(key)) != reason:
                yield Fault(path, f"{key}: dropped as {reason}, found again {found}")


class _ReadableImages:
    """A stand-in for `RawShard` that keeps the keys of the images that can be read."""

    def __init__(self, known: KnownImages) -> None:
        self.known = known
        self.found: list[str] = []
        self.rejected: dict[str, str] = {}  # key -> reason

    def store(self, id_: str, body: bytes, **about: str | int) -> None:
        if verdict := self.known.find(id_, body):
            self.reject(id_, *verdict, dropped=True)
        else:
            self.found.append(id_)

    def refer(self, id_: str, file: str, offset: int, length: int, sha256: str) -> None:
        self.found.append(id_)

    def reject(self, id_: str, reason: str, detail: str, *, dropped: bool = False) -> None:
        """Keep the reason."""
        self.rejected[id_] = reason
