"""What `--deep` does beside: images are decoded, measured and encoded again."""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageStat

from filters.decode import DecodeError
from pipelines.runtime.active_images import active_images
from pipelines.runtime.crash_isolation import call_isolated
from pipelines.runtime.images import batches, decode_image, read_checked, read_each
from pipelines.runtime.retry_failed import is_temporary
from pipelines.runtime.sidecar import Reject, dead_letters_path
from pipelines.shards.tar_reader import StrictTar
from pipelines.shards.write_shard import jpeg
from pipelines.verify.faults import Fault, guarded
from pipelines.verify.look import Look, ShardLook
from pipelines.verify.stages import same_outcome
from pipelines.verify.tar import MAX_MEMBER_BYTES
from schemas.subsets import Subset

READ_ROWS = 64
# Of codes made on another kind of device: sums round otherwise, and a code near a border may turn.
DIFFERING_ELSEWHERE = 0.01
# Levels, on average, between JPEGs of one image by two releases of an encoder.
ENCODERS_APART = 2.0


def measured_again(look: ShardLook) -> Iterator[Fault]:
    """Run `measure` again on a shard.

    Rows that failed temporarily are left alone: what killed a worker may do so again.
    """
    stage: Any = look.corpus.stages["signals"]
    spared = _spared(look, "signals")
    raw = look.tables["raw"].to_pylist()
    rows = [row for row in raw if row["key"] not in spared]
    what = f"measure of shard {look.shard}"
    made = call_isolated(what, stage.measured, rows, look.shard, look.corpus.store)
    outcome = replace(made, rows_in=len(raw), rejects=[*made.rejects, *spared.values()])
    yield from same_outcome(look, "signals", outcome)


def encoded_again(look: ShardLook) -> Iterator[Fault]:
    """Tokenize the images of a shard again, and compare every array."""
    yield from call_isolated(f"vq_tokens of shard {look.shard}", _encoded_again, look)


def _encoded_again(look: ShardLook) -> list[Fault]:
    # Only here: it needs torch.
    from pipelines.tokens.batches import TokenBatches

    corpus, faults = look.corpus, []
    stored = {(row["key"], row["member"]): row for row in look.tables["tokens"].to_pylist()}
    failed = _failed(look, "tokens")
    tried = {key for key, _ in stored} | (failed.keys() - _spared(look, "tokens").keys())
    rows = [row for row in look.tables["raw"].to_pylist() if row["key"] in tried]
    batch = TokenBatches(recipe=corpus.recipe.vq_tokens, decode=corpus.recipe.decode)
    for made in batch.run(_requests(look, rows)):
        if isinstance(made, Reject):
            tried.discard(made.id)
            if (reason := failed[made.id].reason if made.id in failed else "") != made.reason:
                was = f"failed with {reason}" if reason else "encoded"
                faults.append(
                    look.fault("tokens", f"{made.id}: {was}, now {made.reason}: {made.detail}")
                )
            continue
        for member, array in made.arrays.items():
            row = stored.get((made.key, member))
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
    """Map the keys of a stage's failed rows to their letters."""
    letters = look.letters.get(folder)
    return {
        row["id"]: Reject(id=row["id"], reason=row["reason"], detail=row["detail"])
        for row in (letters.to_pylist() if letters else ())
        if row["outcome"] == "failed"
    }


def _spared(look: ShardLook, folder: str) -> dict[str, Reject]:
    """Return the failed rows that are not tried again."""
    failed = _failed(look, folder)
    return {key: letter for key, letter in failed.items() if is_temporary(letter.reason)}


def _requests(look: ShardLook, rows: Sequence[dict[str, Any]]) -> Iterator[Any]:
    from pipelines.tokens.batches import TokenRequest
    from pipelines.tokens.tokenizers import targets

    wanted = targets(look.corpus.recipe.vq_tokens)
    for batch in batches(rows, READ_ROWS):
        for row, body in zip(batch, read_each(batch, look.corpus.store), strict=True):
            if isinstance(body, bytes):  # else it is a fault already
                yield TokenRequest(key=row["key"], body=body, targets=wanted)


def _codes_differ(
    look: ShardLook, row: Mapping[str, Any], array: np.ndarray, about: Mapping[str, Any]
) -> Iterator[Fault]:
    [body] = look.corpus.store.read_ranges([(row["file"], row["offset"], row["length"])])
    found = np.frombuffer(body, array.dtype)
    what = f"{row['key']}: {row['member']}: encoded again, it has another length"
    if found.size == array.size:
        differing = int((found.reshape(array.shape) != array).sum())
        same = all(row[name] == about[name] for name in ("device", "pass_images"))
        if not same and differing <= DIFFERING_ELSEWHERE * array.size:
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
    """Encode the images of an output shard again; those that died must fail as they did.

    Args:
        corpus: under examination.
        subset: of the shard.
        tar: path of the shard.
        samples: what its writer was given, by key.
        failed: keys that are not in it, and what they failed with.
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
                said = guarded(tar, _image_again, corpus, tar, samples[key], member.data)
                faults += [Fault(tar, f"{key}: {fault.what}") for fault in said]
    # Another release of a decoder may fail otherwise.
    for key in sorted(samples.keys() & failed.keys()) if corpus.same_pillow else ():
        try:
            _encoded(corpus, samples[key])
        except DecodeError as error:
            if error.reason == failed[key]:
                continue
            said = f"now {error.reason}"
        else:
            said = "and it can be encoded"
        faults.append(Fault(tar, f"{key}: failed with {failed[key]}, {said}"))
    return faults


def _image_again(corpus: Look, tar: str, reference: dict[str, Any], jpg: bytes) -> Iterator[Fault]:
    """Compare bytes, or pixels with another encoder's."""
    try:
        expected = _encoded(corpus, reference)
    except DecodeError as error:
        yield Fault(tar, f"jpg: its image is now {error.reason}: {error.detail}")
        return
    if jpg == expected:
        return
    if corpus.same_pillow:
        yield Fault(tar, "jpg: bytes are not those that its image is encoded to")
        return
    with Image.open(io.BytesIO(jpg)) as a, Image.open(io.BytesIO(expected)) as b:
        apart = ImageStat.Stat(ImageChops.difference(a, b)).mean
    if max(apart) > ENCODERS_APART:
        yield Fault(tar, f"jpg: pixels are {max(apart):.1f} levels from those of its image")


def _encoded(corpus: Look, reference: dict[str, Any]) -> bytes:
    [body] = read_checked([reference], corpus.store, "{key}: its image as fetched is not the same")
    with active_images(reference["key"]):
        return jpeg(decode_image(body, corpus.recipe.decode), corpus.recipe.shard)
