"""The forms of captions: sentences, tags, regions, JSON of a recipe's schema."""

import re
from dataclasses import dataclass
from typing import Any, Final, cast

from filters.captions.json_answers import AnswerError, check_schema, json_in, parts_of, written
from filters.captions.regions import read_regions
from filters.captions.styles import Request
from filters.captions.unwrapping import after_thought, items
from filters.words import count_words
from schemas.markers import marker_in, without_outer_markers

MOST_TAG_WORDS: Final = 8  # a Chinese character is a word
LEAST_TAGS: Final = 2
_BETWEEN_TAGS: Final = re.compile(r"[,;\n\uff0c\u3001\uff1b]")
_AROUND_TAGS: Final = " \t.#\"'`*\u2022-[]\u3002"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaped:
    """A caption in its form."""

    text: str  # as it is stored
    words: str  # what it says, without the form
    sentence: str  # its part that is prose


def shaped(
    answer: str, words: str, request: Request, size: tuple[int, int] | None = None
) -> Shaped:
    """Return an answer in the form of its style.

    Tags are stored as `red fox, snow`, each once. Regions are stored as `Regions.json` writes
    them. Other JSON is stored on one line.

    Args:
        answer: as the model wrote it.
        words: the answer without what surrounds it.
        request: the style.
        size: as `read_regions`.

    Raises:
        AnswerError: the answer has not the form.
    """
    match request.form:
        case "text":
            return Shaped(text=words, words=words, sentence=words)
        case "tags":
            text = ", ".join(tags_in(answer, words))
            return Shaped(text=text, words=text, sentence="")
        case "regions":
            found = read_regions(answer, size)
            return Shaped(text=found.json(), words=found.words(), sentence=found.caption)
        case "json":
            value = json_in(answer)
            check_schema(value, request.schema or {})
            texts = "\n".join(_texts(value))
            if marker := marker_in(texts):
                raise AnswerError(f"a value holds {marker}")
            return Shaped(text=written(value), words=texts, sentence="")


def tags_in(answer: str, words: str) -> list[str]:
    r"""Return the tags of an answer, each once: a list with commas, bullets or numbers, or JSON.

    Raises:
        AnswerError: there are fewer than two tags, or one is as long as a sentence.

    >>> tags_in("- red fox\n- snow\n- Red fox", "red fox snow Red fox")
    ['red fox', 'snow']
    """
    listed = items(without_outer_markers(after_thought(answer)))
    parts = _json_tags(words) or listed or _BETWEEN_TAGS.split(words)
    named = [" ".join(part.strip(_AROUND_TAGS).split()) for part in parts]
    once = dict[str, str]()
    for tag in filter(count_words, named):
        once.setdefault(tag.casefold(), tag)
    tags = [*once.values()]
    if len(tags) < LEAST_TAGS:
        raise AnswerError(f"expected {LEAST_TAGS} tags or more, found {words!r:.80}")
    if long := [tag for tag in tags if count_words(tag) > MOST_TAG_WORDS]:
        raise AnswerError(f"expected tags, found a sentence: {long[0]!r:.80}")
    return tags


def _json_tags(words: str) -> list[str]:
    if not words.startswith("["):
        return []
    found = cast(list[Any], json_in(words))
    if not all(isinstance(each, str) for each in found):
        raise AnswerError(f"expected a list of texts, found {words!r:.80}")
    return found


def _texts(value: Any) -> list[str]:
    """Return the texts of a JSON value, in order; names of an object's entries are none."""
    if isinstance(value, str):
        return [value]
    return [text for part in parts_of(value) for text in _texts(part)]
