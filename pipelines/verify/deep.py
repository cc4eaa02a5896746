"""Checks of `--deep`: decode, measure and encode the images again."""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageStat

from filters.decode import DecodeError
from pipelines.runtime.crash_isolation import call_isolated
from pipelines.runtime.face_boxes import read_boxes
from pipelines.runtime.images import batches, read_checked, read_each, stored_images
from pipelines.runtime.retry_failed import is_temporary
from pipelines.runtime.sidecar import Reject, dead_letters_path, rows_with
from pipelines.shards.tar_reader import StrictTar
from pipelines.shards.write_shard import WriteShard
from pipelines.sources.known_images import KnownImages
from pipelines.sources.plan import read_plan
from pipelines.sources.raw_shard import NOT_MADE
from pipelines.sources.readers import make_reader
from pipelines.stages.vq_tokens import generated_images
from pipelines.verify.faults import Fault, guarded
from pipelines.verify.look import Look, ShardLook
from pipelines.verify.stages import same_outcome
from pipelines.verify.tar import MAX_MEMBER_BYTES
from schemas.subsets import Subset

READ_ROWS = 64
# Share of codes that may differ between two kinds of device: sums round differently on each.
MAX_DIFFERING_CODES = 0.01
# Levels (0 to 255), on average, that two releases of a JPEG encoder may differ by.
MAX_ENCODER_DISTANCE = 2.0


def measured_again(look: ShardLook) -> Iterator[Fault]:
    """Run `measure` again on a shard, and compare the results.

    Rows that failed temporarily are not run: an image that killed a worker may kill another.
    """
    stage: Any = look.corpus.stages["signals"]
    not_run = _temporary_failures(look, "signals")
    raw = look.tables["raw"].to_pylist()
    rows = [row for row in raw if row["key"] not in not_run]
    what = f"measure of shard {look.shard}"
    made = call_isolated(what, stage.measured, rows, look.shard, look.corpus.store)
    outcome = replace(made, rows_in=len(raw), rejects=[*made.rejects, *not_run.values()])
    yield from same_outcome(look, "signals", outcome)


def edits_again(look: ShardLook) -> Iterator[Fault]:
    """Make the edits of a shard again, and compare their images and words."""
    if look.corpus.source(look.shard).kind == "edits" and look.corpus.same_pillow:
        yield from call_isolated(f"crawl of shard {look.shard}", _edits_again, look)


def _edits_again(look: ShardLook) -> list[Fault]:
    corpus, made = look.corpus, _MadeImages()
    rows = look.tables["raw"].to_pylist()
    listed = rows_with(look.tables["sources"], look.tables["raw"]["key"].combine_chunks())
    reader = make_reader(corpus.source(look.shard), corpus.recipe.crawl, corpus.recipe.decode)
    reader.acquire(read_plan(corpus.store)[look.shard], listed, made)
    faults: list[Fault] = []
    for row in rows:
        for image in stored_images(row):
            if made.hashes.get(image["key"]) != image["sha256"]:
                faults.append(look.fault("raw", f"{image['key']}: made again, another image"))
        told = {name: row[name] for name in NOT_MADE}
        if made.about.get(row["key"]) != told:
            faults.append(look.fault("raw", f"{row['key']}: made again, its words differ: {told}"))
    return faults


class _MadeImages:
    """A stand-in for `RawShard` that keeps hashes and words of what is made."""

    def __init__(self) -> None:
        self.known = KnownImages()
        self.hashes: dict[str, str] = {}  # by id
        self.about: dict[str, dict[str, Any]] = {}

    def store(self, id_: str, body: bytes, **about: str | int) -> None:
        """Keep the hash of an image."""
        self.hashes[id_] = hashlib.sha256(body).hexdigest()
        self.about[id_] = about

    def refer(self, id_: str, file: str, offset: int, length: int, sha256: str) -> None:
        """Keep the hash of an image that lies elsewhere."""
        self.hashes[id_] = sha256

    def reject(self, id_: str, reason: str, detail: str, *, dropped: bool = False) -> None:
        """Forget an image that is not made."""


def encoded_again(look: ShardLook) -> Iterator[Fault]:
    """Tokenize the images of a shard again, and compare the sha256 of every array."""
    yield from call_isolated(f"vq_tokens of shard {look.shard}", _encoded_again, look)


def _encoded_again(look: ShardLook) -> list[Fault]:
    # Imported here because it needs torch.
    from pipelines.tokens.batches import TokenBatches

    corpus, faults = look.corpus, []
    stored = {(row["key"], row["member"]): row for row in look.tables["tokens"].to_pylist()}
    failed = _failed(look, "tokens")
    tried = {key for key, _ in stored} | (
        failed.keys() - _temporary_failures(look, "tokens").keys()
    )
    rows = [row for row in look.tables["raw"].to_pylist() if row["key"] in tried]
    batch = TokenBatches(recipe=corpus.recipe.vq_tokens, decode=corpus.recipe.decode)
    for made in batch.run(_requests(look, rows)):
        if isinstance(made, Reject):
            tried.discard(made.id)
            if (reason := failed[made.id].reason if made.id in failed else "") != made.reason:
                before = f"failed with {reason}" if reason else "was encoded"
                faults.append(
                    look.fault("tokens", f"{made.id}: {before}, now {made.reason}: {made.detail}")
                )
            continue
        for member, array in made.arrays.items():
            row = stored.get((made.request.key, f"{made.request.prefix}{member}"))
            if row is None or hashlib.sha256(array.tobytes()).hexdigest() == row["sha256"]:
                continue
            faults += _codes_differ(look, row, array, made.about)
    path = dead_letters_path("vq_tokens", look.shard)
    faults += [
        Fault(path, f"{key}: failed with {failed[key].reason}, and it can be encoded")
        for key in sorted(tried & failed.keys())
    ]
    return faults


def _failed(look: ShardLook, folder: str) -> dict[str, Reject]:
    """Map the key of each failed row of a stage to its dead letter."""
    letters = look.letters.get(folder)
    return {
        row["id"]: Reject(id=row["id"], reason=row["reason"], detail=row["detail"])
        for row in (letters.to_pylist() if letters else ())
        if row["outcome"] == "failed"
    }


def _temporary_failures(look: ShardLook, folder: str) -> dict[str, Reject]:
    """Return the rows that failed temporarily, which are not run again."""
    failed = _failed(look, folder)
    return {key: letter for key, letter in failed.items() if is_temporary(letter.reason)}


def _requests(look: ShardLook, rows: Sequence[dict[str, Any]]) -> Iterator[Any]:
    from pipelines.tokens.batches import TokenRequest
    from pipelines.tokens.tokenizers import targets

    wanted = targets(look.corpus.recipe.vq_tokens)
    faces = read_boxes(look.corpus.store, look.shard, look.corpus.recipe.blur)
    blur, subset = look.corpus.recipe.blur, look.corpus.subset(look.shard)
    images = [image for row in rows for image in generated_images(row, subset, faces, blur)]
    for batch in batches(images, READ_ROWS):
        for row, body in zip(batch, read_each(batch, look.corpus.store), strict=True):
            if isinstance(body, bytes):  # otherwise `bytes` reports the fault
                yield TokenRequest(
                    key=row["key"],
                    body=body,
                    targets=wanted,
                    blur=row["blur"],
                    prefix=row["prefix"],
                )


def _codes_differ(
    look: ShardLook, row: Mapping[str, Any], array: np.ndarray, about: Mapping[str, Any]
) -> Iterator[Fault]:
    [body] = look.corpus.store.read_ranges([(row["file"], row["offset"], row["length"])])
    found = np.frombuffer(body, array.dtype)
    what = f"{row['key']}: {row['member']}: its length differs from the array encoded again"
    if found.size == array.size:
        differing = int((found.reshape(array.shape) != array).sum())
        same = all(row[name] == about[name] for name in ("device", "pass_images"))
        if not same and differing <= MAX_DIFFERING_CODES * array.size:
            return
        what = (
            f"{row['key']}: {row['member']}: encoded again, {differing:,} of {array.size:,} differ"
        )
    yield Fault(row["file"], what)


def images_again(
    corpus: Look,
    subset: Subset,
    tar: str,
    samples: Mapping[str, dict[str, Any]],
    failed: Mapping[str, str],
) -> Iterator[Fault]:
    """Encode the images of an output shard again; failed ones must fail for the same reason.

    Args:
        corpus: the corpus to check.
        subset: the subset of the shard.
        tar: path of the output shard.
        samples: the references that its writer was given, by key.
        failed: reason of each sample that could not be written, by key.
    """
    again = {key: ref for key, ref in samples.items() if not is_temporary(failed.get(key, ""))}
    yield from call_isolated(tar, _images_again, corpus, subset, tar, again, failed)


def _images_again(
    corpus: Look,
    subset: Subset,
    tar: str,
    samples: Mapping[str, dict[str, Any]],
    failed: Mapping[str, str],
) -> list[Fault]:
    faults: list[Fault] = []
    with corpus.store.open(tar) as file:
        for member in StrictTar(file, MAX_MEMBER_BYTES).members():
            key, _, extension = member.name.partition(".")
            if extension in subset.images and key in samples and key not in failed:
                again = (corpus, subset, samples[key], extension)
                found = guarded(tar, _image_again, tar, member.data, *again)
                faults += [Fault(tar, f"{key}: {fault.what}") for fault in found]
    # Another release of a decoder may fail for another reason.
    for key in sorted(samples.keys() & failed.keys()) if corpus.same_pillow else ():
        try:
            _encoded(corpus, subset, samples[key])
        except DecodeError as error:
            if error.reason == failed[key]:
                continue
            outcome = f"now {error.reason}"
        else:
            outcome = "and it can be encoded"
        faults.append(Fault(tar, f"{key}: failed with {failed[key]}, {outcome}"))
    return faults


def _image_again(
    tar: str,
    jpg: bytes,
    corpus: Look,
    subset: Subset,
    reference: dict[str, Any],
    member: str,
) -> Iterator[Fault]:
    """Compare bytes; with another release of Pillow, compare pixels."""
    try:
        expected = _encoded(corpus, subset, reference)[member]
    except DecodeError as error:
        yield Fault(tar, f"{member}: its image is now {error.reason}: {error.detail}")
        return
    if jpg == expected:
        return
    if corpus.same_pillow:
        yield Fault(tar, f"{member}: bytes differ from its image encoded again")
        return
    with Image.open(io.BytesIO(jpg)) as a, Image.open(io.BytesIO(expected)) as b:
        distances = ImageStat.Stat(ImageChops.difference(a, b)).mean
    if max(distances) > MAX_ENCODER_DISTANCE:
        yield Fault(tar, f"{member}: pixels differ by {max(distances):.1f} levels from its image")


def _encoded(corpus: Look, subset: Subset, reference: dict[str, Any]) -> dict[str, bytes]:
    images = stored_images(reference)
    bodies = read_checked(images, corpus.store, "{key}: its fetched image has changed")
    recipe = corpus.recipe
    writer = WriteShard(
        store=corpus.store,
        subset=subset,
        image=recipe.shard,
        decode=recipe.decode,
        blur=recipe.blur,
    )
    return writer.jpegs(reference, bodies)
