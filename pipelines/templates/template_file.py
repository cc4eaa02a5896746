"""Template files: the grammar that turns a caption into an instruction and its answer."""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Annotated, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from filters.phrase import as_phrase
from schemas.keys import draw
from schemas.markers import IMAGE_GEN, marker_in
from schemas.store.retries import open_fs
from schemas.store.storage import CorpusError
from schemas.strict_yaml import load_yaml

Word = Annotated[str, Field(min_length=1)]
Words = Annotated[tuple[Word, ...], Field(min_length=1)]

# Placeholder -> (letter in the template's id, list it is drawn from), in the order of drawing.
_PARTS = {
    "opener": ("o", "openers"),
    "verb": ("v", "verbs"),
    "participle": ("p", "participles"),
    "adjective": ("j", "adjectives"),
    "noun": ("n", "nouns"),
}
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
# An article must precede a word, because the word decides between `a` and `an`.
_ARTICLE = re.compile(r"\{article\} (?=\w|\{(?:verb|participle|adjective|noun)\})")
_CAPTION = re.compile(r"\{caption\}")
OTHER_NAMES: Final = {"v1_1-faithful": "t2i-v1"}  # other names of bundled files
_OPENING_QUOTES = ('"', "'", "\u201c", "\u2018", "\u00ab")


class Templates(BaseModel):
    """The words of a template file; templates/t2i-v1.yaml explains each list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    openers: Words
    verbs: Words
    participles: Words
    adjectives: Annotated[tuple[str, ...], Field(min_length=1)]
    nouns: Words
    user: str
    answers: Words


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One instruction pair, and the id of its template."""

    user: str
    assistant: str
    template: str  # name of the file, then letter of the list and number of each drawn part


def converse(
    templates: Templates, key: str, caption: str, *, faithful: bool = False
) -> Conversation:
    """Write the pair of one sample; its key decides every drawn part.

    The caption is fitted into each sentence (`filters.phrase`), or copied if `faithful`.

    >>> templates = load_templates("t2i-v1")
    >>> converse(templates, "00ff", "A red fox.").template
    't2i-v1/u-o7-j3-n4/a-f0-j3-n5'
    """
    user, user_id = _turn(templates, key, "user", [templates.user])
    assistant, answer_id = _turn(templates, key, "answer", templates.answers)
    return Conversation(
        user=_filled(user, caption, faithful),
        assistant=_filled(assistant, caption, faithful),
        template=f"{templates.name}/u{user_id}/a{answer_id}",
    )


def user_turns(templates: Templates) -> int:
    """Return how many user's turns a grammar can draw, but for the caption.

    >>> user_turns(load_templates("t2i-v1"))
    1792
    """
    has_opener = "{opener}" in templates.user
    forms = [templates.user.replace("{opener}", one) for one in templates.openers if has_opener]
    parts = [(f"{{{name}}}", len(getattr(templates, part))) for name, (_, part) in _PARTS.items()]
    return sum(
        math.prod(count for name, count in parts if name in form)
        for form in forms or [templates.user]
    )


def load_templates(name: str, *, sha256: str = "") -> Templates:
    """Load a bundled template file by name, or any file by path or URL.

    Args:
        name: name, path or URL of the file.
        sha256: 64 hex digits that the file must have, '' for any.

    Raises:
        CorpusError: the file is missing, no template file, or has another sha256.
    """
    data = read_template_file(name)
    found = hashlib.sha256(data).hexdigest()
    if sha256 and found != sha256:
        raise CorpusError(f"pair.templates: {name}: sha256 is {found}, the recipe says {sha256}")
    return _parse(name, data)


def read_template_file(name: str, field: str = "templates") -> bytes:
    """Read the bytes of a template file; `field` of the section `pair` names it.

    Raises:
        CorpusError: the file is missing.
    """
    folder = files("pipelines.templates")
    bundled = folder / f"{OTHER_NAMES.get(name, name)}.yaml"
    try:
        if bundled.is_file():
            return bundled.read_bytes()
        fs, path = open_fs(name)
        return fs.cat_file(path)
    except FileNotFoundError as error:
        bundled_names = [f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml")]
        names = sorted([*bundled_names, *OTHER_NAMES])
        known = f"bundled are {', '.join(names)}; the path of a file ends in .yaml"
        raise CorpusError(f"pair.{field}: {name}: no such file; {known}") from error


def with_articles(form: str) -> str:
    """Insert `a` or `an` by the next word.

    >>> with_articles("{article} image")
    'an image'
    """
    return re.sub(
        r"\{article\} (\w)",
        lambda found: ("an " if found[1].lower() in "aeiou" else "a ") + found[1],
        form,
    )


@lru_cache(maxsize=8)
def _parse(name: str, data: bytes) -> Templates:
    try:
        templates = Templates.model_validate(load_yaml(data))
    except (yaml.YAMLError, ValidationError, ValueError) as error:
        raise CorpusError(f"pair.templates: {name}: {error}") from error
    if faults := _faults(templates):
        raise CorpusError(f"pair.templates: {name}: {'; '.join(faults)}")
    return templates


def _faults(templates: Templates) -> list[str]:
    """List the errors that would give wrong sentences or break the shard contract."""
    lists = (templates.verbs, templates.participles, templates.adjectives, templates.nouns)
    words = [word for part in lists for word in part]
    faults = [f"{word!r} must not hold braces" for word in words if re.search("[{}]", word)]
    answers = [answer.removesuffix(IMAGE_GEN) for answer in templates.answers]
    faults += [
        f"answer {answer!r} must end in {IMAGE_GEN}"
        for answer in templates.answers
        if not answer.endswith(IMAGE_GEN)
    ]
    if "{caption}" not in templates.user:
        faults.append(f"user {templates.user!r} must hold {{caption}}")
    forms = [templates.user, *templates.openers, *answers]
    marked = ((text, marker_in(text)) for text in [*forms, *words])
    faults += [f"{text!r} must not hold {marker}" for text, marker in marked if marker]
    faults += [
        f"opener {o!r} must not hold an opener" for o in templates.openers if "{opener}" in o
    ]
    return faults + [fault for form in forms for fault in _form_faults(form)]


def _form_faults(form: str) -> list[str]:
    known = [*_PARTS, "article", "caption"]
    faults = [
        f"{form!r}: unknown placeholder {{{found}}}; allowed: {', '.join(known)}"
        for found in _PLACEHOLDER.findall(form)
        if found not in known
    ]
    if re.search("[{}]", _PLACEHOLDER.sub("", form)):
        faults.append(f"{form!r} holds a brace that is no placeholder's")
    if form.count("{article}") != len(_ARTICLE.findall(form)):
        faults.append(f"{form!r}: {{article}} must stand before a word")
    return faults


def _turn(templates: Templates, key: str, turn: str, forms: Sequence[str]) -> tuple[str, str]:
    """Draw one turn; return it without its caption, and letter and number of each drawn part.

    A form is drawn if there are several, an opener if the form has one, and so on.
    """
    drawn: list[str] = []

    def pick(letter: str, words: Sequence[str]) -> str:
        number = draw(key, f"{templates.name} {turn} {letter}", len(words))
        drawn.append(f"-{letter}{number}")
        return words[number]

    form = forms[0] if len(forms) == 1 else pick("f", forms)
    for name, (letter, part) in _PARTS.items():
        if f"{{{name}}}" in form:
            form = form.replace(f"{{{name}}}", pick(letter, getattr(templates, part)))
    return with_articles(" ".join(form.split())), "".join(drawn)


def _filled(form: str, caption: str, faithful: bool) -> str:
    """Insert the caption: unchanged if `faithful` or quoted in the form, else as a phrase."""

    def fitted(found: re.Match[str]) -> str:
        before = form[: found.start()].rstrip()
        if faithful or before.endswith(_OPENING_QUOTES):
            return caption
        return as_phrase(caption, starts=not before or before[-1] in ".!?:")

    return _CAPTION.sub(fitted, form)
