"""Checks of a folder of pairs: prompts, scores, shards and manifest agree to the byte.

The JSON of every sample and the choice between its images are computed again from the side-cars.
Prompts, scores, images and codes are taken as given: no model runs again.
"""

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from itertools import pairwise
from operator import add
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from model.data.manifest import TokenMember, parse_schedule
from model.preferences.pairs import GIVEN, Preference, choose
from model.preferences.sampling import sample_seed
from pipelines.engines.local_pool import run_each
from pipelines.preferences.job import MOST_SHARDS, WRITTEN, aspects_of, pairs_manifest
from pipelines.preferences.prompts import FOLDER as PROMPTS_FOLDER
from pipelines.preferences.prompts import STAGE as PROMPTS_STAGE
from pipelines.preferences.prompts import VERSION as PROMPTS_VERSION
from pipelines.preferences.sample import facts_of, sample_json
from pipelines.preferences.stage import MakePreferences
from pipelines.runtime.sidecar import Counts, Origin, sidecar_path
from pipelines.runtime.stage import MapStage, ShardResult, SidecarStage
from pipelines.shards.manifest import MANIFEST
from pipelines.shards.sample_image import fitted_size
from pipelines.shards.write_shard import (
    FOLDER,
    ShardFile,
    listing_path,
    npy,
)
from pipelines.shards.write_shard import output_name as output_stem
from pipelines.tokens.tokenizers import CROP
from pipelines.verify.counts import conserved, counted, made_by_recipe
from pipelines.verify.faults import Fault, capped, guarded
from pipelines.verify.files import Files, read_footers
from pipelines.verify.look import Folder, SidecarLook, is_count
from pipelines.verify.manifest import (
    listing_sound,
    lock_sound,
    made_with,
    manifest_sound,
    stated_bytes,
)
from pipelines.verify.members import array_faults, jpeg_faults, json_differs
from pipelines.verify.rows import DEVICES
from pipelines.verify.sidecars import read_sidecar
from pipelines.verify.tar import Sample, TarLook, in_order, index_sound, tar_sound
from schemas.fingerprint import fingerprint
from schemas.recipe import ShardConfig
from schemas.store.errors import CorpusError
from schemas.store.lock import LOCK_NAME
from schemas.store.regular_store import RegularStorage
from schemas.store.storage import Storage
from schemas.subsets import Subset, made_by
from schemas.tables import PREFERENCES, PROMPTS

PAIRS = MakePreferences.folder

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Prompts(SidecarStage):
    """The stage that wrote the prompts, reduced to what checks need."""

    name: ClassVar[str] = PROMPTS_STAGE
    folder: ClassVar[str] = PROMPTS_FOLDER

    def schema(self) -> pa.Schema:
        return PROMPTS


@dataclass(frozen=True, kw_only=True)
class _Pairs(MapStage):
    """The stage that made the pairs, with the settings of the manifest and without a model."""

    name: ClassVar[str] = MakePreferences.name
    folder: ClassVar[str] = PAIRS
    reads: ClassVar[tuple[str, ...]] = MakePreferences.reads
    version: ClassVar[int] = MakePreferences.version

    made_by: Row = field(hash=False)  # settings, from the manifest

    def schema(self) -> pa.Schema:
        return PREFERENCES

    def settings(self, shard: int, store: Storage) -> Any:
        return self.made_by

    def process(self, shard: int, store: Storage, scratch: Path) -> ShardResult:
        raise NotImplementedError("this stage only describes pairs; it cannot make them")


@dataclass(frozen=True, kw_only=True)
class PairsLook(Folder):
    """The folder of pairs to check, as its manifest describes it."""

    made_by: Row  # settings of the pairs, from the manifest
    subset: Subset
    lines: Mapping[str, Row]  # the manifest's line of each tar, by path

    @property
    def written(self) -> ShardConfig:
        """Return the settings that images are written with."""
        return ShardConfig.model_validate(self.made_by["shard"])


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The faults of one shard, and the values that checks of the whole folder need."""

    faults: list[Fault]
    file: ShardFile | None  # None where the shard has no pair, or a side-car is damaged
    first_key: str = ""  # of its prompts
    last_key: str = ""


def verify_pairs(store: RegularStorage, files: Files) -> list[Fault]:
    """Check a folder of pairs; return its faults, none if it is sound."""
    files.may_be_empty(WRITTEN)
    files.required.add(MANIFEST)
    files.allowed.add(LOCK_NAME)
    manifest: dict[str, Any] = {}
    if faults := guarded(MANIFEST, _read_manifest, store, manifest):
        return faults  # no other file describes the folder
    if files.found.get(LOCK_NAME) == "":  # a regular file
        faults += guarded(LOCK_NAME, lock_sound, store)
    subset = _subset_of(manifest)
    files.required.add(listing_path(subset.name))
    lines = {line["path"]: line for line in manifest["subsets"][subset.name]["shards"]}
    for path in lines:
        files.required |= {path, f"{path.removesuffix('.tar')}.parquet"}
    stages = {
        PROMPTS_FOLDER: _Prompts(),
        PAIRS: _Pairs(rows_of=PROMPTS_FOLDER, made_by=manifest["made_by"]),
    }
    shards = manifest["prompt_shards"]
    origins: dict[str, list[Origin | None]] = {}
    for folder, stage in stages.items():
        origins[folder], footer_faults = read_footers(store, stage, shards, files)
        faults += footer_faults
    faults += files.faults()
    look = PairsLook(
        store=store,
        stages=stages,
        fingerprints={PROMPTS_FOLDER: fingerprint(PROMPTS_STAGE, PROMPTS_VERSION)},
        tokens=tuple(manifest["tokens"]),
        broken=frozenset(files.missing()),
        made_by=manifest["made_by"],
        subset=subset,
        lines=lines,
    )
    found = list(run_each(CheckPairs(look=look), range(shards)))
    faults += [fault for one in found for fault in one.faults]
    faults += _in_order(found)
    complete = {
        folder: [origin for origin in of_folder if origin is not None]
        for folder, of_folder in origins.items()
    }
    if all(len(of_folder) == shards for of_folder in complete.values()):
        faults += guarded(MANIFEST, _manifest_sound, look, manifest, complete, found)
    return faults


def _read_manifest(store: RegularStorage, manifest: dict[str, Any]) -> Iterator[Fault]:
    """Read and check the fields that other checks use; `_manifest_sound` compares the rest."""
    manifest.update(json.loads(store.read(MANIFEST)))
    subset, settings = _subset_of(manifest), manifest["made_by"]
    ShardConfig.model_validate(settings["shard"])
    facts_of(settings)
    for line in manifest["subsets"][subset.name]["shards"]:
        if not str(line["path"]).endswith(".tar"):
            yield Fault(MANIFEST, f"subsets.{subset.name}.shards: {line['path']!r} is not a tar")
    if not is_count(shards := manifest["prompt_shards"]) or shards > MOST_SHARDS:
        yield Fault(MANIFEST, f"prompt_shards is {shards!r}, expected a number of shards")
    [made] = manifest["tokens"]
    TokenMember.model_validate(made)
    expected = {"member": settings["member"], "kind": "codes", "views": 1, "crop": CROP}
    yield from (
        Fault(MANIFEST, f"tokens.0.{name} is {made.get(name)!r}, expected {value!r}")
        for name, value in expected.items()
        if made.get(name) != value
    )


def _subset_of(manifest: Row) -> Subset:
    """Return the subset that the manifest names under `made_by`."""
    subsets = {each.name: each for each in made_by("preferences")}
    if (name := manifest["made_by"]["subset"]) not in subsets:
        expected = " or ".join(subsets)
        raise CorpusError(f"{MANIFEST}: made_by.subset is {name!r}, expected {expected}")
    return subsets[name]


def _in_order(found: Sequence[Findings]) -> Iterator[Fault]:
    """Check that keys of prompts rise from shard to shard, so that no key is in two shards."""
    numbered = [(n, each) for n, each in enumerate(found) if each.first_key]
    for (_, before), (number, after) in pairwise(numbered):
        if after.first_key <= before.last_key:
            yield Fault(
                sidecar_path(PROMPTS_FOLDER, number),
                "its keys do not come after the keys of the shard before",
            )


def _manifest_sound(
    look: PairsLook,
    manifest: Row,
    origins: Mapping[str, Sequence[Origin]],
    found: Sequence[Findings],
) -> Iterator[Fault]:
    """Compute the manifest and the list of shards again, and compare both."""
    # Bytes and sha256 come from the manifest; `tar_sound` compares each tar with them.
    files = [
        one.file._replace(**stated_bytes(look.lines.get(one.file.path, {})))
        for one in found
        if one.file is not None
    ]
    funnel = [
        (look.stages[folder].name, reduce(add, (origin.counts for origin in of_folder), Counts()))
        for folder, of_folder in origins.items()
    ]
    expected = pairs_manifest(
        look.made_by,
        look.subset,
        len(found),
        files,
        look.tokens,
        made_with(manifest),
        funnel,
    )
    yield from manifest_sound(look.store, manifest, expected)
    path = listing_path(look.subset.name)
    if path not in look.broken:
        yield from guarded(path, listing_sound, look.store, look.subset, files)
    aspects = [str(aspect) for aspect in aspects_of(look.store, len(found))]
    for name in ("schedules", "image_sizes"):
        if list(look.tokens[0][name]) != aspects:
            yield Fault(
                MANIFEST, f"tokens.0.{name} has {list(look.tokens[0][name])}, expected {aspects}"
            )
    for schedule in look.tokens[0]["schedules"].values():
        parse_schedule(schedule)


@dataclass(frozen=True, kw_only=True)
class CheckPairs:
    """Check one shard of prompts, and the shard of pairs made from it."""

    look: PairsLook

    def __call__(self, shard: int) -> Findings:
        """Return the faults of a shard, and its line in the list of shards."""
        look = SidecarLook(corpus=self.look, shard=shard)
        faults: list[Fault] = []
        for folder in self.look.stages:
            if (path := look.path(folder)) not in self.look.broken:
                faults += guarded(path, read_sidecar, look, folder)
                faults += guarded(path, made_by_recipe, look, folder)
                faults += guarded(path, counted, look, folder)
        keys = look.column(PROMPTS_FOLDER, "key") if PROMPTS_FOLDER in look.tables else []
        if look.tables.keys() < self.look.stages.keys():
            return Findings(faults=capped(faults), file=None)
        if PAIRS in look.letters:
            faults += guarded(look.path(PAIRS), conserved, look, PAIRS, PROMPTS_FOLDER)
        faults += guarded(look.path(PROMPTS_FOLDER), self._prompts_sound, look)
        faults += guarded(look.path(PAIRS), self._rows_sound, look)
        name = f"{FOLDER}/{output_stem(self.look.subset.name, shard)}"
        output = TarLook(
            tar=f"{name}.tar",
            index=f"{name}.parquet",
            line=self.look.lines.get(f"{name}.tar", {}),
        )
        kept = look.tables[PAIRS].num_rows
        faults += guarded(look.path(PAIRS), self._files_sound, look, output)
        if kept and output.tar not in self.look.broken:
            faults += guarded(output.tar, self._tar_sound, look, output)
        if kept and output.index not in self.look.broken:
            faults += guarded(output.index, self._index_sound, output, kept)
        return Findings(
            faults=capped(faults),
            file=ShardFile(output.tar, output.bytes, output.sha256, kept, {}) if kept else None,
            first_key=min(keys, default=""),
            last_key=max(keys, default=""),
        )

    def _prompts_sound(self, look: SidecarLook) -> Iterator[Fault]:
        """Check that every prompt edits an image, or that none does, as the subset requires."""
        edits = bool(self.look.subset.input_image)
        for row in look.tables[PROMPTS_FOLDER].to_pylist():
            if bool(row["edited"]["file"]) != edits:
                what = "edits no image" if edits else "edits an image"
                message = f"{row['key']}: {what}, and its pairs are {self.look.subset.name}"
                yield look.fault(PROMPTS_FOLDER, message)

    def _rows_sound(self, look: SidecarLook) -> Iterator[Fault]:
        """Choose the images again by their scores, and compare the choices."""
        settings = self.look.made_by
        prompts = look.rows(PROMPTS_FOLDER)
        for row in look.tables[PAIRS].to_pylist():
            key, scores = row["key"], row["scores"]
            given = row["given_score"] if settings["pairs"] == "paper" else None
            chosen = choose(scores, given, settings["margin"])
            pair = Preference(chosen=row["chosen"], rejected=row["rejected"], margin=row["margin"])
            numbers = range(settings["samples"])
            seeds = [sample_seed(key, number, settings["model"]) for number in numbers]
            faults = {
                f"scores {scores} of {settings['samples']} images": (
                    len(scores) != len(numbers) * bool(settings["scorer"])
                ),
                f"given_score {row['given_score']}, and no given image was scored": (
                    row["given_score"] != 0 and not (given is not None and scores)
                ),
                f"scores {scores}, {row['given_score']} are not all finite": (
                    not all(map(math.isfinite, [*scores, row["given_score"]]))
                ),
                f"{pair}, expected by its scores {chosen}": chosen != pair,
                "seeds do not follow from its key and model": row["seeds"] != seeds,
                f"model {row['model']!r} is not the model of the manifest": (
                    row["model"] != settings["model"]
                ),
                f"made on {row['device']!r}": row["device"] not in DEVICES,
                "it has no prompt": key not in prompts,
            }
            yield from (
                look.fault(PAIRS, f"{key}: {what}") for what, is_so in faults.items() if is_so
            )

    def _files_sound(self, look: SidecarLook, output: TarLook) -> Iterator[Fault]:
        """Check that the footer names the shard of the pairs, and no file if there are no pairs."""
        if PAIRS not in look.origins:
            return
        expected = [output.index, output.tar] if look.tables[PAIRS].num_rows else []
        if (named := list(look.origins[PAIRS].files)) != expected:
            yield look.fault(PAIRS, f"its footer names {named}, expected {expected}")

    def _tar_sound(self, look: SidecarLook, output: TarLook) -> Iterator[Fault]:
        check = partial(self._samples_sound, look, output)
        yield from tar_sound(self.look.store, output, check)

    def _samples_sound(
        self, look: SidecarLook, output: TarLook, samples: Iterator[Sample]
    ) -> Iterator[Fault]:
        """Check every sample, and that no pair is missing."""
        prompts, waiting = look.rows(PROMPTS_FOLDER), look.rows(PAIRS)
        keys = {*waiting}
        for key, members, order_faults in in_order(samples):
            strange = [f"{key}: no pair of {look.path(PAIRS)}"] * (key not in keys)
            yield from (Fault(output.tar, what) for what in [*order_faults, *strange])
            pair = waiting.pop(key, None)
            if pair is not None and key in prompts:
                where = f"{output.tar}: {key}"
                found = guarded(where, self._sample_sound, prompts[key], pair, members)
                yield from (Fault(output.tar, f"{key}: {fault.what}") for fault in found)
        if waiting:
            yield Fault(output.tar, f"{len(waiting):,} pairs are missing, first {min(waiting)}")

    def _sample_sound(
        self, prompt: Row, pair: Row, members: Mapping[str, bytes]
    ) -> Iterator[Fault]:
        """Compare the JSON with the side-cars, and images and codes with the manifest."""
        subset, [made] = self.look.subset, self.look.tokens
        if list(members) != (expected := subset.members([made["member"]])):
            yield Fault("", f"members {list(members)}, expected {expected}")
        body = sample_json(prompt, pair, facts_of(self.look.made_by), subset)
        if "json" in members and members["json"] != body:
            yield from (Fault("", what) for what in json_differs(members["json"], body.decode()))
        for prefix in subset.generated:
            member = f"{prefix}{made['member']}"
            if member in members:
                yield from (
                    Fault("", what)
                    for what in _array_faults({**made, "member": member}, members[member], prompt)
                )
        drawn = self._drawn(prompt["aspect"], pair)
        for image in subset.images:
            if image in members:
                found = jpeg_faults(image, members[image], self.look.written, drawn.get(image))
                yield from (Fault("", what) for what in found)

    def _drawn(self, aspect: float, pair: Row) -> dict[str, tuple[int, int]]:
        """Return width and height in px of the images that the model drew, by member."""
        [made] = self.look.tokens
        height, width = map(int, made["image_sizes"][str(aspect)].split("x"))
        size = fitted_size(width, height, self.look.written.short_side)
        chosen, rejected = self.look.subset.of_images("jpg")
        return {rejected: size} | ({} if pair["chosen"] == GIVEN else {chosen: size})

    def _index_sound(self, output: TarLook, kept: int) -> Iterator[Fault]:
        origin = yield from index_sound(self.look.store, output, MakePreferences.name)
        if origin is None:
            return
        wanted = fingerprint(MakePreferences.name, MakePreferences.version, self.look.made_by)
        if origin.fingerprint != wanted:
            yield Fault(output.index, "made by another version, or with other settings")
        if origin.counts != (counts := Counts(rows_in=kept, kept=kept)):
            message = f"its footer counts {origin.counts}, the side-cars {counts}"
            yield Fault(output.index, message)


def _array_faults(made: Row, body: bytes, prompt: Row) -> Iterator[str]:
    faults = list(array_faults(made, body, prompt["aspect"]))
    yield from faults
    if not faults and npy(np.load(io.BytesIO(body), allow_pickle=False)) != body:
        yield f"{made['member']}: its header is not the one that was written"
