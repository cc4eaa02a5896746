"""preferences: prompts to shards of pairs, as one Beam job, and their manifest."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import pyarrow.compute as pc

from model.data.manifest import Source, read_manifest, token_members
from model.data.sources import check_tokenizer
from model.preferences.prompts import BadPrompt, PromptRow, held_out, read_prompts
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.tokenizers.protocol import schedule_text
from model.vargpt.folder import ImageTokenizer
from pipelines.engines.engine import Engine
from pipelines.out_folder import own_folder
from pipelines.preferences.prompts import (
    COMPARISON,
    STAGE,
    WrittenPrompts,
    holds_prompts,
    write_prompts,
)
from pipelines.preferences.stage import MakePreferences
from pipelines.runtime.chain import shards_to_do
from pipelines.runtime.console import CONSOLE
from pipelines.runtime.crash_isolation import forget_attempts
from pipelines.runtime.ownership import own_sidecar, shard_of, surplus, surplus_letters
from pipelines.runtime.run_chain import TooManyFailedError, run_chain
from pipelines.runtime.sidecar import (
    Counts,
    Origin,
    column,
    dead_letters_path,
    read_origin,
    read_origins,
    read_table,
    sidecar_path,
)
from pipelines.shards.manifest import (
    MANIFEST,
    lay_out,
    manifest_bytes,
    old_shards,
    versions,
)
from pipelines.shards.write_shard import (
    FOLDER,
    ShardFile,
    listing_bytes,
    listing_path,
    output_name,
)
from pipelines.tokens.tokenizers import CROP
from schemas.store.lock import build_lock
from schemas.store.storage import CorpusError, Storage
from schemas.subsets import Subset, made_by

MOST_SHARDS = 1_000_000  # that names of output shards can count


# Folders that the command writes into, the root too.
WRITTEN = (
    *("", STAGE, MakePreferences.folder, FOLDER),
    *(f"dead_letters/{stage}" for stage in (STAGE, MakePreferences.name)),
    f".attempts/{MakePreferences.name}",
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Where prompts come from."""

    prompts: str = ""  # URL of a file of them; or else
    corpus: Source | None = None
    held_out: float = 0.01  # share of the corpus
    per_shard: int = 512

    def rows(self, member: str) -> Iterator[PromptRow | BadPrompt]:
        """Yield the prompts."""
        if self.corpus is None:
            return read_prompts(self.prompts)
        return held_out(self.corpus, member, self.held_out)


@dataclass(frozen=True, kw_only=True)
class PreferenceJob:
    """One run: what is asked for, and how the pairs are made."""

    asked: Asked
    stage: MakePreferences  # its subset follows from the prompts
    images: ImageTokenizer  # of the model
    engine: Engine
    max_failed: float  # share of the prompts past which it fails

    def run(self, out: str, *, force_unlock: bool = False) -> dict[str, Any]:
        """Make pairs, or go on with what was killed; return the manifest.

        Raises:
            UserError: another command holds the folder, it holds a corpus, prompts or tokenizer
                do not fit, or too many prompts failed.
        """
        store = own_folder(out, "folder of pairs", _holds_pairs)
        with build_lock(store, force_unlock=force_unlock), self.engine.started(store):
            store.sweep(WRITTEN)
            tokenizer = self._tokenizer()
            prompts = write_prompts(
                self.asked.rows(self.stage.member),
                store,
                per_shard=self.asked.per_shard,
                need_given=self.stage.pairs == "paper",
            )
            _remove_surplus(store, prompts.shards)
            stage = replace(self.stage, subset=prompts.subset)
            self._map(stage, store, prompts.shards)
            return self._finish(stage, store, prompts, tokenizer)

    def _tokenizer(self) -> NetworkTokenizer:
        """Load the model's image tokenizer, and check that it made the codes of the corpus."""
        tokenizer = self.images.load()
        if self.asked.corpus and self.stage.pairs == "paper":
            manifest = read_manifest(self.asked.corpus.url)
            codes, _ = token_members(self.asked.corpus, manifest, self.stage.member)
            check_tokenizer(codes, self.asked.corpus, tokenizer)
        return tokenizer

    def _map(self, stage: MakePreferences, store: Storage, shards: int) -> None:
        _forget_lost(stage, store)
        todo = shards_to_do([stage], store, shards)
        CONSOLE.info("%s: %s of %s shards to do", stage.name, len(todo), shards)
        if todo:
            # Shards and manifest would disagree from here on, until the new one is written.
            store.remove(MANIFEST)
            allowed, sources = {stage.name: self.max_failed}, ["prompts"] * shards
            try:
                run_chain([stage], store, self.engine, todo, allowed=allowed, sources=sources)
            except TooManyFailedError as error:
                raise self._too_many_failed(error.stage, error.counts) from None
        forget_attempts(store, stage.name)

    def _too_many_failed(self, stage: str, made: Counts) -> CorpusError:
        return CorpusError(
            f"{stage}: {made.failed_rows:,} of {made.rows_in:,} prompts failed: "
            f"{dict(made.failed)}; --max-failed is {self.max_failed}; "
            f"see {dead_letters_path(stage, 0)} ff."
        )

    def _finish(
        self,
        stage: MakePreferences,
        store: Storage,
        prompts: WrittenPrompts,
        tokenizer: NetworkTokenizer,
    ) -> dict[str, Any]:
        origins = read_origins(store, stage.folder, range(prompts.shards))
        made = reduce(add, (origin.counts for origin in origins), Counts())
        if made.failed_rows > self.max_failed * made.rows_in:
            raise self._too_many_failed(stage.name, made)
        if not made.kept:
            raise CorpusError(f"{stage.name}: no pair is left: {made}")
        files = _shard_files(stage.subset, store, origins)
        aspects = aspects_of(store, prompts.shards)
        tokens = [_described(stage.member, self.images, tokenizer, aspects)]
        funnel = [(STAGE, prompts.counts), (stage.name, made)]
        manifest = pairs_manifest(
            stage.made_by(), stage.subset, prompts.shards, files, tokens, versions(), funnel
        )
        for path in _old_files(store, manifest, stage.subset):
            store.remove(path)
        store.commit_bytes(listing_path(stage.subset.name), listing_bytes(files))
        store.commit_bytes(MANIFEST, manifest_bytes(manifest))
        return manifest


def pairs_manifest(
    made_by: Mapping[str, Any],
    subset: Subset,
    prompt_shards: int,
    files: Sequence[ShardFile],
    tokens: Sequence[Mapping[str, Any]],
    made_with: Mapping[str, str],
    funnel: Sequence[tuple[str, Counts]],
) -> dict[str, Any]:
    """Return the manifest of a folder of pairs."""
    return lay_out(
        about={"name": MakePreferences.name, "made_by": made_by, "prompt_shards": prompt_shards},
        made_with=made_with,
        tokens=tokens,
        subsets={subset: files},
        further={},
        funnel=funnel,
    )


def aspects_of(store: Storage, shards: int) -> list[float]:
    """Return the aspects of the pairs that were made."""
    found: set[float] = set()
    for shard in range(shards):
        made = read_table(store, sidecar_path(MakePreferences.folder, shard), ["key"])
        prompts = read_table(store, sidecar_path(STAGE, shard), ["key", "aspect"])
        found.update(column(prompts.filter(pc.is_in(prompts["key"], made["key"])), "aspect"))
    return sorted(found)


def _remove_surplus(store: Storage, shards: int) -> None:
    """Remove what is numbered as no shard of prompts is any more."""
    beyond = range(shards, MOST_SHARDS)
    old = surplus(store, dict.fromkeys((STAGE, MakePreferences.folder), beyond))
    old += surplus_letters(store, MakePreferences.name, beyond)
    for path in old:
        store.remove(path)


def _forget_lost(stage: MakePreferences, store: Storage) -> None:
    """Remove side-cars whose output shard or its index is gone, so that all are made again."""
    there = store.listing(FOLDER)
    for name in store.listing(stage.folder):
        number, origin = shard_of(name), own_sidecar(store, stage.folder, name)
        if number is None or origin is None or not origin.counts.kept:
            continue
        output = output_name(stage.subset.name, number)
        if not {f"{output}.tar", f"{output}.parquet"} <= there.keys():
            store.remove(f"{stage.folder}/{name}")


def _described(
    member: str, images: ImageTokenizer, tokenizer: NetworkTokenizer, aspects: Sequence[float]
) -> dict[str, Any]:
    """Return what the manifest says of the codes: of `chosen.MEMBER` and `rejected.MEMBER`."""
    from model.tokenizers.sizes import PRESETS, schedule_of

    config = PRESETS[images.tokenizer][images.preset]
    ofs = {
        aspect: tokenizer.with_schedule(schedule_of(config, images.resolution, aspect))
        for aspect in aspects
    }
    return {
        "member": member,
        "kind": "codes",
        "resolution": images.resolution,
        "views": 1,
        "crop": CROP,
        "image_sizes": {str(a): "{}x{}".format(*of.image_size) for a, of in ofs.items()},
        "schedules": {str(a): schedule_text(of.schedule) for a, of in ofs.items()},
        **tokenizer.describe(),
    }


def _shard_files(subset: Subset, store: Storage, made: Sequence[Origin]) -> list[ShardFile]:
    """Return what the indexes of the output shards say; those of no pair were not written."""
    files: list[ShardFile] = []
    for number in (number for number, origin in enumerate(made) if origin.counts.kept):
        name = f"{FOLDER}/{output_name(subset.name, number)}"
        origin = read_origin(store, f"{name}.parquet")
        if origin is None:
            raise CorpusError(f"{name}.parquet: missing; run the command again")
        size, sha256 = int(origin.tar["bytes"]), str(origin.tar["sha256"])
        files.append(ShardFile(f"{name}.tar", size, sha256, origin.counts.kept, {}))
    return files


def _old_files(store: Storage, manifest: Mapping[str, Any], subset: Subset) -> list[str]:
    """List shards that the manifest does not name, and the list of another subset's."""
    subsets = made_by("preferences")
    # As many as there are prompts, now or before.
    numbers = {each.name: range(MOST_SHARDS) for each in subsets}
    lists = [
        listing_path(each.name) for each in subsets if each != subset and _is_list(store, each)
    ]
    return [*old_shards(store, manifest, numbers), *lists]


def _is_list(store: Storage, subset: Subset) -> bool:
    """Whether the list of a subset's shards is there, and is one that this command wrote."""
    path = listing_path(subset.name)
    if not store.exists(path):
        return False
    body = store.read(path)
    try:
        files = [ShardFile(*file) for file in json.loads(body)]
        named = all(each.path.startswith(f"{FOLDER}/{subset.name}-") for each in files)
        return bool(files) and named and listing_bytes(files) == body
    except (ValueError, TypeError, AttributeError):
        return False


def _holds_pairs(store: Storage) -> bool:
    """Whether a run wrote there, to its end or not."""
    return holds_prompts(store) and not store.exists(COMPARISON)
