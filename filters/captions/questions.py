"""Questions about an image, with yes or no for an answer: a model as a filter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from filters.captions.json_answers import AnswerError, json_in
from schemas.caption_config import CaptionConfig, Question

DEFAULT_QUESTIONS: Final = tuple(
    Question(name=name, question=question)
    for name, question in (
        ("watermark", "Does a watermark or a stock agency's mark lie over the image?"),
        ("collage", "Is it made of several separate images, as a collage, grid or comic page?"),
        ("screenshot", "Is it a screenshot of a computer, a phone, a game or a web page?"),
        ("document", "Is it mainly a page of text, a form, a table, a slide or a receipt?"),
        ("text_overlay", "Was text added over it, as a caption, a meme, a date or a subtitle?"),
        ("logo", "Is it mainly a logo, an emblem or an icon of a firm or an organisation?"),
        ("advertisement", "Is it an advertisement, a flyer, or a product with price or slogan?"),
        ("frame", "Is there a frame, a border or an empty bar around the picture?"),
        ("blurred", "Is the main subject out of focus, or blurred by motion?"),
        ("damaged", "Are there strong compression blocks, noise, tears or missing parts?"),
        ("exposure", "Is it so dark or so bright that the main subject can hardly be seen?"),
        ("cropped_subject", "Is an important part of the main subject cut off by an edge?"),
        ("no_subject", "Is it blank, a plain texture, or without anything to name?"),
        ("rotated", "Is it turned or mirrored, so that its subject is not upright?"),
        ("synthetic", "Does it look made by an image generator, as by hands or text that fail?"),
        ("render", "Is it a 3D render or an image from a video game?"),
        ("drawing", "Is it a drawing, a painting or a graphic, and no photograph?"),
        ("face", "Is there a human face that could be recognised?"),
        ("nudity", "Does it show nudity or a sexual act?"),
        ("violence", "Does it show blood, wounds or violence?"),
    )
)
"""The questions of `questions: default`; yes is what a rule may forbid."""


def questions_of(config: CaptionConfig) -> tuple[Question, ...]:
    """Return the questions that a recipe asks."""
    return DEFAULT_QUESTIONS if config.questions == "default" else config.questions


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What an answer says to questions."""

    values: Mapping[str, bool | None]  # by question, in order; None: not answered
    detail: str = ""  # what is wrong with the answer; '' for nothing


def questions_prompt(questions: Sequence[Question]) -> str:
    """Return the prompt that asks all questions in one request."""
    asked = "\n".join(f"- {each.name}: {each.question}" for each in questions)
    form = ", ".join(f'"{each.name}": true or false' for each in questions)
    return (
        "Answer these questions about the image. Look at the image alone; if you are not sure, "
        f"answer false.\n{asked}\nAnswer with one JSON object and nothing else, true for yes and "
        f"false for no: {{{form}}}"
    )


def questions_schema(questions: Sequence[Question]) -> dict[str, Any]:
    """Return the JSON schema of the answer."""
    names = [each.name for each in questions]
    return {
        "type": "object",
        "properties": {name: {"type": "boolean"} for name in names},
        "required": names,
        "additionalProperties": False,
    }


def flags_in(answer: str, questions: Sequence[Question]) -> Flags:
    """Read the answer to questions: only true and false count, and only under the names asked.

    Another value ("yes", 1) is no answer, nor is one to a question that was not asked; `detail`
    says so. Null and a missing name are None without a detail.

    >>> flags_in('{"logo": true, "frame": "no"}', DEFAULT_QUESTIONS).detail
    "frame: expected true or false, found 'no'"
    """
    names = [each.name for each in questions]
    try:
        found = json_in(answer)
        if not isinstance(found, dict):
            raise AnswerError(f"expected one JSON object, found {found!r:.80}")
    except AnswerError as error:
        return Flags(values=dict.fromkeys(names), detail=str(error))
    given = cast(dict[str, Any], found)
    values = {name: value if isinstance(value := given.get(name), bool) else None for name in names}
    return Flags(values=values, detail="; ".join(_faults(given, names)))


def _faults(given: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    wrong = [
        f"{name}: expected true or false, found {given[name]!r:.80}"
        for name in names
        if name in given and not isinstance(given[name], bool | None)
    ]
    unknown = [name for name in given if name not in names]
    return wrong + ([f"not asked: {', '.join(unknown):.200}"] if unknown else [])
