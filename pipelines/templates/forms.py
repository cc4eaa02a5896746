"""Files of forms: sentences around an instruction or a caption, for edits and for understanding."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.templates.template_file import Conversation, read_template_file
from schemas.keys import draw
from schemas.markers import IMAGE, IMAGE_GEN, MARKS, marker_in
from schemas.store.storage import CorpusError
from schemas.strict_yaml import load_yaml

TEXT = "{text}"

Form = Annotated[str, Field(min_length=1)]


class Forms(BaseModel):
    """The forms of a file: of the user's turn, and of the answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    user: Annotated[tuple[Form, ...], Field(min_length=1)]
    answers: Annotated[tuple[Form, ...], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What the forms of a subset must hold, once each."""

    user: Sequence[str]
    answers: Sequence[str]


EDIT = Kind(user=(IMAGE, TEXT), answers=(IMAGE_GEN,))
UNDERSTAND = Kind(user=(IMAGE,), answers=(TEXT,))


def fill(forms: Forms, key: str, text: str) -> Conversation:
    """Write the turns of one sample; its key draws the forms.

    >>> forms = load_forms("edit-v1", EDIT)
    >>> fill(forms, "00ff", "Make the fox blue.").user.count("Make the fox blue.")
    1
    """
    user = draw(key, "user form", len(forms.user))
    answer = draw(key, "answer form", len(forms.answers))
    return Conversation(
        user=forms.user[user].replace(TEXT, text),
        assistant=forms.answers[answer].replace(TEXT, text),
        template=f"{forms.name}/u{user}/a{answer}",
    )


def load_forms(name: str, kind: Kind, field: str = "edit_forms") -> Forms:
    """Load a bundled file of forms by name, or any file by path or URL.

    `field` of the section `pair` names it, for errors.

    Raises:
        CorpusError: the file is missing, or no file of forms of this kind.
    """
    data = read_template_file(name, field)
    return _parse(f"pair.{field}: {name}", data, tuple(kind.user), tuple(kind.answers))


@lru_cache(maxsize=8)
def _parse(where: str, data: bytes, user: tuple[str, ...], answers: tuple[str, ...]) -> Forms:
    try:
        forms = Forms.model_validate(load_yaml(data))
    except (yaml.YAMLError, ValidationError, ValueError) as error:
        raise CorpusError(f"{where}: {error}") from error
    faults = [*_faults(forms.user, user), *_faults(forms.answers, answers)]
    if faults:
        raise CorpusError(f"{where}: {'; '.join(faults)}")
    return forms


def _faults(forms: Sequence[str], needed: Sequence[str]) -> list[str]:
    faults: list[str] = []
    for form in forms:
        for mark in (TEXT, *MARKS):
            if form.count(mark) != (mark in needed):
                times = "once" if mark in needed else "not"
                faults.append(f"{form!r} must hold {mark} {times}")
        if marker := marker_in(form, allowed=MARKS):
            faults.append(f"{form!r} must not hold {marker}")
        if "{" in form.replace(TEXT, "") or "}" in form.replace(TEXT, ""):
            faults.append(f"{form!r} holds a brace that is not of {TEXT}")
    return faults
