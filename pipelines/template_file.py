"""Template files: the grammar that turns a caption into an instruction and its answer."""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Annotated

import fsspec
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.storage import CorpusError
from schemas.keys import draw
from schemas.sample import IMAGE_GEN

Words = Annotated[tuple[str, ...], Field(min_length=1)]


class Templates(BaseModel):
    """The words of a template file; templates/t2i-v1.yaml explains each list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    openers: Words
    verbs: Words
    participles: Words
    adjectives: Words
    nouns: Words
    user: str
    answers: Words


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One instruction pair, and what was drawn to make it."""

    user: str
    assistant: str
    template: str  # name of the file, then list initial and number of each part drawn


def converse(templates: Templates, key: str, caption: str) -> Conversation:
    """Write the pair of one sample; its key draws every part.

    >>> templates = load_templates("t2i-v1")
    >>> converse(templates, "00ff", "A red fox.").template
    't2i-v1/u-o6-j2-n0/a-f0-j1-n7'
    """
    user, user_id = _turn(templates, key, "user", [templates.user], caption)
    assistant, answer_id = _turn(templates, key, "answer", templates.answers, caption)
    template = f"{templates.name}/u{user_id}/a{answer_id}"
    return Conversation(user=user, assistant=assistant, template=template)


def load_templates(name: str) -> Templates:
    """Load a bundled template file by name, or any by path or URL.

    Raises:
        CorpusError: if it is missing or not a template file.
    """
    return _parse(name, read_template_file(name))


def read_template_file(name: str) -> bytes:
    """Read the bytes of a template file.

    Raises:
        CorpusError: if it is missing.
    """
    bundled = files("pipelines.templates") / f"{name}.yaml"
    try:
        if bundled.is_file():
            return bundled.read_bytes()
        with fsspec.open(name, "rb") as file:
            return file.read()  # type: ignore[union-attr]
    except FileNotFoundError as error:
        raise CorpusError(f"pair.templates: {name}: no such file or bundled name") from error


def templates_sha256(name: str) -> str:
    """Hash a template file: 64 hex digits."""
    return hashlib.sha256(read_template_file(name)).hexdigest()


@lru_cache(maxsize=8)
def _parse(name: str, data: bytes) -> Templates:
    try:
        templates = Templates.model_validate(yaml.safe_load(data))
    except (yaml.YAMLError, ValidationError) as error:
        raise CorpusError(f"pair.templates: {name}: {error}") from error
    for answer in templates.answers:
        if answer.count(IMAGE_GEN) != 1 or not answer.endswith(IMAGE_GEN):
            raise CorpusError(f"{name}: answer {answer!r} must end in its one {IMAGE_GEN}")
    return templates


def _turn(
    templates: Templates, key: str, turn: str, forms: list[str] | tuple[str, ...], caption: str
) -> tuple[str, str]:
    """Draw one turn; return it and the numbers drawn, form and opener only where there is a choice."""
    drawn: list[str] = []

    def pick(letter: str, words: tuple[str, ...] | list[str]) -> str:
        number = draw(key, f"{templates.name} {turn} {letter}", len(words))
        drawn.append(f"-{letter}{number}")
        return words[number]

    form = forms[0] if len(forms) == 1 else pick("f", forms)
    if "{opener}" in form:
        form = form.replace("{opener}", pick("o", templates.openers))
    parts = {
        "verb": ("v", templates.verbs),
        "participle": ("p", templates.participles),
        "adjective": ("j", templates.adjectives),
        "noun": ("n", templates.nouns),
    }
    for name, (letter, words) in parts.items():
        if f"{{{name}}}" in form:
            form = form.replace(f"{{{name}}}", pick(letter, words))
    return _finish(form, caption), "".join(drawn)


def _finish(form: str, caption: str) -> str:
    """Close gaps, put the article its word wants, and only then the caption, untouched."""
    form = " ".join(form.split())
    form = re.sub(
        r"\{article\} (\w)",
        lambda found: ("an " if found[1].lower() in "aeiou" else "a ") + found[1],
        form,
    )
    return form.replace("{caption}", caption)
