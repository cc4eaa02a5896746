"""The model card of a trained captioner: its sizes, data, training and quality."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from model.captioner_training.evaluate import (
    AGREEMENT,
    EXACT,
    WORD_F1,
    Estimate,
    Line,
    is_better,
)
from model.captioner_training.held_out import KNOWN_WORDS, NEW_WORDS
from model.captioner_training.network import SIDE, WEIGHTS, CaptionerSizes
from model.image_text.facts import FIGURES, Facts, unreadable_line


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """What was said of a held-out image."""

    title: str
    said: str
    nearest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """The numbers of a run."""

    parameters: int
    size: int  # bytes of the weights
    seconds: float  # of training alone
    lines: Mapping[str, Sequence[Line]]  # name of a part -> its figures
    examples: Mapping[str, Sequence[Example]]
    images: Mapping[str, int]
    groups: Mapping[str, int]


def card(sizes: CaptionerSizes, facts: Facts, made: Made) -> str:
    """Write the model card, Markdown."""
    listed = ", ".join(f"{name} {value}" for name, value in asdict(sizes).items())
    lines = [
        "# A small captioner",
        "",
        f"{made.parameters:,} parameters, {made.size:,} bytes in float16, trained by",
        "`vargpt-corpus train-captioner`. It writes the title of a piece of clip art or an emoji,",
        "in lower case and without punctuation, and reads no prompt. It is a",
        "vision-encoder-decoder of transformers (DPT's hybrid of a ResNet and a transformer, and",
        "GPT-2), so its own functions load it, without a network. FOLDER is where this lies:",
        "",
        "```python",
        'model = transformers.VisionEncoderDecoderModel.from_pretrained("FOLDER")',
        'processor = transformers.AutoImageProcessor.from_pretrained("FOLDER")',
        'tokenizer = transformers.AutoTokenizer.from_pretrained("FOLDER")',
        "```",
        "",
        f"Sizes: {listed}.",
        "",
        "## Quality",
        "",
        _verdict(made),
        "",
        *_parts(facts, made),
        "",
        f"- `{WORD_F1}`, which decides: of the words of caption and title, each as often as it",
        "  occurs (ROUGE-1 without stemming).",
        f"- `{EXACT}`: the share of captions that are the title.",
        f"- `{AGREEMENT}`: the cosine of CLIP's embeddings of image and caption. The nearest image",
        "  was found by the same embeddings.",
        "",
        "In brackets, 95 % intervals of a bootstrap over groups. Numbers in titles are left out.",
        "",
        "## Facts",
        "",
        f"- Data: {facts.data}; {facts.images:,} images with {facts.subjects:,} titles to train "
        f"on. {unreadable_line(facts)}Licence of the data: {facts.licence}.",
        f"- Training: {facts.plan}; {made.seconds / 60:.0f} minutes on {facts.machine}.",
        f"- Teacher: the encoder also learned the image embeddings of {facts.teacher}.",
        f"- Command: `{facts.command}`",
        f"- Limits: it reads {SIDE} x {SIDE} px, knows images like its training data only, and",
        "  mixes the languages of its titles. It is for tests and demos. Use a published model for",
        "  other images, and for a corpus that a model is trained on.",
        f"- [{FIGURES}]({FIGURES}) has the loss curve and the figures above, of `{WEIGHTS}`.",
        "",
    ]
    return "\n".join(lines)


def _verdict(made: Made) -> str:
    if is_better(made.lines[NEW_WORDS]):
        return (
            "On titles with a new last word it is better than both other methods by the F1 of "
            "words: the 95 % interval of its lead over each is above 0."
        )
    return (
        "On titles with a new last word it is not shown to be better than both other methods by "
        "the F1 of words: the 95 % interval of its lead over one of them is not above 0."
    )


def _parts(facts: Facts, made: Made) -> Iterator[str]:
    about = {
        NEW_WORDS: (
            f"{facts.held_out:.0%} of the groups of images, drawn by a hash: those that the "
            "training of CLIP held out too. A group has all images whose titles end with the same "
            "word, all skin tones, genders and drawings of one emoji, and all images that look "
            "the same. So no title of the training ends with the last word of these titles, and "
            "no method can often be right."
        ),
        KNOWN_WORDS: (
            f"{facts.held_out / 2:.0%} of what is left, by emoji and by images that look the "
            "same. Their words may be in other titles of the training. CLIP has seen these images "
            "with their titles, which helps the nearest image, and may help the captioner."
        ),
    }
    for name, lines in made.lines.items():
        yield f"### {name.capitalize()}"
        yield ""
        yield f"{made.images[name]} images of {made.groups[name]} groups. {about[name]}"
        yield ""
        yield from _table(lines)
        yield ""
        yield from _examples(made.examples[name])
        yield ""


def _table(lines: Sequence[Line]) -> Iterator[str]:
    measures = (WORD_F1, EXACT, AGREEMENT)
    yield f"| | {' | '.join(measures)} |"
    yield f"|--|{'--:|' * len(measures)}"
    for method in dict.fromkeys(line.method for line in lines):
        own = {line.measure: line for line in lines if line.method == method}
        yield f"| {method} | {' | '.join(_shown(own[name].score) for name in measures)} |"
        leads = [own[name].lead for name in measures]
        if all(leads):
            yield f"| its lead | {' | '.join(_shown(lead) for lead in leads if lead)} |"


def _shown(found: Estimate) -> str:
    """Return a mean with its interval.

    >>> _shown(Estimate(mean=0.125, low=-0.01, high=0.2))
    '0.125 (-0.010 to 0.200)'
    """
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"


def _examples(examples: Sequence[Example]) -> Iterator[str]:
    yield "Images that a hash draws:"
    yield ""
    yield "| title | caption | title of the nearest image |"
    yield "|--|--|--|"
    for each in examples:
        yield f"| {each.title} | {each.said} | {each.nearest} |"
