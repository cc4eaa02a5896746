"""The preferences command: turn its options into a job, run it, and print the funnel."""

import argparse
from typing import Any

from model.data.manifest import Source
from model.preferences.scorers import ScorerPlan, scorer_plan
from model.training.trained import trained_images, trained_sha256
from model.vargpt.sampling import Sampling
from pipelines.engines.engine import Engine
from pipelines.preferences.job import PreferenceJob, PromptSource
from pipelines.preferences.stage import MakePreferences
from pipelines.preferences.tools import ToolsPlan
from schemas.recipe import DecodeConfig, ShardConfig
from schemas.sections import Gpu
from schemas.store.errors import SettingsError
from schemas.store.storage import absolute
from schemas.subsets import PREFERENCE


def run(options: argparse.Namespace) -> int:
    """Make pairs, and print the funnel.

    Raises:
        UserError: options that contradict each other, or an error of the job.
    """
    _print(_job(options).run(options.out, force_unlock=options.force_unlock), options.out)
    return 0


def _job(options: argparse.Namespace) -> PreferenceJob:
    images = trained_images(options.model)
    scorer = scorer_of(options)
    samples = options.samples or (4 if scorer else 1)
    _check(options, samples)
    plan = ToolsPlan(
        model=absolute(options.model),
        model_sha256=trained_sha256(options.model),
        sampling=sampling_of(options),
        scorer=scorer,
        dtype=options.dtype,
    )
    stage = MakePreferences(
        tools=plan,
        pairs=options.pairs,
        samples=samples,
        margin=options.margin,
        batch=options.batch,
        subset=PREFERENCE,
        member=f"tokens{images.resolution}.npy",
        shard=ShardConfig(),
        decode=DecodeConfig(),
        gpu=Gpu(type=options.gpu) if options.gpu else None,
    )
    corpus = Source(url=options.corpus, subset=options.subset) if options.corpus else None
    return PreferenceJob(
        source=PromptSource(
            prompts=options.prompts or "",
            corpus=corpus,
            held_out=options.held_out,
            per_shard=options.prompts_per_shard,
        ),
        stage=stage,
        images=images,
        engine=Engine.of(options),
        max_failed=options.max_failed,
    )


def sampling_of(options: argparse.Namespace) -> Sampling:
    """Return the sampling settings of the options."""
    return Sampling(
        guidance=options.cfg, temperature=options.tau, top_k=options.top_k, top_p=options.top_p
    )


def scorer_of(options: argparse.Namespace) -> ScorerPlan | None:
    """Return the scorer of the options; None without `--scorer`."""
    if not options.scorer:
        return None
    return scorer_plan(
        options.scorer,
        clip_model=options.clip_model,
        clip_weights=options.clip_weights,
        head=options.aesthetic_head,
    ).pinned()


def _check(options: argparse.Namespace, samples: int) -> None:
    if options.pairs == "scored" and (not options.scorer or samples < 2):
        raise SettingsError("--pairs scored needs a --scorer, and --samples of 2 or more")
    if not options.scorer and samples != 1:
        raise SettingsError(
            f"--samples {samples} needs a --scorer: without one, one image a prompt is used"
        )
    if min(samples, options.batch, options.prompts_per_shard) < 1 or not options.margin >= 0:
        raise SettingsError(
            "--samples, --batch, --prompts-per-shard are 1 or more, --margin 0 or more"
        )


def _print(manifest: dict[str, Any], out: str) -> None:
    for line in manifest["funnel"]:
        print(f"{line['stage']:<12}{line['rows_in']:>10,} in{line['kept']:>10,} kept")
        for outcome in ("dropped", "failed"):
            for reason, rows in sorted(line[outcome].items()):
                print(f"    {outcome:<8}{reason:<32}{rows:>8,}")
    for name, subset in manifest["subsets"].items():
        print(f"{name}: {subset['samples']:,} pairs in {len(subset['shards']):,} shards of {out}")
