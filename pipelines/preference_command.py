"""Options of `vargpt-corpus preferences` to a job, and what it prints at its end."""

import argparse
from typing import Any

from model.data.manifest import Source
from model.preferences.scorers import ScorerError, ScorerPlan
from model.tokenizers.checkpoint import CheckpointError
from model.vargpt.folder import folder_sha256, read_images
from model.vargpt.sampling import Sampling
from pipelines.engine import Engine
from pipelines.engine_profile import load_profile
from pipelines.preference_job import Asked, PreferenceJob
from pipelines.preference_tools import ToolsPlan
from pipelines.preferences import MakePreferences
from pipelines.stages import gpu_hints
from pipelines.storage import CorpusError
from schemas.recipe import Decode, Gpu
from schemas.recipe import Shard as ShardRecipe


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--model", required=True, metavar="DIR", help="folder of a trained model")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--prompts", metavar="FILE", help="prompts: .txt, .jsonl or .csv")
    asked.add_argument("--corpus", metavar="OUT", help="take prompts and images of a corpus")
    parser.add_argument("--subset", choices=("t2i", "edit"), default="t2i", help="of the corpus")
    parser.add_argument(
        "--held-out",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="of the corpus, by the hash of keys (default: 0.01)",
    )
    parser.add_argument("--out", required=True, metavar="URL", help="folder of the pairs")
    parser.add_argument(
        "--pairs",
        choices=("paper", "scored"),
        default="scored",
        help="paper: the prompt's own image over the model's; scored: the model's best over its "
        "worst (default)",
    )
    parser.add_argument(
        "--scorer", metavar="NAME", help="clip, aesthetic, or MODULE:NAME of any callable"
    )
    parser.add_argument("--clip-model", default="ViT-L-14", help="as open_clip names it")
    parser.add_argument("--clip-weights", default="", help="a tag of open_clip's, or a file")
    parser.add_argument("--aesthetic-head", default="", metavar="FILE", help="of the predictor")
    parser.add_argument("--samples", type=int, metavar="K", help="images a prompt (default: 4; 1)")
    parser.add_argument("--margin", type=float, default=0.0, help="least difference of scores")
    defaults = Sampling()
    parser.add_argument("--cfg", type=float, default=defaults.guidance, help="guidance")
    parser.add_argument("--tau", type=float, default=defaults.temperature, help="temperature")
    parser.add_argument("--top-k", type=int, default=defaults.top_k, help="of each bit or index")
    parser.add_argument("--top-p", type=float, default=defaults.top_p, help="of each bit or index")
    parser.add_argument("--batch", type=int, default=16, help="images drawn at once")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--prompts-per-shard", type=int, default=512, metavar="N")
    parser.add_argument("--max-dead", type=float, default=0.05, metavar="SHARE")
    parser.add_argument("--gpu", metavar="TYPE", help="ask the runner for one, e.g. nvidia-l4")
    parser.add_argument("--engine", default="local", metavar="NAME")
    parser.add_argument("--processes", type=int, metavar="N")


def run(options: argparse.Namespace) -> int:
    """Make pairs, and print what came of the prompts.

    Raises:
        CorpusError: options that do not go together, or as the job raises it.
    """
    try:
        job = _job(options)
    except (CheckpointError, ScorerError, ValueError) as error:
        raise CorpusError(str(error)) from error
    _print(job.run(options.out), options.out)
    return 0


def _job(options: argparse.Namespace) -> PreferenceJob:
    images = read_images(options.model)
    scorer = _scorer(options)
    samples = options.samples or (4 if scorer else 1)
    _check(options, samples)
    plan = ToolsPlan(
        model=options.model,
        model_sha256=folder_sha256(options.model),
        sampling=Sampling(
            guidance=options.cfg,
            temperature=options.tau,
            top_k=options.top_k,
            top_p=options.top_p,
        ),
        scorer=scorer,
        dtype=options.dtype,
    )
    stage = MakePreferences(
        tools=plan,
        pairs=options.pairs,
        samples=samples,
        margin=options.margin,
        batch=options.batch,
        subset="preference",
        member=f"tokens{images.resolution}.npy",
        shard=ShardRecipe(),
        decode=Decode(),
    )
    corpus = Source(url=options.corpus, subset=options.subset) if options.corpus else None
    return PreferenceJob(
        asked=Asked(
            prompts=options.prompts or "",
            corpus=corpus,
            held_out=options.held_out,
            per_shard=options.prompts_per_shard,
        ),
        stage=stage,
        images=images,
        engine=Engine(
            profile=load_profile(options.engine),
            beam_options=options.beam_options,
            processes=options.processes,
        ),
        hints=gpu_hints(Gpu(type=options.gpu) if options.gpu else None),
        max_dead=options.max_dead,
    )


def _scorer(options: argparse.Namespace) -> ScorerPlan | None:
    if not options.scorer:
        return None
    if options.scorer not in ("clip", "aesthetic"):
        return ScorerPlan(kind=options.scorer)
    return ScorerPlan(
        kind=options.scorer,
        clip_model=options.clip_model,
        clip_weights=options.clip_weights,
        head=options.aesthetic_head,
    ).pinned()


def _check(options: argparse.Namespace, samples: int) -> None:
    if options.pairs == "scored" and (not options.scorer or samples < 2):
        raise ValueError("--pairs scored needs a --scorer, and --samples of 2 or more")
    if not options.scorer and samples != 1:
        raise ValueError(f"--samples {samples} without a --scorer: only one would be used")
    if min(samples, options.batch, options.prompts_per_shard) < 1 or not options.margin >= 0:
        raise ValueError(
            "--samples, --batch, --prompts-per-shard are 1 or more, --margin 0 or more"
        )


def _print(manifest: dict[str, Any], out: str) -> None:
    for line in manifest["funnel"]:
        print(f"{line['stage']:<12}{line['rows_in']:>10,} in{line['kept']:>10,} kept")
        for door in ("dropped", "dead"):
            for reason, rows in sorted(line[door].items()):
                print(f"    {door:<8}{reason:<32}{rows:>8,}")
    for name, subset in manifest["subsets"].items():
        print(f"{name}: {subset['samples']:,} pairs in {len(subset['shards']):,} shards of {out}")
