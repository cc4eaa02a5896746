"""Files of forms: sentences around a caption or an instruction, for every subset."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.templates.places import TEXT, Place, fitted, place_of, places_for
from pipelines.templates.template_file import Conversation, read_template_file, with_articles
from schemas.keys import draw
from schemas.markers import IMAGE, IMAGE_GEN, MARKS, marker_in
from schemas.store.storage import CorpusError
from schemas.strict_yaml import load_yaml

MEDIUM = "{medium}"
ARTICLE = "{article}"

Form = Annotated[str, Field(min_length=1)]


class Forms(BaseModel):
    """The forms of a file: of the user's turn, and of the answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    media: tuple[Annotated[str, Field(pattern=r"^[a-z]+$")], ...] = ()  # nouns of {medium}
    user: Annotated[tuple[Form, ...], Field(min_length=1)]
    answers: Annotated[tuple[Form, ...], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What the forms of a subset must hold once each, and what they may hold."""

    user: tuple[str, ...]
    answers: tuple[str, ...]
    optional: tuple[str, ...] = ()  # of answers
    fits: bool = False  # whether captions are fitted into the forms


T2I = Kind(user=(TEXT,), answers=(IMAGE_GEN,), optional=(TEXT, MEDIUM, ARTICLE), fits=True)
EDIT = Kind(user=(IMAGE, TEXT), answers=(IMAGE_GEN,))
UNDERSTAND = Kind(user=(IMAGE,), answers=(TEXT,))


def fill(forms: Forms, key: str, text: str) -> Conversation:
    """Write the turns of one sample around a text, which is copied; its key draws the forms.

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


def fill_caption(
    forms: Forms, key: str, caption: str, *, faithful: bool = False, user: str = ""
) -> Conversation:
    """Write the turns that generate an image; the key draws among the forms that the caption fits.

    If the user's form holds a word of `media`, the answer holds no other one; an answer with
    `{medium}` repeats it, and is drawn only then. The template's id has the numbers of the forms
    in the file, from 0.

    >>> forms = load_forms("t2i-v2", T2I, "templates")
    >>> fill_caption(forms, "1c", "Two dogs run.").user
    'I wrote "Two dogs run" and need an image for it.'

    Args:
        forms: of the kind `T2I`.
        key: of the sample.
        caption: a cleaned caption.
        faithful: whether the caption is copied as it is.
        user: a turn that no form wrote; the answer's form is drawn by its words then.
    """
    places = places_for(caption, faithful=faithful)
    users = [n for n, form in enumerate(forms.user) if place_of(form) in places]
    number = users[draw(key, "user form", len(users))]
    medium = medium_in(user or forms.user[number], forms.media)
    answers = [
        n
        for n, form in enumerate(forms.answers)
        if place_of(form) in places and _agrees(form, medium, forms.media)
    ]
    answer = answers[draw(key, "answer form", len(answers))]
    said = with_articles(forms.answers[answer].replace(MEDIUM, medium))
    return Conversation(
        user=_filled(forms.user[number], caption),
        assistant=_filled(said, caption),
        template=f"{forms.name}/u{number}/a{answer}",
    )


def medium_in(text: str, media: Collection[str]) -> str:
    """Return the first word of a text that names a medium, or ''.

    >>> medium_in("Paint a picture of {text}.", ["image", "picture"])
    'picture'
    """
    words = re.findall(r"(?<!<)\b[a-z]+\b", text.lower())  # not of <image> and <image_gen>
    return next((word for word in words if word in media), "")


def load_forms(name: str, kind: Kind, field: str = "edit_forms") -> Forms:
    """Load a bundled file of forms by name, or any file by path or URL.

    `field` of the section `pair` names it, for errors.

    Raises:
        CorpusError: the file is missing, or no file of forms of this kind.
    """
    return _parse(f"pair.{field}: {name}", read_template_file(name, field), kind)


@lru_cache(maxsize=8)
def _parse(where: str, data: bytes, kind: Kind) -> Forms:
    try:
        forms = Forms.model_validate(load_yaml(data))
    except (yaml.YAMLError, ValidationError, ValueError) as error:
        raise CorpusError(f"{where}: {error}") from error
    faults = [
        *_faults(forms.user, kind.user),
        *_faults(forms.answers, kind.answers, kind.optional),
        *(_caption_faults(forms) if kind.fits else ()),
    ]
    if faults:
        raise CorpusError(f"{where}: {'; '.join(faults)}")
    return forms


def _faults(forms: Sequence[str], needed: Sequence[str], optional: Sequence[str] = ()) -> list[str]:
    faults = [f"{form!r} is given twice" for form in sorted({*forms}) if forms.count(form) > 1]
    for form in forms:
        for mark in (TEXT, *MARKS):
            if mark in optional:
                if form.count(mark) > 1:
                    faults.append(f"{form!r} must hold {mark} at most once")
            elif form.count(mark) != (mark in needed):
                times = "once" if mark in needed else "not"
                faults.append(f"{form!r} must hold {mark} {times}")
        if marker := marker_in(form, allowed=MARKS):
            faults.append(f"{form!r} must not hold {marker}")
        bare = form
        for mark in (TEXT, *optional):
            bare = bare.replace(mark, "")
        if "{" in bare or "}" in bare:
            faults.append(f"{form!r} holds a brace that is not of {', '.join((TEXT, *optional))}")
    return faults


def _caption_faults(forms: Forms) -> list[str]:
    faults = [f"{a!r} must end in {IMAGE_GEN}" for a in forms.answers if a[-11:] != IMAGE_GEN]
    for form in (*forms.user, *forms.answers):
        before = form.partition(TEXT)[0].rstrip()
        if place_of(form) is Place.INSIDE and before[-1:] in (*'.!?:"',):
            faults.append(
                f"{form!r}: {TEXT} stands inside a sentence, on its own line, after a colon to the "
                "line's end, or in quotation marks"
            )
        if with_articles(form.replace(MEDIUM, "x")).count(ARTICLE):
            faults.append(f"{form!r}: {ARTICLE} must stand before a word")
    if Place.APART not in map(place_of, forms.user):
        faults.append(f"no form of user takes every caption: one must end with a colon and {TEXT}")
    if not any(
        TEXT not in answer and MEDIUM not in answer and not medium_in(answer, forms.media)
        for answer in forms.answers
    ):
        faults.append(
            f"no answer fits every request: one must hold neither {TEXT} nor {MEDIUM} nor a word "
            "of media"
        )
    return faults


def _agrees(answer: str, medium: str, media: Collection[str]) -> bool:
    """Return whether an answer names the user's medium or none; `medium` is '' if not named."""
    if MEDIUM in answer:
        return bool(medium)
    return not medium or medium_in(answer, media) in ("", medium)


def _filled(form: str, caption: str) -> str:
    return form.replace(TEXT, fitted(caption, place_of(form)))
