"""The preferences job: turn prompts into shards of pairs, and write their manifest."""

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
from pipelines.report.funnel import in_words
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

MOST_SHARDS = 1_000_000  # names of output shards have six digits

# Folders that the command writes into, with the root.
WRITTEN = (
    *("", STAGE, MakePreferences.folder, FOLDER),
    *(f"dead_letters/{stage}" for stage in (STAGE, MakePreferences.name)),
    f".attempts/{MakePreferences.name}",
)


@dataclass(frozen=True, kw_only=True)
class PromptSource:
    """The file or the corpus that prompts are read from."""

    prompts: str = ""  # URL of a file of prompts; "" to read a corpus
    corpus: Source | None = None
    held_out: float = 0.01  # share of the corpus
    per_shard: int = 512  # prompts a shard

    def rows(self, member: str) -> Iterator[PromptRow | BadPrompt]:
        """Yield the prompts, and an error for each unusable one."""
        if self.corpus is None:
            return read_prompts(self.prompts)
        return held_out(self.corpus, member, self.held_out)


@dataclass(frozen=True, kw_only=True)
class PreferenceJob:
    """One run of the command: the prompts, and how pairs are made from them."""

    source: PromptSource
    stage: MakePreferences  # its subset follows from the prompts
    images: ImageTokenizer  # the image tokenizer of the model
    engine: Engine
    max_failed: float  # share of failed prompts above which the run fails

    def run(self, out: str, *, force_unlock: bool = False) -> dict[str, Any]:
        """Make pairs, or resume a killed run; return the manifest.

        Raises:
            UserError: another command holds the folder, it holds a corpus, prompts or tokenizer
                do not fit, or too many prompts failed.
        """
        store = own_folder(out, "folder of pairs", _holds_pairs)
        with build_lock(store, force_unlock=force_unlock), self.engine.started(store):
            store.sweep(WRITTEN)
            tokenizer = self._tokenizer()
            prompts = write_prompts(
                self.source.rows(self.stage.member),
                store,
                per_shard=self.source.per_shard,
                need_given=self.stage.pairs == "paper",
            )
            _remove_surplus(store, prompts.shards)
            stage = replace(self.stage, subset=prompts.subset)
            self._map(stage, store, prompts.shards)
            return self._finish(stage, store, prompts, tokenizer)

    def _tokenizer(self) -> NetworkTokenizer:
        """Load the model's image tokenizer, and check that it made the codes of the corpus."""
        tokenizer = self.images.load()
        if self.source.corpus and self.stage.pairs == "paper":
            manifest = read_manifest(self.source.corpus.url)
            codes, _ = token_members(self.source.corpus, manifest, self.stage.member)
            check_tokenizer(codes, self.source.corpus, tokenizer)
        return tokenizer

    def _map(self, stage: MakePreferences, store: Storage, shards: int) -> None:
        _remove_without_output(stage, store)
        todo = shards_to_do([stage], store, shards)
        CONSOLE.info("%s: %s of %s shards to do", stage.name, len(todo), shards)
        if todo:
            # New shards would not fit the old manifest; the new one is written at the end.
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
            f"see {dead_letters_path(stage, 0)} and the files after it"
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
            raise CorpusError(in_words([(STAGE, prompts.counts), (stage.name, made)]))
        files = _shard_files(stage.subset, store, origins)
        aspects = aspects_of(store, prompts.shards)
        tokens = [_token_line(stage.member, self.images, tokenizer, aspects)]
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
    """Return the aspect ratios of the pairs in the side-cars, sorted."""
    found: set[float] = set()
    for shard in range(shards):
        made = read_table(store, sidecar_path(MakePreferences.folder, shard), ["key"])
        prompts = read_table(store, sidecar_path(STAGE, shard), ["key", "aspect"])
        found.update(column(prompts.filter(pc.is_in(prompts["key"], made["key"])), "aspect"))
    return sorted(found)


def _remove_surplus(store: Storage, shards: int) -> None:
    """Remove side-cars and dead letters with numbers from `shards` on: left by an earlier run."""
    beyond = range(shards, MOST_SHARDS)
    old = surplus(store, dict.fromkeys((STAGE, MakePreferences.folder), beyond))
    old += surplus_letters(store, MakePreferences.name, beyond)
    for path in old:
        store.remove(path)


def _remove_without_output(stage: MakePreferences, store: Storage) -> None:
    """Remove side-cars whose output shard or index is missing, so that they are made again."""
    there = store.listing(FOLDER)
    for name in store.listing(stage.folder):
        number, origin = shard_of(name), own_sidecar(store, stage.folder, name)
        if number is None or origin is None or not origin.counts.kept:
            continue
        output = output_name(stage.subset.name, number)
        if not {f"{output}.tar", f"{output}.parquet"} <= there.keys():
            store.remove(f"{stage.folder}/{name}")


def _token_line(
    member: str, images: ImageTokenizer, tokenizer: NetworkTokenizer, aspects: Sequence[float]
) -> dict[str, Any]:
    """Return the manifest's line of the codes in `chosen.MEMBER` and `rejected.MEMBER`."""
    from model.tokenizers.sizes import PRESETS, schedule_of

    config = PRESETS[images.tokenizer][images.preset]
    tokenizers = {
        aspect: tokenizer.with_schedule(schedule_of(config, images.resolution, aspect))
        for aspect in aspects
    }
    return {
        "member": member,
        "kind": "codes",
        "resolution": images.resolution,
        "views": 1,
        "crop": CROP,
        "image_sizes": {str(a): "{}x{}".format(*t.image_size) for a, t in tokenizers.items()},
        "schedules": {str(a): schedule_text(t.schedule) for a, t in tokenizers.items()},
        **tokenizer.describe(),
    }


def _shard_files(subset: Subset, store: Storage, made: Sequence[Origin]) -> list[ShardFile]:
    """Return the output shards by their indexes; a shard without pairs has no file."""
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
    """Return shards that the manifest does not name, and lists of shards of other subsets."""
    subsets = made_by("preferences")
    # Every number: an earlier run may have had more prompts.
    numbers = {each.name: range(MOST_SHARDS) for each in subsets}
    lists = [
        listing_path(each.name) for each in subsets if each != subset and _is_list(store, each)
    ]
    return [*old_shards(store, manifest, numbers), *lists]


def _is_list(store: Storage, subset: Subset) -> bool:
    """Return whether a subset's list of shards is there and was written by this command."""
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
    """Return whether a run of this command wrote to a folder, finished or not."""
    folder = MakePreferences.folder
    made = any(own_sidecar(store, folder, name) for name in store.listing(folder))
    return (made or holds_prompts(store)) and not store.exists(COMPARISON)
