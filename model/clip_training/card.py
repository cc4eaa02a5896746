"""The model card of a trained CLIP: its sizes, data, training and quality."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from model.clip_training.evaluate import Figures
from model.clip_training.network import ClipSizes
from model.image_text.facts import Facts, unreadable_line


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """The numbers of a run."""

    parameters: int
    size: int  # bytes of the weights
    seconds: float  # of training alone
    figures: Mapping[str, Figures]  # name of the texts -> figures


def card(sizes: ClipSizes, facts: Facts, made: Made, *, weights: str, numbers: str) -> str:
    """Write the model card, Markdown.

    Args:
        sizes: of the network.
        facts: facts of the run.
        made: numbers of the run.
        weights: name of the file of weights.
        numbers: name of the file of figures.
    """
    listed = ", ".join(f"{name} {value}" for name, value in asdict(sizes).items())
    lines = [
        "# A small CLIP",
        "",
        f"{made.parameters:,} parameters, {made.size:,} bytes in float16, trained by",
        "`vargpt-corpus train-clip`. Both towers, the loss and the format of the folder are",
        "open_clip's, so its own functions load it, without a network. FOLDER is where this lies:",
        "",
        "```python",
        'clip, preprocess = open_clip.create_model_from_pretrained("local-dir:FOLDER")',
        'tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")',
        "```",
        "",
        f"Sizes: {listed}.",
        "",
        *_table(made.figures),
        "",
        "R@10 is the share of queries with a right answer among the first ten; in brackets, the",
        "same for a random order. AUC is the probability that an image and its own text are more",
        "similar than an image and another text; chance is 0.5.",
        "",
        f"{facts.held_out:.0%} of the groups of images, drawn by a hash, were held out and never",
        "trained on. A group has all images whose titles end with the same word, all skin tones,",
        "genders and drawings of one emoji, and all images that look the same. So the last word of",
        "a held-out title is in no title of the training; it may be in its tags. One image of each",
        "title and list is compared, without the skin tones. Figures are of the float16 file.",
        "",
        f"- Data: {facts.data}; {facts.images:,} images with {facts.subjects:,} titles to train "
        f"on. {unreadable_line(facts)}Licence of the data: {facts.licence}.",
        f"- Training: {facts.plan}; {made.seconds / 60:.0f} minutes on {facts.machine}.",
        *_teacher(facts),
        f"- Command: `{facts.command}`",
        f"- Limits: it knows images like its training data, and reads {sizes.context_length} "
        "tokens of a text. It is for tests and demos. Use a published CLIP for other images, and "
        "for a corpus that a model is trained on.",
        f"- [{numbers}]({numbers}) has the loss curve and the figures above, of `{weights}`.",
        "",
    ]
    return "\n".join(lines)


def _table(figures: Mapping[str, Figures]) -> list[str]:
    return [
        "| text | images | titles | image to text R@1 | R@10 | text to image R@1 | R@10 | AUC |",
        "|--|--:|--:|--:|--:|--:|--:|--:|",
        *(
            f"| {name} | {found.images} | {found.titles} "
            f"| {_share(found.image_to_text.r1, found.image_to_text.chance_r1)} "
            f"| {_share(found.image_to_text.r10, found.image_to_text.chance_r10)} "
            f"| {_share(found.text_to_image.r1, found.text_to_image.chance_r1)} "
            f"| {_share(found.text_to_image.r10, found.text_to_image.chance_r10)} "
            f"| {found.auc:.3f} |"
            for name, found in figures.items()
        ),
    ]


def _share(found: float, chance: float) -> str:
    """Return a share beside that of chance.

    >>> _share(0.25, 0.0175)
    '25.0 % (1.8 %)'
    """
    return f"{found:.1%} ({chance:.1%})".replace("%", " %")


def _teacher(facts: Facts) -> list[str]:
    if not facts.teacher:
        return []
    return [
        f"- Words: {facts.teacher} taught the text tower where words",
        "  belong that are in no title: the WordNet nouns of ImageNet-22k and the words of its own",
        "  vocabulary. Words of held-out titles are among them, without their images.",
    ]
