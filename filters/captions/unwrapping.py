"""Removal of what surrounds a caption: thoughts, tokens, fences, Markdown, quotes, talk."""

import re

from filters.captions.phrases import capitalised, without_closing, without_opening
from filters.cleaning import without_controls
from schemas.markers import without_outer_markers

_LAYERS = 16  # quotes in talk in quotes; an answer with more keeps the rest
_THOUGHT, _THOUGHT_END = "<think>", "</think>"
_FENCE = re.compile(r"```[\w+-]{0,20}[ \t]*\n")
_HEADING = re.compile(r"#{1,6}[ \t]+[^\n]{1,200}\n\s*(?=\S)")
_BOLD = re.compile(r"\*\*([^*\n]{1,1000})\*\*")
_BULLET = re.compile(r"[ \t]*[-*\u2022][ \t]+")
_LEADING = re.compile(r"(?:#{1,6}|[-*\u2022]) ")
_NUMBER = re.compile(r"[ \t]*\d{1,3}[.)][ \t]+")
_PAIRS = (
    ('"', '"'),
    ("'", "'"),
    ("`", "`"),
    ("*", "*"),
    ("_", "_"),
    ("\u201c", "\u201d"),
    ("\u2018", "\u2019"),
    ("\u201e", "\u201c"),
    ("\u201e", "\u201d"),
    ("\u00ab", "\u00bb"),
    ("\u300c", "\u300d"),
    ("\u300e", "\u300f"),
    ("\uff02", "\uff02"),
)


def after_thought(answer: str) -> str:
    """Return what follows a model's thoughts, '' if they do not end.

    An answer without thoughts is returned as it is.

    >>> after_thought("<think>A fox? Yes.</think> A fox.")
    'A fox.'
    """
    _thought, end, after = answer.rpartition(_THOUGHT_END)
    if end:
        return after.strip()
    return "" if answer.lstrip().startswith(_THOUGHT) else answer


def unwrapped(answer: str, *, is_prose: bool = True) -> str:
    r"""Return the words of an answer alone, on one line; it is never longer than the answer.

    It removes, where they surround the whole answer: thoughts, special tokens, code fences, a
    heading, bullets, quotation marks, and openings and closings that talk to the user
    (`phrases.yaml`). Bold marks are removed everywhere. Control and invisible characters are
    removed, white space is collapsed. A caption without all this stays as it is. Prose begins with
    a capital where its beginning was removed.

    >>> unwrapped('Sure! Here is a caption:\n\n"**A red fox** in the snow."<|im_end|>')
    'A red fox in the snow.'
    """
    text = _without_markdown(without_outer_markers(after_thought(answer)))
    text = line = " ".join(without_controls(text).split())
    for _ in range(_LAYERS):
        before, text = text, _without_layer(text)
        if text == before:
            break
    return capitalised(text) if is_prose and text[:1] != line[:1] else text


def fenced(text: str) -> str:
    r"""Return what stands in the first code fence of a text, or the text if it has none.

    >>> fenced("Here it is:\n```json\n[1]\n```\nEnjoy!")
    '[1]'
    """
    opening = _FENCE.search(text)
    if not opening:
        return text
    end = text.find("```", opening.end())
    return text[opening.end() : end if end >= 0 else len(text)].strip()


def items(text: str) -> list[str]:
    """Return the lines of a list with bullets or numbers without these; [] if it is no list."""
    lines = [line for line in text.splitlines() if line.strip()]
    for mark, least in ((_BULLET, 1), (_NUMBER, 2)):
        found = [mark.match(line) for line in lines]
        if len(lines) >= least and all(found):
            return [
                line[each.end() :].strip() for line, each in zip(lines, found, strict=True) if each
            ]
    return []


def _without_markdown(text: str) -> str:
    """Remove the Markdown that takes whole lines."""
    if text.startswith("```"):
        text = fenced(text)
    if heading := _HEADING.match(text):
        text = text[heading.end() :]
    return " ".join(items(text)) or text


def _without_layer(text: str) -> str:
    """Remove once what surrounds a text of one line."""
    bare = _BOLD.sub(r"\1", without_outer_markers(text))
    if leading := _LEADING.match(bare):
        bare = bare[leading.end() :]
    return " ".join(without_closing(without_opening(_unquoted(bare))).split())


def _unquoted(text: str) -> str:
    """Remove quotation marks around a whole text that has none of the kind inside."""
    for opening, closing in _PAIRS:
        inner = text[1:-1]
        is_quoted = len(text) > 2 and text[0] == opening and text[-1] == closing
        if is_quoted and not {opening, closing} & {*inner}:
            return inner.strip() or text
    return text
