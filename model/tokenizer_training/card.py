"""The model card of a trained tokenizer: its sizes, data, training and quality."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Final

from model.tokenizer_training.evaluate import Figures
from model.tokenizer_training.trainee import Trainee
from model.tokenizers.sizes import BsqConfig

UNREADABLE_SHOWN: Final = 3  # images listed in the card; training.json lists all


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """The facts of a run in the card, without its figures."""

    data: str  # description of the training images
    licence: str  # of the data
    command: str
    images: int  # for training
    held_out: float  # share of all images, by the hash of their names
    unreadable: Mapping[str, str]  # image -> reason
    plan: str
    machine: str
    perceptual: str | None = None  # import path of a further loss


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """The numbers of a finished run."""

    parameters: int
    size: int  # bytes of the checkpoint
    steps: int
    seconds: float  # of training alone
    figures: Sequence[Figures]


def card(trainee: Trainee, facts: Facts, made: Made, *, picture: str, numbers: str) -> str:
    """Write the model card, Markdown.

    Args:
        trainee: the trained tokenizer.
        facts: facts of the run.
        made: numbers of the run.
        picture: name of the file of reconstructions.
        numbers: name of the file of figures.
    """
    config = ", ".join(f"{name} {value}" for name, value in asdict(trainee.config).items())
    lines = [
        f"# A {_what(trainee)}",
        "",
        f"{made.parameters:,} parameters, {made.size:,} bytes in float16, trained by",
        "`vargpt-corpus train-tokenizer`. Tokenizer class and keys are those of the published",
        "checkpoints.",
        "",
        f"Sizes: {config}.",
        "",
        *_table(made.figures),
        "",
        f"{facts.held_out:.0%} of the images, drawn by the hash of their names, were held out and",
        "never trained on. Similar images (variants of a drawing, skin tones of an emoji) may have",
        "been. Figures are of the float16 file, measured with the tokenizer class.",
        "",
        f"![held-out images, with the reconstruction below each]({picture})",
        "",
        f"- Data: {facts.data}; {facts.images:,} images to train on. {_unreadable(facts)}"
        f"Licence of the data: {facts.licence}.",
        f"- Training: {facts.plan}; {made.steps:,} steps in {made.seconds / 60:.0f} minutes on "
        f"{facts.machine}.",
        f"- Command: `{facts.command}`",
        f"- Limits: it works for images like its training data. Use a published checkpoint for "
        f"other images, and for a model as good as published ones. {_losses(facts)}",
        f"- [{numbers}]({numbers}) has the loss curve and the figures above.",
        "",
    ]
    return "\n".join(lines)


def _what(trainee: Trainee) -> str:
    if isinstance(trainee.config, BsqConfig):
        return "multi-scale BSQ tokenizer in the layout of Infinity's BSQ-VAE"
    return "multi-scale VQ tokenizer in the layout of VAR's VQVAE"


def _table(figures: Sequence[Figures]) -> list[str]:
    is_bits = all(line.bit_entropy is not None for line in figures)
    use = "mean entropy of a bit" if is_bits else "share of the codebook used"
    return [
        "| held-out images | size | PSNR, mean | PSNR, 5th percentile | SSIM, mean "
        f"| SSIM, 5th percentile | bits an image | {use} |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|",
        *(
            f"| {line.images} | {line.side} px | {line.psnr:.2f} dB | {line.psnr_p5:.2f} dB "
            f"| {line.ssim:.3f} | {line.ssim_p5:.3f} | {line.bits_an_image:,} "
            f"| {line.bit_entropy if is_bits else line.codebook_used:.3f} |"
            for line in figures
        ),
    ]


def _unreadable(facts: Facts) -> str:
    if not facts.unreadable:
        return ""
    first = [
        f"`{name}` ({why})" for name, why in islice(facts.unreadable.items(), UNREADABLE_SHOWN)
    ]
    more = len(facts.unreadable) - len(first)
    listed = ", ".join(first) + (f" and {more} more" if more else "")
    return f"{len(facts.unreadable)} could not be used: {listed}. "


def _losses(facts: Facts) -> str:
    if facts.perceptual:
        return f"Its loss has pixels and `{facts.perceptual}`, but no adversary."
    return "Its loss has pixels alone, so fine texture is blurred."
