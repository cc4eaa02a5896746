"""The command line. Nothing heavy is imported before a command needs it."""

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from functools import partial

from pipelines.preference_options import add_compare, add_export, add_preferences
from pipelines.verify_command import add_verify

STAGE_HELP = """\
stages of a build, in order:
  ingest     read lists of samples; every row gets its key
  crawl      fetch the bytes of every URL, or note where they lie
  measure    decode every image once; store signals, not verdicts
  dedup      find repeated URLs, equal bytes and near-duplicates
  select     apply the recipe's rules and quotas to the stored signals
  caption    choose the words of every kept row
  pair       turn captions into user/assistant instructions
  vq_tokens  turn kept images into multi-scale VQ codes
  shard      write WebDataset tars, their indexes and the manifest
  report     write report.html: funnel, histograms, samples, rejects

A stage runs again only where its part of the recipe or its input has changed.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 0 done, 1 a fault the user can mend, 2 usage."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    mark = given.index("--") if "--" in given else len(given)
    parser = _parser()
    options = parser.parse_args(given[:mark])
    options.beam_options = tuple(given[mark + 1 :])
    options.given = given
    if options.beam_options and options.command not in ("build", "preferences"):
        parser.error("only build and preferences take Beam options after --")
    logging.basicConfig(level=logging.CRITICAL)
    from pipelines.storage import CorpusError
    from schemas.recipe_file import RecipeError

    try:
        return {
            "build": _build,
            "verify": _verify,
            "recipe": _recipe,
            "engines": _engines,
            "train-tokenizer": partial(_run_of, "pipelines.train_tokenizer"),
            "preferences": partial(_run_of, "pipelines.preference_command"),
            "compare": partial(_run_of, "pipelines.compare"),
            "export": _export,
            "train": partial(_run_of, "pipelines.train"),
        }[options.command](options)
    except (CorpusError, RecipeError) as error:
        print(f"vargpt-corpus: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno is None:
            raise
        print(f"vargpt-corpus: {error}; nothing committed is lost", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("vargpt-corpus: stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vargpt-corpus",
        description="Build corpora of images, instructions and VQ tokens from lists of URLs.",
        epilog=STAGE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    build = commands.add_parser(
        "build",
        help="build a corpus from a recipe, or bring one up to date",
        usage="vargpt-corpus build RECIPE --out URL [options] [-- BEAM OPTIONS]",
        epilog="Options after -- go to Beam and win over those of the engine's profile.",
    )
    build.add_argument("recipe", metavar="RECIPE", help="YAML file, any fsspec URL")
    build.add_argument("--out", required=True, metavar="URL", help="folder of the corpus")
    build.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        dest="overrides",
        help="change a value of the recipe, e.g. select.short_side.min=384",
    )
    build.add_argument(
        "--engine", default="local", metavar="NAME", help="one of `vargpt-corpus engines`"
    )
    build.add_argument(
        "--retry-dead",
        action="append",
        default=[],
        choices=("crawl", "measure", "vq_tokens"),
        help="try rows again that died there of what may pass: an outage, a time-out, a killed "
        "worker; may be given several times",
    )
    build.add_argument(
        "--processes", type=int, metavar="N", help="worker processes here (default: one a core)"
    )
    commands.add_parser("engines", help="list where a build can run, and what each needs")
    verify = commands.add_parser("verify", help="re-read a corpus and report every fault")
    add_verify(verify)
    recipe = commands.add_parser("recipe", help="check a recipe and print it with all defaults")
    recipe.add_argument("recipe", metavar="RECIPE")
    recipe.add_argument(
        "--set", action="append", default=[], dest="overrides", metavar="PATH=VALUE"
    )
    train = commands.add_parser(
        "train-tokenizer",
        help="train a tokenizer on folders or shards of images",
        epilog="Killed, the same command goes on from the last state in DIR.",
    )
    train.add_argument("kind", choices=("infinity_bsq", "var_vqvae"))
    train.add_argument(
        "--data",
        action="append",
        required=True,
        metavar="URL",
        help="folder of images or shards, or files with *; may be given several times",
    )
    train.add_argument("--out", required=True, metavar="DIR", help="local folder")
    train.add_argument("--preset", default="bundled", help="size (default: bundled)")
    train.add_argument(
        "--phase",
        action="append",
        dest="phases",
        metavar="SIDExBATCH:STEPS",
        help="stretch of training (default: 128x4:4000, then 256x1:600)",
    )
    train.add_argument("--lr", type=float, default=1e-3, help="highest (default: 0.001)")
    train.add_argument("--seed", type=int, default=0, help="of the first weights")
    train.add_argument(
        "--held-out",
        type=float,
        default=0.02,
        metavar="SHARE",
        help="of the images, by the hash of their names, for the figures (default: 0.02)",
    )
    train.add_argument("--threads", type=int, help="of torch on a CPU (default: its own choice)")
    train.add_argument("--device", help="as torch names it (default: cuda if there is one)")
    train.add_argument(
        "--perceptual",
        metavar="MODULE:NAME",
        help="further loss: any importable callable of (images, images) in [-1, 1] to a scalar",
    )
    train.add_argument("--describe-data", default="", metavar="TEXT", help="for the card")
    train.add_argument("--licence", default="not stated", metavar="TEXT", help="for the card")
    _add_train(commands)
    add_preferences(
        commands.add_parser(
            "preferences",
            help="draw images of prompts with a model, and make pairs to prefer one of",
            usage="vargpt-corpus preferences --model DIR --out URL [options] [-- BEAM OPTIONS]",
            epilog="Killed, the same command goes on after the last shard that was written.",
        )
    )
    add_compare(
        commands.add_parser(
            "compare",
            help="draw held-out prompts with two models, and say whether the second is better",
        )
    )
    add_export(
        commands.add_parser(
            "export", help="write samples or pairs as the published training code reads them"
        )
    )
    return parser


def _add_train(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    train = commands.add_parser(
        "train",
        help="train a VARGPT on built corpora, stage by stage",
        epilog="Killed, the same command goes on from the last checkpoint in DIR. Several GPUs: "
        "torchrun --nproc-per-node N -m pipelines train ...",
    )
    train.add_argument(
        "stage",
        metavar="STAGE",
        help="pretrain, understand, sft256, dpo256, sft512, dpo512 or edit; or demo, emoji, "
        "emoji_dpo",
    )
    train.add_argument(
        "--data",
        action="append",
        required=True,
        metavar="URL[:WEIGHT]",
        help="OUT of a build; may be given several times",
    )
    train.add_argument("--out", required=True, metavar="DIR", help="local folder")
    train.add_argument(
        "--size", help="of the model: tiny, mini, small or v1_1 (default: that of --init)"
    )
    train.add_argument("--steps", type=int, metavar="N", help="in place of the recipe's")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="change a value of the recipe, e.g. batch=8",
    )
    train.add_argument(
        "--prompts", metavar="FILE", help="what to draw on the way: a line each, 16 at most"
    )
    train.add_argument(
        "--init", metavar="DIR", help="training whose weights come first: the stage before"
    )
    train.add_argument("--threads", type=int, help="of torch on a CPU (default: its own choice)")
    train.add_argument("--device", help="as torch names it (default: cuda if there is one)")


def _run_of(module: str, options: argparse.Namespace) -> int:
    """Call `run` of a module that needs the extra `train`."""
    from pipelines.storage import CorpusError

    try:
        run = importlib.import_module(module).run
    except ModuleNotFoundError as error:
        raise CorpusError(f"{error}; pip install 'vargpt-corpus[train]'") from error
    return run(options)


def _export(options: argparse.Namespace) -> int:
    from pathlib import Path

    from model.data.manifest import DataError
    from model.preferences.export import export
    from pipelines.storage import CorpusError

    try:
        for name, records in export(options.corpus, options.format, Path(options.to)).items():
            print(f"{options.to}/{name}: {records:,} records")
    except DataError as error:
        raise CorpusError(str(error)) from error
    return 0


def _build(options: argparse.Namespace) -> int:
    from pipelines.build import build
    from pipelines.engine import Engine
    from pipelines.funnel import print_funnel
    from schemas.recipe_file import load_recipe

    recipe = load_recipe(options.recipe, options.overrides)
    manifest = build(recipe, options.out, Engine.of(options), retry_dead=options.retry_dead)
    print_funnel(manifest, options.out)
    return 0


def _verify(options: argparse.Namespace) -> int:
    from pipelines.verify_command import run

    return run(options)


def _engines(options: argparse.Namespace) -> int:
    from pipelines.engine_profile import engine_names, load_profile

    for profile in map(load_profile, engine_names()):
        missing = profile.missing(profile.arguments(processes=1))
        print(f"{profile.name:<10}{'needs:' if missing else 'ready':<8}{profile.about}")
        for line in missing:
            print(f"{'':<18}- {line}")
    return 0


def _recipe(options: argparse.Namespace) -> int:
    from schemas.recipe_file import dump_recipe, load_recipe

    print(dump_recipe(load_recipe(options.recipe, options.overrides)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
