"""Gates: which answers of a model are captions, and why the others are not."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from filters.captioner import FinishReason
from filters.captions.echo import echo_in
from filters.captions.forms import Shaped, shaped
from filters.captions.json_answers import AnswerError
from filters.captions.languages import LanguageOf, wrong_language
from filters.captions.person_names import person_name_in
from filters.captions.phrases import refusal_in
from filters.captions.repetition import repetition
from filters.captions.styles import Request
from filters.captions.unwrapping import after_thought, unwrapped
from filters.words import count_words
from schemas.caption_config import Gates
from schemas.markers import marker_in

MOST_CHARS: Final = 50_000  # of an answer; longer ones are not looked into

REASONS: Final[Mapping[str, str]] = {
    "empty": "no letter and no digit",
    "refusal": "the model, or its server's filter, refuses to answer",
    "loop": "more repeated sequences of words than `loop` allows",
    "truncated": "cut off at `max_new_tokens`",
    "echo": "repeats the prompt",
    "special_tokens": "a token of a chat template inside; at the ends they are removed",
    "schema": "not in the style's form: no list of tags, no regions, not the JSON schema",
    "language": "in none of `languages`",
    "too_short": "fewer tokens than the style's `min_tokens`",
    "too_long": "more tokens than the style's `max_tokens`, or over 50,000 characters",
    "names": "names a person",
    "clip": "agrees less with the image than `min_clip`",
}
"""What each reason means, in the order in which the gates are asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """An answer after the gates."""

    text: str  # the caption; of a refused answer what the model wrote
    reason: str = ""  # of REASONS; '' for a caption
    detail: str = ""  # what was found


def gated(
    answer: str,
    finish_reason: FinishReason,
    *,
    request: Request,
    gates: Gates,
    count_tokens: Callable[[str], int],
    language_of: LanguageOf | None = None,
    size: tuple[int, int] | None = None,
) -> Gated:
    """Return the caption in an answer, or the first reason of REASONS why it is none.

    What surrounds a caption is removed before it is looked at: see `unwrapped`. The gate `clip`
    is a function of its own, `agreeing`, since it needs the caption. Linear time.

    Args:
        answer: as the model wrote it.
        finish_reason: why it stopped.
        request: the style that was asked for.
        gates: those of the recipe.
        count_tokens: counts the tokens of a caption.
        language_of: detects languages; without it, scripts alone are compared.
        size: what the model's boxes count in, see `read_regions`.
    """
    if len(answer) > MOST_CHARS:
        return Gated(text=answer, reason="too_long", detail=f"{len(answer):,} characters")
    is_prose, is_words = request.form == "text", request.form in ("text", "tags")
    words = unwrapped(answer, is_prose=is_prose) if is_words else after_thought(answer)
    for reason, detail in _of_answer(words, finish_reason, request, gates):
        return Gated(text=answer, reason=reason, detail=detail)
    try:
        caption = shaped(answer, words, request, size)
    except AnswerError as error:
        return Gated(text=answer, reason="schema", detail=str(error))
    for reason, detail in _of_caption(caption, request, gates, count_tokens, language_of):
        return Gated(text=answer, reason=reason, detail=detail)
    return Gated(text=caption.text)


def agreeing(caption: Gated, cosine: float | None, gates: Gates) -> Gated:
    """Return a caption, or the reason `clip` if it agrees too little with its image.

    Args:
        caption: after the other gates.
        cosine: of caption and image; None or NaN, of an unknown one, is too little.
        gates: those of the recipe.
    """
    if caption.reason or gates.min_clip is None:
        return caption
    if cosine is not None and cosine >= gates.min_clip:
        return caption
    found = "no cosine" if cosine is None or math.isnan(cosine) else f"cosine {cosine:.4f}"
    return Gated(text=caption.text, reason="clip", detail=found)


def _of_answer(
    words: str, finish_reason: FinishReason, request: Request, gates: Gates
) -> Iterator[tuple[str, str]]:
    """Yield the reasons that need no form."""
    if not count_words(words):
        yield "empty", ""
    if gates.refusal and finish_reason == "content_filter":
        yield "refusal", "content_filter"
    if gates.refusal and (found := refusal_in(words)):
        yield "refusal", found
    if request.form == "text":
        yield from _loop(words, gates)
    if gates.truncated and finish_reason == "length":
        yield "truncated", f"after {request.max_new_tokens} tokens"
    if gates.echo and request.form != "json" and (found := echo_in(words, request.instructions)):
        yield "echo", found
    if gates.special_tokens and request.form in ("text", "tags") and (found := marker_in(words)):
        yield "special_tokens", found


def _of_caption(
    caption: Shaped,
    request: Request,
    gates: Gates,
    count_tokens: Callable[[str], int],
    language_of: LanguageOf | None,
) -> Iterator[tuple[str, str]]:
    """Yield the reasons that a caption in its form can have."""
    if request.form in ("regions", "json"):
        yield from _of_values(caption, gates)
    if found := wrong_language(caption.words, gates.languages, language_of):
        yield "language", found
    tokens = count_tokens(caption.text)
    if tokens < request.min_tokens:
        yield "too_short", f"{tokens} tokens"
    if tokens > request.max_tokens:
        yield "too_long", f"{tokens} tokens"
    if gates.names and (found := person_name_in(caption.words)):
        yield "names", found


def _of_values(caption: Shaped, gates: Gates) -> Iterator[tuple[str, str]]:
    """Yield the reasons that texts inside JSON can have."""
    for line in caption.words.splitlines() if gates.refusal else ():
        if found := refusal_in(line):
            yield "refusal", found
    yield from _loop(caption.sentence, gates)


def _loop(text: str, gates: Gates) -> Iterator[tuple[str, str]]:
    if gates.loop is not None and (share := repetition(text)) > gates.loop:
        yield "loop", f"{share:.0%} repeated"
