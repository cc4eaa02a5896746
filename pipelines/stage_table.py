"""Which stages a recipe means, and what the corpus-wide ones are made of."""

from collections.abc import Mapping, Sequence

from pipelines.dedup.stage import FindDuplicates
from pipelines.runtime.sidecar import Origin
from pipelines.runtime.stage import MapStage
from pipelines.stages.caption import Caption
from pipelines.stages.crawl import Crawl
from pipelines.stages.ingest import Ingest
from pipelines.stages.measure import Measure
from pipelines.stages.pair import Pair
from pipelines.stages.select import Select
from pipelines.stages.vq_tokens import VqTokens
from schemas.fingerprint import fingerprint
from schemas.recipe import Gpu, Recipe


def stages_before_dedup(recipe: Recipe) -> tuple[MapStage, ...]:
    """Return the stages that see every row."""
    return (
        Ingest(sources=recipe.sources, crawl=recipe.crawl),
        Crawl(sources=recipe.sources, config=recipe.crawl),
        Measure(config=recipe.measure, decode=recipe.decode),
    )


def stages_after_dedup(recipe: Recipe, cutoffs: Mapping[str, str]) -> tuple[MapStage, ...]:
    """Return the stages that see the rows dedup kept; `cutoffs` are of `pipelines.stages.quota`."""
    return (
        Select(rules=recipe.select, cutoffs=dict(cutoffs)),
        Caption(config=recipe.caption),
        Pair(config=recipe.pair),
        VqTokens(config=recipe.vq_tokens, decode=recipe.decode),
    )


def resource_hints(recipe: Recipe, stage: str) -> dict[str, str]:
    """Return what a stage asks of its workers, as Beam's resource hints.

    Only vq_tokens asks for an accelerator, so that a runner that fits machines to hints gives
    GPUs to it alone.
    """
    return gpu_hints(recipe.vq_tokens.gpu) if stage == "vq_tokens" else {}


def gpu_hints(gpu: Gpu | None) -> dict[str, str]:
    """Return the hints that ask for a GPU."""
    if gpu is None:
        return {}
    parts = [f"type:{gpu.type}", f"count:{gpu.count}"]
    parts += [f"machine_type:{gpu.machine_type}"] if gpu.machine_type else []
    # Of the newer drivers that Dataflow has: torch's CUDA does not run on its oldest.
    accelerator = ";".join([*parts, "install-nvidia-driver:5xx"])
    return {"accelerator": accelerator, "min_ram": gpu.min_ram}


def dedup_fingerprint(stage: FindDuplicates, inputs: Mapping[str, Sequence[Origin]]) -> str:
    """Hash all that dedup's side-cars are made of: every shard's input."""
    contents = [[origin.content for origin in inputs[folder]] for folder in stage.inputs]
    return fingerprint(stage.name, stage.version, stage.settings(), contents)


def quotas(recipe: Recipe) -> dict[str, int]:
    """Return the most images of each source that has a limit."""
    return {source.name: source.quota for source in recipe.sources if source.quota}


def cutoffs_path(recipe: Recipe, inputs: Mapping[str, Sequence[Origin]]) -> str:
    """Return the file that holds the quotas' cut-offs for these rules and inputs."""
    rules = [[name, rule.model_dump(mode="json")] for name, rule in recipe.select.items()]
    contents = [origin.content for folder in ("signals", "duplicates") for origin in inputs[folder]]
    return f"selection/quota-{fingerprint(quotas(recipe), rules, contents)}.json"
