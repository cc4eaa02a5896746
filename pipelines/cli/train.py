"""Options of the training commands; a separate file, so that --help is fast."""

import argparse

from pipelines.cli.build import add_force_unlock
from pipelines.cli.option_types import place, positive

STAGES = (
    *("pretrain", "understand", "sft256", "dpo256", "sft512", "dpo512", "edit"),
    *("demo", "emoji", "emoji_dpo"),
)


def add_train_tokenizer(parser: argparse.ArgumentParser) -> None:
    """Add the options of `train-tokenizer`."""
    parser.epilog = "After a kill, the same command resumes from the last state in DIR."
    parser.add_argument("kind", choices=("infinity_bsq", "var_vqvae"))
    parser.add_argument(
        "--data",
        action="append",
        required=True,
        type=place,
        metavar="URL",
        help="folder of images or shards, or files with *; may be repeated",
    )
    parser.add_argument("--out", required=True, type=place, metavar="DIR", help="local folder")
    parser.add_argument("--preset", default="bundled", help="size (default: bundled)")
    parser.add_argument(
        "--phase",
        action="append",
        dest="phases",
        metavar="SIDExBATCH:STEPS",
        help="part of the training; may be repeated (default: 128x4:4000, then 256x1:600)",
    )
    parser.add_argument("--lr", type=float, default=1e-3, help="highest (default: 0.001)")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights")
    parser.add_argument(
        "--held-out",
        type=float,
        default=0.02,
        metavar="SHARE",
        help="of the images, by the hash of their names, for the figures (default: 0.02)",
    )
    _add_machine(parser)
    parser.add_argument(
        "--perceptual",
        metavar="MODULE:NAME",
        help="further loss: any importable callable of (images, images) in [-1, 1] to a scalar",
    )
    _add_card(parser)


def add_train_clip(parser: argparse.ArgumentParser) -> None:
    """Add the options of `train-clip`."""
    parser.epilog = "After a kill, the same command resumes from the last state in DIR."
    _add_lists(parser)
    parser.add_argument("--out", required=True, type=place, metavar="DIR", help="local folder")
    parser.add_argument(
        "--steps", type=positive, default=700, metavar="N", help="of both towers (default: 700)"
    )
    parser.add_argument(
        "--batch", type=positive, default=256, help="images per step (default: 256)"
    )
    parser.add_argument("--lr", type=float, default=1e-3, help="highest (default: 0.001)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order (default: 0)")
    parser.add_argument(
        "--held-out",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="of the groups of similar images, for the figures (default: 0.1)",
    )
    parser.add_argument(
        "--teacher",
        default="",
        metavar="DIR",
        help="sentence encoder that teaches the text tower English; only training reads it",
    )
    parser.add_argument(
        "--text-steps",
        type=positive,
        default=2400,
        metavar="N",
        help="of the text tower alone, with a teacher (default: 2400)",
    )
    parser.add_argument("--describe-teacher", default="", metavar="TEXT", help="for the card")
    parser.add_argument("--threads", type=positive, help="of torch (default: its own choice)")
    add_force_unlock(parser)
    _add_card(parser)


def add_train_captioner(parser: argparse.ArgumentParser) -> None:
    """Add the options of `train-captioner`."""
    parser.epilog = "After a kill, the same command resumes from the last state in DIR."
    _add_lists(parser)
    parser.add_argument("--out", required=True, type=place, metavar="DIR", help="local folder")
    parser.add_argument("--steps", type=positive, default=2400, metavar="N", help="(default: 2400)")
    parser.add_argument("--batch", type=positive, default=64, help="images per step (default: 64)")
    parser.add_argument("--lr", type=float, default=1e-3, help="highest (default: 0.001)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order (default: 0)")
    parser.add_argument(
        "--held-out",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="of the groups of similar images, as in the training of the CLIP (default: 0.1)",
    )
    parser.add_argument(
        "--clip",
        default="bundled",
        metavar="NAME",
        help="local-dir:DIR or another of open_clip; it teaches the image encoder (default: "
        "bundled)",
    )
    parser.add_argument("--threads", type=positive, help="of torch (default: its own choice)")
    add_force_unlock(parser)
    _add_card(parser)


def add_corpora(parser: argparse.ArgumentParser, *, required: bool, help: str) -> None:
    """Add the option for the corpora of a training."""
    parser.add_argument(
        "--data",
        action="append",
        required=required,
        default=[],
        type=place,
        metavar="URL[:WEIGHT]",
        help=help,
    )


def add_settings(parser: argparse.ArgumentParser, *, help: str) -> None:
    """Add the option for values of a training recipe."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help=help
    )


def add_train(parser: argparse.ArgumentParser) -> None:
    """Add the options of `train`."""
    parser.epilog = (
        "After a kill, the same command resumes from the last checkpoint in DIR. Several GPUs: "
        "torchrun --nproc-per-node N -m pipelines train ..."
    )
    parser.add_argument(
        "stage",
        choices=STAGES,
        metavar="STAGE",
        help="pretrain, understand, sft256, dpo256, sft512, dpo512 or edit; or demo, emoji, "
        "emoji_dpo",
    )
    add_corpora(parser, required=True, help="OUT of a build; may be repeated")
    parser.add_argument("--out", required=True, type=place, metavar="DIR", help="local folder")
    parser.add_argument(
        "--size", help="of the model: tiny, mini, small or v1_1 (default: that of --init)"
    )
    parser.add_argument("--steps", type=positive, metavar="N", help="instead of the recipe's")
    add_settings(parser, help="change a value of the recipe, e.g. batch=8")
    parser.add_argument(
        "--prompts",
        type=place,
        metavar="FILE",
        help="prompts for sample images during training: one per line, 16 at most",
    )
    parser.add_argument(
        "--init",
        type=place,
        metavar="DIR",
        help="training with the initial weights: the previous stage",
    )
    _add_machine(parser)


def _add_lists(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--list",
        action="append",
        required=True,
        dest="lists",
        type=place,
        metavar="FILE",
        help="images with path, title, text, tags and author as JSON lines; may be repeated",
    )


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads", type=positive, help="of torch on a CPU (default: its own choice)"
    )
    parser.add_argument("--device", help="torch's name (default: cuda if available)")
    add_force_unlock(parser)


def _add_card(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--describe-data", default="", metavar="TEXT", help="for the card")
    parser.add_argument("--licence", default="not stated", metavar="TEXT", help="for the card")
