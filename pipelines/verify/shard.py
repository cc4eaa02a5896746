"""Check one output shard: every byte of it is what the side-cars make of its samples."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from pipelines.runtime.sidecar import Counts, dead_letters_path, read_rejects
from pipelines.shards.write_shard import FOLDER, STAGE, ShardFile, WriteShard, npy, output_name
from pipelines.verify.deep import images_again
from pipelines.verify.faults import Fault, capped, guarded
from pipelines.verify.look import Look, as_written, schema_faults
from pipelines.verify.members import array_faults, image_faults, json_differs
from pipelines.verify.samples import read_samples
from pipelines.verify.tar import Sample, TarLook, in_order, index_sound, tar_sound
from schemas.keys import output_shard
from schemas.subsets import Subset
from schemas.tables import DEAD_LETTERS

Reference = Mapping[str, Any]  # what the writer of a shard was given of a sample


@dataclass(kw_only=True)
class _Shard(TarLook):
    """An output shard under examination, and what side-cars say of it."""

    number: int
    letters: str  # path
    samples: dict[str, dict[str, Any]]  # by key, in order: what side-cars say should be there
    failed: dict[str, int] = field(default_factory=dict)  # reason -> samples that are not
    gone: dict[str, str] = field(default_factory=dict)  # keys of those -> reason


@dataclass(frozen=True, kw_only=True)
class CheckShard:
    """Check an output shard by its number."""

    corpus: Look
    subset: Subset
    complete: bool  # the samples of all side-cars are known

    def __call__(self, asked: tuple[int, Mapping[str, Any]]) -> tuple[list[Fault], ShardFile]:
        """Return the faults of a shard, and what a list of shards has to say of it.

        Args:
            asked: its number, and the manifest's line of it; an empty one if there is none.
        """
        number, told = asked
        name = f"{FOLDER}/{output_name(self.subset.name, number)}"
        samples, twice = read_samples(self.corpus, number)
        shard = _Shard(
            number=number,
            tar=f"{name}.tar",
            index=f"{name}.parquet",
            letters=dead_letters_path(STAGE, number),
            samples=samples,
            told=told,
        )
        faults = [Fault(shard.tar, f"{key}: a sample of two shards of side-cars") for key in twice]
        there = [path for path in (shard.tar, shard.index) if self.corpus.store.lies_there(path)]
        if not samples and self.complete:
            stray = [Fault(path, "stray: no sample of the corpus goes there") for path in there]
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
            again = (self.corpus, self.subset, shard.tar, shard.samples, shard.gone)
            faults += guarded(shard.tar, images_again, *again)
        kept = len(shard.samples) - sum(shard.failed.values())
        line = ShardFile(shard.tar, shard.bytes, shard.sha256, kept, shard.failed)
        return capped(faults), line

    def _letters_sound(self, shard: _Shard) -> Iterator[Fault]:
        """Read which samples could not be written; the others should be there."""
        letters = read_rejects(self.corpus.store, STAGE, shard.number)
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
                    yield Fault(shard.letters, f"{row['id']!r} is no sample of this shard")
            elif (row["stage"], row["outcome"]) != (STAGE, "failed"):
                yield Fault(shard.letters, f"{row['id']}: {row['stage']}, {row['outcome']}")
            else:
                shard.failed[row["reason"]] = shard.failed.get(row["reason"], 0) + 1
        shard.gone.update((row["id"], row["reason"]) for row in rows)

    def _tar_sound(self, shard: _Shard) -> Iterator[Fault]:
        yield from tar_sound(self.corpus.store, shard, partial(self._samples_sound, shard))

    def _samples_sound(self, shard: _Shard, samples: Iterator[Sample]) -> Iterator[Fault]:
        """Check sample by sample, and that none is missing."""
        waiting = {key: ref for key, ref in shard.samples.items() if key not in shard.gone}
        for key, members, said in in_order(samples):
            where = f"{shard.tar}: {key}"
            ref = waiting.pop(key, None)
            if output_shard(key, self.corpus.outputs) != shard.number:
                said.append(f"{key}: does not belong into this shard")
            elif key not in shard.samples and self.complete:
                said.append(f"{key}: no sample of the side-cars")
            elif key in shard.gone:
                said.append(f"{key}: failed by {shard.letters}")
            yield from (Fault(shard.tar, what) for what in said)
            if ref is not None:
                found = guarded(where, self._sample_sound, ref, members)
                yield from (Fault(shard.tar, f"{key}: {fault.what}") for fault in found)
        if waiting:
            said = f"{len(waiting):,} samples are missing, first {min(waiting)}"
            yield Fault(shard.tar, said)

    def _sample_sound(self, ref: dict[str, Any], members: dict[str, bytes]) -> Iterator[Fault]:
        arrays = {array["member"]: array for array in ref["arrays"]}
        if list(members) != (expected := self.subset.members([*arrays])):
            yield Fault("", f"members {list(members)}, expected {expected}")
        if "json" in members and members["json"] != ref["json"].encode():
            yield from (Fault("", what) for what in json_differs(members["json"], ref["json"]))
        for member, array in arrays.items():
            if member in members:
                yield from (Fault("", w) for w in self._array_sound(array, members[member], ref))
        [image] = self.subset.images
        if image in members:
            sample = json.loads(ref["json"])
            faults = image_faults(members[image], sample, self.corpus.recipe.shard)
            yield from (Fault("", what) for what in faults)

    def _array_sound(self, array: Reference, body: bytes, ref: Reference) -> Iterator[str]:
        dtype = np.dtype(array["dtype"])
        data = body[len(body) - dtype.itemsize * int(np.prod(array["shape"])) :]
        if hashlib.sha256(data).hexdigest() != array["sha256"]:
            yield f"{array['member']}: values are not those of {array['file']}"
        elif npy(np.frombuffer(data, dtype).reshape(array["shape"])) != body:
            yield f"{array['member']}: its header is not as it was written"
        else:
            made = next(m for m in self.corpus.tokens if m["member"] == array["member"])
            yield from array_faults(made, body, json.loads(ref["json"])["crop_aspect"])

    def _index_sound(self, shard: _Shard) -> Iterator[Fault]:
        path = shard.index
        origin = yield from index_sound(self.corpus.store, shard, STAGE)
        if origin is None or not self.complete:
            return
        writer = WriteShard(
            store=self.corpus.store,
            subset=self.subset,
            image=self.corpus.recipe.shard,
            decode=self.corpus.recipe.decode,
        )
        if origin.fingerprint != writer.fingerprint([*shard.samples.values()]):
            yield Fault(path, "made by another recipe, another version or from other samples")
        gone = sum(shard.failed.values())
        kept = len(shard.samples) - gone
        counts = Counts(rows_in=kept + gone, kept=kept, failed=dict(sorted(shard.failed.items())))
        if origin.counts != counts:
            yield Fault(path, f"its footer counts {origin.counts}, the side-cars {counts}")
