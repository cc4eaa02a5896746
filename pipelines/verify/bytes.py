"""Checks of the bytes that side-cars refer to: fetched images and arrays. Each is read once."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.runtime.images import WRITTEN, batches, changed, read_each, stored_images
from pipelines.shards.tar_reader import StrictTar
from pipelines.sources.raw_shard import HASH_DIGITS, member_name
from pipelines.tokens.token_arrays import array_header
from pipelines.verify.faults import Fault, guarded
from pipelines.verify.look import ShardLook
from schemas.keys import shard_name
from schemas.store.errors import CorpusError, StoreError

BATCH_ROWS = 256
# Protocols that images read in place may have, beside the protocol of their source.
IN_PLACE = ("", "file", "hf")

Row = Mapping[str, Any]


def fetched_bytes_sound(look: ShardLook) -> Iterator[Fault]:
    """Check the sha256 of every image, and that a raw tar holds only images of the rows."""
    rows = [image for row in look.tables["raw"].to_pylist() for image in stored_images(row)]
    inside = [row for row in rows if "://" not in row["file"]]
    files = sorted({row["file"] for row in inside})
    named = list(look.origins["raw"].files) if "raw" in look.origins else files
    if files != named:
        yield look.fault("raw", f"its footer names {named}, its rows lie in {files}")
    start = f"raw/{shard_name(look.shard)}-"
    for file in files:
        if not (file.startswith(start) and len(file) == len(start) + HASH_DIGITS + len(".tar")):
            yield look.fault("raw", f"rows lie in {file!r}, which is not a tar of this shard")
        elif file not in look.corpus.broken:
            yield from guarded(
                file, _tar_sound, look, file, [r for r in inside if r["file"] == file]
            )
    yield from _elsewhere_sound(look, [row for row in rows if "://" in row["file"]])


def _tar_sound(look: ShardLook, file: str, rows: Sequence[Row]) -> Iterator[Fault]:
    waiting = iter(rows)
    with look.corpus.store.open(file) as opened:
        tar = StrictTar(opened, look.corpus.recipe.crawl.max_bytes)
        for member in tar.members():
            row = next(waiting, None)
            if row is None:
                yield Fault(file, f"{member.name!r}: no row of {look.path('raw')} refers to it")
                continue
            if hashlib.sha256(member.data).hexdigest() != row["sha256"]:
                yield Fault(file, changed(row).removeprefix(f"{file}: "))
                continue
            name = member_name(row["key"], member.data)
            found = (member.name, member.offset, len(member.data))
            if found != (name, row["offset"], row["length"]):
                yield Fault(file, f"holds {found}, expected {(name, row['offset'], row['length'])}")
    if missing := list(waiting):
        yield Fault(file, f"{len(missing)} images are missing, first {missing[0]['key']}")
    if tar.sha256[:HASH_DIGITS] not in file:
        yield Fault(file, "its sha256 does not begin with the digits in its name")


def _elsewhere_sound(look: ShardLook, rows: Sequence[Row]) -> Iterator[Fault]:
    source = look.corpus.source(look.shard)
    allowed = {*IN_PLACE, _protocol(source.path)} if source.kind != "list" else set()
    for batch in batches([dict(row) for row in rows], BATCH_ROWS):
        in_place = [row for row in batch if _protocol(row["file"]) in allowed]
        for row in batch:
            if row not in in_place:
                what = f"{row['key']} lies in {row['file']!r}, its source is a {source.kind}"
                yield look.fault("raw", what)
        for row, body in zip(
            in_place, read_each(in_place, look.corpus.store) if in_place else (), strict=True
        ):
            if isinstance(body, StoreError):
                raise body
            if isinstance(body, CorpusError):
                yield Fault(row["file"], _without_file(str(body), row["file"]))


def arrays_sound(look: ShardLook) -> Iterator[Fault]:
    """Check the sha256 of every array, and that array files hold nothing else."""
    rows = look.tables["tokens"].to_pylist()
    by_member: dict[str, list[Row]] = {}
    for row in rows:
        if not row["member"]:  # of a sample whose image is only talked about
            continue
        by_member.setdefault(row["member"], []).append(row)
    files = sorted(f"tokens/{shard_name(look.shard)}.{member}" for member in by_member)
    if "tokens" in look.origins and list(look.origins["tokens"].files) != files:
        named = list(look.origins["tokens"].files)
        yield look.fault("tokens", f"its footer names {named}, its rows lie in {files}")
    for member, rows_of_member in by_member.items():
        file = f"tokens/{shard_name(look.shard)}.{member}"
        if {row["file"] for row in rows_of_member} != {file}:
            yield look.fault("tokens", f"rows of {member} do not lie in {file}")
        elif file not in look.corpus.broken:
            yield from guarded(file, _array_file_sound, look, file, rows_of_member)


def _array_file_sound(look: ShardLook, file: str, rows: Sequence[Row]) -> Iterator[Fault]:
    header = array_header(rows[0]["dtype"], [row["shape"] for row in rows])
    at = len(header)
    with look.corpus.store.open(file) as opened:
        if opened.read(at) != header:
            yield Fault(file, "its header does not fit its arrays")
        for row in rows:
            if row["offset"] != at or row["length"] < 0:
                yield Fault(file, f"{row['key']} does not follow the array before it")
                return
            body = opened.read(row["length"])
            at += row["length"]
            if hashlib.sha256(body).hexdigest() != row["sha256"]:
                yield Fault(file, WRITTEN.format_map(row).removeprefix(f"{file}: "))
        if opened.read(1):
            yield Fault(file, "bytes after its last array")


def _without_file(message: str, file: str) -> str:
    """Remove the name of the file from the start of a message."""
    return message.removeprefix(f"{file}: ").removeprefix(f"{file.removeprefix('file://')}: ")


def _protocol(path: str) -> str:
    return path.partition("://")[0] if "://" in path else ""
