"""Options of the preference commands; a separate file, so that --help is fast."""

import argparse
import os.path

from pipelines.cli.build import add_engine, add_force_unlock, add_loudness
from pipelines.cli.option_types import place, positive
from schemas.subsets import SUBSETS, T2I


def add_preferences(parser: argparse.ArgumentParser) -> None:
    """Add the options of `preferences`; the defaults of sampling are the released code's."""
    parser.add_argument(
        "--model", required=True, type=place, metavar="DIR", help="of a training, or a saved model"
    )
    prompts = parser.add_mutually_exclusive_group(required=True)
    prompts.add_argument(
        "--prompts", type=place, metavar="FILE", help="prompts: .txt, .jsonl or .csv"
    )
    prompts.add_argument(
        "--corpus", type=place, metavar="OUT", help="take prompts and images of a corpus"
    )
    parser.add_argument(
        "--subset",
        choices=[each.name for each in SUBSETS.values() if each.gives_prompts],
        default=T2I.name,
        help="of the corpus",
    )
    parser.add_argument(
        "--held-out",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="of the corpus, by the hash of keys (default: 0.01)",
    )
    parser.add_argument(
        "--out", required=True, type=place, metavar="URL", help="folder of the pairs"
    )
    parser.add_argument(
        "--pairs",
        choices=("paper", "scored"),
        default="scored",
        help="paper: the prompt's own image over the model's; scored: the model's best over its "
        "worst (default)",
    )
    _add_scorer(parser)
    parser.add_argument(
        "--samples",
        type=positive,
        metavar="K",
        help="images per prompt (default: 4, or 1 without a scorer)",
    )
    parser.add_argument("--margin", type=float, default=0.0, help="least difference of scores")
    _add_sampling(parser)
    parser.add_argument(
        "--prompts-per-shard", type=positive, default=512, metavar="N", help="(default: 512)"
    )
    parser.add_argument(
        "--max-failed",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="of the prompts; with more failures the command fails (default: 0.05)",
    )
    parser.add_argument(
        "--gpu",
        metavar="TYPE",
        help="request a GPU from the runner, e.g. nvidia-l4; a worker without one is an error",
    )
    add_engine(parser)
    add_force_unlock(parser)
    add_loudness(parser)


def add_compare(parser: argparse.ArgumentParser) -> None:
    """Add the options of `compare`."""
    parser.add_argument(
        "before", type=place, metavar="BEFORE", help="a training's DIR, or a saved model"
    )
    parser.add_argument("after", type=place, metavar="AFTER", help="likewise, the other model")
    parser.add_argument(
        "--prompts",
        required=True,
        type=place,
        metavar="FILE",
        help="held-out prompts: .txt, .jsonl or .csv",
    )
    parser.add_argument("--out", required=True, type=place, metavar="DIR", help="local folder")
    _add_scorer(parser, required=True)
    parser.add_argument(
        "--samples", type=positive, default=4, metavar="K", help="images per prompt (default: 4)"
    )
    parser.add_argument(
        "--confidence", type=float, default=0.95, help="of the interval (default: 0.95)"
    )
    _add_sampling(parser)
    add_force_unlock(parser)


def _add_scorer(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    parser.add_argument(
        "--scorer",
        required=required,
        metavar="NAME",
        help="clip, aesthetic, or MODULE:NAME of any callable",
    )
    parser.add_argument(
        "--clip-model",
        default="ViT-L-14",
        help="open_clip's name, or bundled for the small one of this package",
    )
    parser.add_argument(
        "--clip-weights",
        default="",
        type=os.path.expanduser,
        help="an open_clip tag, or a file",
    )
    parser.add_argument(
        "--aesthetic-head",
        default="",
        type=os.path.expanduser,
        metavar="FILE",
        help="of the predictor",
    )


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cfg", type=float, default=3.0, help="guidance (default: 3)")
    parser.add_argument("--tau", type=float, default=0.5, help="temperature (default: 0.5)")
    parser.add_argument("--top-k", type=positive, default=900, help="of an element (default: 900)")
    parser.add_argument("--top-p", type=float, default=0.97, help="of an element (default: 0.97)")
    parser.add_argument("--batch", type=positive, default=16, help="images per batch (default: 16)")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the weights (default: float32)",
    )
