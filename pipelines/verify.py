"""verify: re-read everything and say in a line each what is not as it was made.

Side-cars are checked shard by shard against the recipe that lies beside them, output shards
against the manifest. A key belongs to exactly one output shard by its hash, so keys are unique
over the corpus if each stands once in the shard it belongs to: no check needs all keys at once.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

from pipelines.build import RECIPE, SIDECAR_FOLDERS
from pipelines.dedup import FindDuplicates
from pipelines.local_pool import local_pool, run_each
from pipelines.manifest import MANIFEST, SUBSET, inputs_fingerprint
from pipelines.plan import read_plan
from pipelines.shard import output_shard_count
from pipelines.sidecar import Counts, Origin, read_origins
from pipelines.stages import (
    cutoffs_path,
    dedup_fingerprint,
    quotas,
    stages_after_dedup,
    stages_before_dedup,
)
from pipelines.storage import CorpusError, Storage
from pipelines.verify_shard import CheckShard
from pipelines.verify_sidecars import CheckSidecars, Findings
from schemas.recipe import Recipe
from schemas.recipe_file import RecipeError, load_recipe
from schemas.sample import CONTRACT_VERSION


def verify(store: Storage, *, processes: int = 1) -> list[str]:
    """Check a whole corpus; return a line a fault, none if it is sound.

    Every byte is read once: raw tars, arrays of codes, side-cars and output shards.
    """
    try:
        manifest = json.loads(store.read(MANIFEST))
        recipe = load_recipe(store.fs.unstrip_protocol(store.locate(RECIPE)[1]))
        shards = range(len(read_plan(store)))
        origins = {folder: read_origins(store, folder, shards) for folder in SIDECAR_FOLDERS}
        checks = _checks(recipe, manifest, store, origins)
    except FileNotFoundError as error:
        return [f"{store.root}: {error}; no finished build lies here"]
    except (CorpusError, RecipeError) as error:
        return str(error).splitlines()
    except (ValueError, KeyError, TypeError) as error:
        return [f"{store.root}: manifest or plan is damaged: {error!r}"]
    with local_pool(processes):
        made = _sum(run_each(checks[0], shards))
        found = _sum(run_each(checks[1], manifest["subsets"][SUBSET]["shards"]))
    faults = _manifest_faults(recipe, manifest, origins) + made.faults + found.faults
    if (made.samples, made.key_sum) != (found.samples, found.key_sum):
        faults.append(
            f"{store.root}: shards hold {found.samples:,} samples, of {made.samples:,} that have "
            "a pair and tokens, or not the same ones"
        )
    return faults


def _checks(
    recipe: Recipe, manifest: Any, store: Storage, origins: Mapping[str, Sequence[Origin]]
) -> tuple[CheckSidecars, CheckShard]:
    limits = quotas(recipe)
    cutoffs = json.loads(store.read(cutoffs_path(recipe, origins))) if limits else {}
    sidecars = CheckSidecars(
        store=store,
        stages=(*stages_before_dedup(recipe), *stages_after_dedup(recipe, cutoffs)),
        dedup_fingerprint=dedup_fingerprint(FindDuplicates(recipe=recipe.dedup), origins),
    )
    tokens = sum(origin.counts.kept for origin in origins["tokens"])
    shard = CheckShard(
        store=store,
        recipe=recipe,
        recipe_fingerprint=recipe.fingerprint(),
        output_shards=output_shard_count(tokens, recipe.shard.samples),
        tokens=manifest["tokens"],
    )
    return sidecars, shard


def _sum(findings: Iterable[Findings]) -> Findings:
    return reduce(add, findings, Findings())


def _manifest_faults(
    recipe: Recipe, manifest: Mapping[str, Any], origins: Mapping[str, Sequence[Origin]]
) -> list[str]:
    wanted = {
        "contract": CONTRACT_VERSION,
        "recipe": recipe.fingerprint(),
        "inputs": inputs_fingerprint(recipe, origins),
    }
    faults = [
        f"{MANIFEST}: {name} is {manifest.get(name)!r}, the corpus beside it says {value!r}"
        for name, value in wanted.items()
        if manifest.get(name) != value
    ]
    for folder in SIDECAR_FOLDERS:
        total = reduce(add, (origin.counts for origin in origins[folder]), Counts())
        line = next(
            (line for line in manifest["funnel"] if line["stage"] == origins[folder][0].stage), {}
        )
        doors = {"rows_in": total.rows_in, "kept": total.kept}
        doors |= {"dropped": dict(total.dropped), "dead": dict(total.dead)}
        faults += [
            f"{MANIFEST}: funnel says {line.get(door)!r} {door} for {folder}, side-cars {rows!r}"
            for door, rows in doors.items()
            if line.get(door) != rows
        ]
    return faults
