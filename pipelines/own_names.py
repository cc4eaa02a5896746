"""The claims of a corpus as they stand, and what each stage of a build has to claim."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.dedup.balance import PATH as BALANCE_PATH
from pipelines.dedup.benchmark_files import LISTS, benchmark_paths
from pipelines.out_folder import RECIPE
from pipelines.report.build_log import LOG, REPORT
from pipelines.runtime.claims import Claims, load_claims, output_keys, sidecar_keys
from pipelines.runtime.ownership import (
    own_footer,
    own_sidecar,
    shard_of,
    surplus,
    surplus_letters,
)
from pipelines.shards.held_out import PATH as HELD_OUT
from pipelines.shards.manifest import MANIFEST, old_shards
from pipelines.shards.write_shard import listing_path, output_number
from pipelines.sources.plan import PLAN, Draft, files_beside, files_of, published_plan
from pipelines.stage_table import STAGES, sidecar_stages
from pipelines.stages.ingest import Ingest
from schemas.keys import shard_name
from schemas.recipe import Recipe
from schemas.store.storage import Storage
from schemas.subsets import T2I, Subset, made_by

BUILT = made_by("build")  # subsets
SINGLE = (RECIPE, LOG, MANIFEST, REPORT, HELD_OUT, *(listing_path(each.name) for each in BUILT))
_LIST = re.compile(r"(benchmark-[A-Za-z0-9_-]+|balance)\.parquet")


def open_claims(store: Storage) -> Claims:
    """Read what a corpus claims; if that was lost, take what plan, manifest and side-cars name."""
    found = load_claims(store)
    return Claims(store, dict(_named(store)) if found is None else found)


def every_sidecar(shards: int) -> dict[str, int]:
    """Return what all stages claim together for so many shards."""
    return {
        key: shards
        for folder, stage in sidecar_stages().items()
        for key in sidecar_keys(folder, stage.name)
    }


def written_folders() -> tuple[str, ...]:
    """Name the folders that a build writes into, the root too."""
    stages = dict.fromkeys((*STAGES, *(subset.shard_stage for subset in BUILT)))
    by_stage = (f"{room}/{stage}" for room in ("dead_letters", ".attempts") for stage in stages)
    return ("", *sidecar_stages(), LISTS, "shards", "exchange", *by_stage)


def surplus_numbers(claims: Claims, shards: int) -> dict[str, range]:
    """Map claimed side-cars and dead letters to their numbers that the plan no longer has."""
    return {key: range(shards, claims.counts.get(key, 0)) for key in every_sidecar(shards)}


def member_key(member: str) -> str:
    """Name the arrays of a member.

    >>> member_key("tokens128.npy")
    'tokens/*.tokens128.npy'
    """
    return f"tokens/*.{member}"


def lists_of(recipe: Recipe) -> list[str]:
    """Return the files that dedup keeps of lists."""
    return [*benchmark_paths(recipe), *([BALANCE_PATH] if recipe.dedup.balance else [])]


def claimed_lists(claims: Claims) -> set[str]:
    """Return the claimed files that dedup keeps of lists."""
    return {key for key in claims.counts if key.startswith(f"{LISTS}/")}


def claim_plan(claims: Claims, draft: Draft) -> None:
    """Claim the files of a plan, and check first that no file of a user is in the way.

    Raises:
        CorpusError: if a file of a user lies there.
    """
    shards = len(draft.units)
    claims.check({**every_sidecar(shards), **draft.new_files()})
    keys = sidecar_keys(Ingest.folder, Ingest.name)
    claims.take({RECIPE: 1, LOG: 1, **dict.fromkeys(keys, shards), **draft.new_files()})


def surplus_files(store: Storage, claims: Claims, shards: int) -> list[str]:
    """List what stages wrote for shards that the plan no longer has."""
    numbers = surplus_numbers(claims, shards)
    stages = sidecar_stages()
    found = surplus(store, {f: numbers[f"{f}/*.parquet"] for f in stages})
    for stage in stages.values():
        found += surplus_letters(store, stage.name, numbers[f"dead_letters/{stage.name}/*.parquet"])
    return [*found, *old_cutoffs(claims)]


def old_cutoffs(claims: Claims) -> list[str]:
    """List the files in which an earlier release kept where quotas end."""
    return sorted(path for path in claims.counts if path.startswith("selection/quota-"))


def output_claims(claims: Claims) -> list[str]:
    """Return the claimed names of output shards, of their lists and of what belongs to them."""
    names = {name for each in BUILT for name in (listing_path(each.name), *output_keys(each))}
    return [key for key in claims.counts if key in {*names, HELD_OUT}]


def output_numbers(claims: Claims) -> dict[str, range]:
    """Map each subset to the claimed numbers of its output shards."""
    return {each.name: range(claims.counts.get(output_keys(each)[0], 0)) for each in BUILT}


def old_outputs_of(store: Storage, claims: Claims, manifest: Mapping[str, Any]) -> list[str]:
    """List what earlier builds wrote of output shards that the manifest does not name."""
    numbers = output_numbers(claims)
    lists = [listing_path(name) for name in numbers if name not in manifest["subsets"]]
    lists += [HELD_OUT] if "held_out" not in manifest else []
    claimed = [path for path in lists if claims.counts.get(path) and store.exists(path)]
    return [*old_shards(store, manifest, numbers), *claimed]


def claimed_members(claims: Claims) -> set[str]:
    """Return the claimed names of arrays of tokens."""
    return {key for key in claims.counts if key.startswith("tokens/*.") and key.endswith(".npy")}


def _named(store: Storage) -> Iterator[tuple[str, int]]:
    plan = published_plan(store)
    shards = sum(len(part["units"]) for part in plan.values())
    files = files_of(plan)
    if not store.exists(PLAN):  # it was lost
        numbers = [
            number
            for name in store.listing("sources")
            if (number := shard_of(name)) is not None and own_sidecar(store, "sources", name)
        ]
        shards = max(numbers, default=-1) + 1
        files = set(files_beside(store)) if shards else set()
    if not shards:
        return
    yield from every_sidecar(shards).items()
    yield from ((file, 1) for file in files)
    for number in range(shards):
        origin = own_sidecar(store, "tokens", f"{shard_name(number)}.parquet")
        for file in origin.files if origin else ():
            yield member_key(file.split(".", 1)[1]), shards
    for name in store.listing(LISTS):
        if _LIST.fullmatch(name) and own_footer(store, f"{LISTS}/{name}") is not None:
            yield f"{LISTS}/{name}", 1
    for subset in BUILT:
        outputs = max(_outputs(store, subset), default=-1) + 1
        yield from ((key, outputs) for key in output_keys(subset) if outputs or subset == T2I)
    yield from ((path, 1) for path in SINGLE if store.exists(path))


def _outputs(store: Storage, subset: Subset) -> Iterator[int]:
    """Yield the numbers of the output shards that the manifest or their list names."""
    for path in (MANIFEST, listing_path(subset.name)):
        for name in re.findall(rf"shards/{subset.name}-\d{{6,}}\.tar", _text(store, path)):
            yield output_number(name)


def _text(store: Storage, path: str) -> str:
    return store.read(path).decode(errors="replace") if store.exists(path) else ""
