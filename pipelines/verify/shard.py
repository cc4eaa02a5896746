"""Checks of one output shard: every byte follows from the side-cars of its samples."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from pipelines.runtime.sidecar import Counts, dead_letters_path, read_rejects
from pipelines.shards.write_shard import (
    FOLDER,
    ShardFile,
    WriteShard,
    array_names,
    npy,
    output_name,
)
from pipelines.verify.deep import images_again
from pipelines.verify.faults import Fault, capped, guarded
from pipelines.verify.look import Look, as_written, schema_faults
from pipelines.verify.members import array_faults, image_faults, jpeg_faults, json_differs
from pipelines.verify.samples import read_samples
from pipelines.verify.tar import Sample, TarLook, in_order, index_sound, tar_sound
from schemas.keys import output_shard
from schemas.subsets import Subset
from schemas.tables import DEAD_LETTERS

Reference = Mapping[str, Any]  # the facts of one sample that the writer of a shard was given


@dataclass(kw_only=True)
class _Shard(TarLook):
    """An output shard to check, with the samples that side-cars expect in it."""

    number: int
    outputs: int  # of its subset
    letters: str  # path of its dead letters
    samples: dict[str, dict[str, Any]]  # expected by the side-cars, by key, in order
    failed: dict[str, int] = field(default_factory=dict)  # samples not written, by reason
    reasons: dict[str, str] = field(default_factory=dict)  # by key of a sample not written


@dataclass(frozen=True, kw_only=True)
class CheckShard:
    """Check an output shard by its number."""

    corpus: Look
    subset: Subset
    complete: bool  # the side-cars of every shard could be read

    def __call__(
        self, numbered_line: tuple[int, Mapping[str, Any]]
    ) -> tuple[list[Fault], ShardFile]:
        """Return the faults of a shard, and its line in the list of shards.

        Args:
            numbered_line: number of the shard, and its line in the manifest; {} if there is none.
        """
        number, line = numbered_line
        name = f"{FOLDER}/{output_name(self.subset.name, number)}"
        samples, twice = read_samples(self.corpus, self.subset, number)
        shard = _Shard(
            number=number,
            outputs=self.corpus.output_count(self.subset),
            tar=f"{name}.tar",
            index=f"{name}.parquet",
            letters=dead_letters_path(self.subset.shard_stage, number),
            samples=samples,
            line=line,
        )
        faults = [
            Fault(shard.tar, f"{key}: side-cars of two shards have this sample") for key in twice
        ]
        there = [path for path in (shard.tar, shard.index) if self.corpus.store.lies_there(path)]
        if not samples and self.complete:
            stray = [Fault(path, "stray: no sample of the corpus belongs there") for path in there]
            return faults + stray, ShardFile(shard.tar, 0, "", 0, {})
        if not there and not {shard.tar, shard.index} & self.corpus.broken:
            missing = [Fault(path, "missing") for path in (shard.tar, shard.index)]
            return faults + missing, ShardFile(shard.tar, 0, "", len(samples), {})
        for path, check in (
            (shard.letters, self._letters_sound),
            (shard.tar, self._tar_sound),
            (shard.index, self._index_sound),
        ):
            if path not in self.corpus.broken:
                faults += guarded(path, check, shard)
        if self.corpus.deep and shard.tar not in self.corpus.broken:
            again = (self.corpus, self.subset, shard.tar, shard.samples, shard.reasons)
            faults += guarded(shard.tar, images_again, *again)
        kept = len(shard.samples) - sum(shard.failed.values())
        file = ShardFile(shard.tar, shard.bytes, shard.sha256, kept, shard.failed)
        return capped(faults), file

    def _letters_sound(self, shard: _Shard) -> Iterator[Fault]:
        """Check the dead letters, and note which samples could not be written."""
        stage = self.subset.shard_stage
        letters = read_rejects(self.corpus.store, stage, shard.number)
        yield from (Fault(shard.letters, what) for what in schema_faults(letters, DEAD_LETTERS))
        if self.corpus.store.exists(shard.letters):
            yield from as_written(self.corpus.store, shard.letters, DEAD_LETTERS)
        rows = letters.to_pylist()
        ids = [row["id"] for row in rows]
        if ids != sorted(set(ids)):
            yield Fault(shard.letters, "rows are not in order, or not unique")
        for row in rows:
            if row["id"] not in shard.samples:
                if self.complete:
                    yield Fault(shard.letters, f"{row['id']!r} is not a sample of this shard")
            elif (row["stage"], row["outcome"]) != (stage, "failed"):
                yield Fault(shard.letters, f"{row['id']}: {row['stage']}, {row['outcome']}")
            else:
                shard.failed[row["reason"]] = shard.failed.get(row["reason"], 0) + 1
        shard.reasons.update((row["id"], row["reason"]) for row in rows)

    def _tar_sound(self, shard: _Shard) -> Iterator[Fault]:
        yield from tar_sound(self.corpus.store, shard, partial(self._samples_sound, shard))

    def _samples_sound(self, shard: _Shard, samples: Iterator[Sample]) -> Iterator[Fault]:
        """Check every sample, and that none is missing."""
        waiting = {key: ref for key, ref in shard.samples.items() if key not in shard.reasons}
        for key, members, messages in in_order(samples):
            where = f"{shard.tar}: {key}"
            ref = waiting.pop(key, None)
            shuffle = self.corpus.recipe.shard.shuffle
            if output_shard(key, shard.outputs, shuffle) != shard.number:
                messages.append(f"{key}: belongs to another shard")
            elif key not in shard.samples and self.complete:
                messages.append(f"{key}: the side-cars have no such sample")
            elif key in shard.reasons:
                messages.append(f"{key}: failed, according to {shard.letters}")
            yield from (Fault(shard.tar, what) for what in messages)
            if ref is not None:
                found = guarded(where, self._sample_sound, ref, members)
                yield from (Fault(shard.tar, f"{key}: {fault.what}") for fault in found)
        if waiting:
            message = f"{len(waiting):,} samples are missing, first {min(waiting)}"
            yield Fault(shard.tar, message)

    def _sample_sound(self, ref: dict[str, Any], members: dict[str, bytes]) -> Iterator[Fault]:
        arrays = {array["member"]: array for array in ref["arrays"]}
        expected = self.subset.members(array_names(self.subset, ref))
        if list(members) != expected:
            yield Fault("", f"members {list(members)}, expected {expected}")
        if "json" in members and members["json"] != ref["json"].encode():
            yield from (Fault("", what) for what in json_differs(members["json"], ref["json"]))
        for member, array in arrays.items():
            if member in members:
                yield from (Fault("", w) for w in self._array_sound(array, members[member], ref))
        sample, settings = json.loads(ref["json"]), self.corpus.recipe.shard
        for image in self.subset.images:
            if image not in members:
                continue
            if image == self.subset.main_image and "width" in sample:
                faults = image_faults(members[image], sample, settings)
            else:
                kept = settings.reencode == "needed"
                faults = jpeg_faults(image, members[image], settings, None, may_be_kept=kept)
            yield from (Fault("", what) for what in faults)

    def _array_sound(self, array: Reference, body: bytes, ref: Reference) -> Iterator[str]:
        dtype = np.dtype(array["dtype"])
        data = body[len(body) - dtype.itemsize * int(np.prod(array["shape"])) :]
        if hashlib.sha256(data).hexdigest() != array["sha256"]:
            yield f"{array['member']}: values differ from {array['file']}"
        elif npy(np.frombuffer(data, dtype).reshape(array["shape"])) != body:
            yield f"{array['member']}: its header is not the one that was written"
        else:
            named = self.subset.without_prefix(array["member"])
            made = next(m for m in self.corpus.tokens if m["member"] == named)
            yield from array_faults(made, body, json.loads(ref["json"])["crop_aspect"])

    def _index_sound(self, shard: _Shard) -> Iterator[Fault]:
        path = shard.index
        origin = yield from index_sound(self.corpus.store, shard, self.subset.shard_stage)
        if origin is None or not self.complete:
            return
        writer = WriteShard(
            store=self.corpus.store,
            subset=self.subset,
            image=self.corpus.recipe.shard,
            decode=self.corpus.recipe.decode,
            blur=self.corpus.recipe.blur,
        )
        if origin.fingerprint != writer.fingerprint([*shard.samples.values()]):
            yield Fault(path, "made with another recipe, another version or other samples")
        failed = sum(shard.failed.values())
        kept = len(shard.samples) - failed
        counts = Counts(rows_in=kept + failed, kept=kept, failed=dict(sorted(shard.failed.items())))
        if origin.counts != counts:
            yield Fault(path, f"its footer counts {origin.counts}, the side-cars {counts}")
