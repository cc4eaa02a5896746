"""What `--deep` does beside: images are decoded, measured and encoded again."""

import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageStat

from pipelines.faults import Fault
from pipelines.images import batches, decode_image, read_checked, read_each
from pipelines.sidecar import Reject
from pipelines.verify_look import Look, ShardLook
from pipelines.verify_stages import same_outcome
from pipelines.write_shard import jpeg

READ_ROWS = 64
# Of codes made on another kind of device: sums round otherwise, and a code near a border may turn.
DIFFERING_ELSEWHERE = 0.01
# Levels, on average, between JPEGs of one image by two releases of an encoder.
ENCODERS_APART = 2.0


def measured_again(look: ShardLook) -> Iterator[Fault]:
    """Run `measure` again on a shard."""
    stage = look.corpus.stages["signals"]
    outcome = stage.process(look.shard, look.corpus.store, Path(os.devnull))
    yield from same_outcome(look, "signals", outcome)


def encoded_again(look: ShardLook) -> Iterator[Fault]:
    """Tokenize the images of a shard again, and compare every array."""
    # Only here: it needs torch.
    from pipelines.token_batches import TokenBatches

    corpus, stored = look.corpus, {}
    for row in look.tables["tokens"].to_pylist():
        stored[row["key"], row["member"]] = row
    keys = {key for key, _ in stored}
    rows = [row for row in look.tables["raw"].to_pylist() if row["key"] in keys]
    batch = TokenBatches(recipe=corpus.recipe.vq_tokens, decode=corpus.recipe.decode)
    for made in batch.run(_jobs(look, rows)):
        if isinstance(made, Reject):
            yield look.fault("tokens", f"{made.id}: now {made.reason}: {made.detail}")
            continue
        for member, array in made.arrays.items():
            row = stored.get((made.key, member))
            if row is None or hashlib.sha256(array.tobytes()).hexdigest() == row["sha256"]:
                continue
            yield from _codes_differ(look, row, array, made.about)


def _jobs(look: ShardLook, rows: Sequence[dict[str, Any]]) -> Iterator[Any]:
    from pipelines.token_batches import Job
    from pipelines.tokenizers import targets

    wanted = targets(look.corpus.recipe.vq_tokens)
    for batch in batches(rows, READ_ROWS):
        for row, body in zip(batch, read_each(batch, look.corpus.store), strict=True):
            if isinstance(body, bytes):  # else it is a fault already
                yield Job(key=row["key"], body=body, targets=wanted)


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


def image_differs(corpus: Look, reference: dict[str, Any], jpg: bytes) -> Iterator[str]:
    """Encode the image of a sample again and compare bytes, or pixels by another encoder's."""
    [body] = read_checked([reference], corpus.store, "{key}: its image as fetched is not the same")
    expected = jpeg(decode_image(body, corpus.recipe.decode), corpus.recipe.shard)
    if jpg == expected:
        return
    if corpus.same_pillow:
        yield "jpg: bytes are not those that its image is encoded to"
        return
    with Image.open(io.BytesIO(jpg)) as a, Image.open(io.BytesIO(expected)) as b:
        apart = ImageStat.Stat(ImageChops.difference(a, b)).mean
    if max(apart) > ENCODERS_APART:
        yield f"jpg: pixels are {max(apart):.1f} levels from those of its image"
