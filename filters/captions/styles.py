"""Styles of captions: what a model is asked, how long an answer may be, which rows get which."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from filters.captions.json_answers import check_recipe_schema
from filters.captions.regions import REGIONS_SCHEMA
from filters.captions.source_words import MOST_CHARS, quoted_words
from schemas.caption_config import Form, Fusion, Style
from schemas.keys import unit

_ID_BYTES: Final = 5
_FIELD: Final = re.compile(r"\{(text|title|caption)\}")
MOST_CAPTION_CHARS: Final = 4_000  # of a caption that is fused with the source's words
FUSED: Final = "fused"  # style of a caption that is fused of two texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A style with nothing left open."""

    name: str
    prompt: str  # with {text} and {title}; '' for the source's own words
    form: Form
    schema: Mapping[str, Any] | None  # JSON schema of the answer
    max_new_tokens: int
    min_tokens: int
    max_tokens: int

    @property
    def prompt_id(self) -> str:
        """Return a short hash of the prompt's words, 10 hex digits."""
        return blake2b(self.prompt.encode(), digest_size=_ID_BYTES).hexdigest()

    def prompt_for(self, text: str, title: str, caption: str = "") -> str:
        """Return the prompt with a row's words, each a quotation that it cannot end.

        Braces other than those of {text}, {title} and {caption} are words of the prompt.
        """
        values = {"text": text, "title": title, "caption": caption}
        if not caption:  # then {caption} is words of the prompt
            del values["caption"]
        most = {"caption": MOST_CAPTION_CHARS}
        return _FIELD.sub(
            lambda field: (
                quoted_words(values[field[1]], most.get(field[1], MOST_CHARS))
                if field[1] in values
                else field[0]
            ),
            self.prompt,
        )

    @property
    def instructions(self) -> str:
        """Return the prompt without fields: words that no caption holds."""
        return _FIELD.sub("\n", self.prompt)


BUNDLED: Final[Mapping[str, Request]] = {
    each.name: each
    for each in (
        Request(
            name="sentence",
            prompt=(
                "Describe this image in one sentence of at most 30 words. Name the main subject "
                "first, then what it does and where it is. Begin with the subject itself, not with "
                "words like 'the image shows'. Write only the sentence."
            ),
            form="text",
            schema=None,
            max_new_tokens=96,
            min_tokens=4,
            max_tokens=80,
        ),
        Request(
            name="dense",
            prompt=(
                "Describe this image in one paragraph of 80 to 150 words for someone who cannot "
                "see it. Cover the subjects with their number, colours, shapes and positions, "
                "what they do, the background, the light, the style or medium, and any text "
                "exactly as it is written. State only what is visible: no guesses, moods or "
                "names. Begin with the main subject itself. Write only the paragraph."
            ),
            form="text",
            schema=None,
            max_new_tokens=400,
            min_tokens=40,
            max_tokens=360,
        ),
        Request(
            name="tags",
            prompt=(
                "List 5 to 20 tags for this image, the most important first: subjects, actions, "
                "setting, colours, style or medium. Each tag is one to three words in lower case. "
                "Write only the tags, on one line, with commas between them."
            ),
            form="tags",
            schema=None,
            max_new_tokens=160,
            min_tokens=3,
            max_tokens=160,
        ),
        Request(
            name="grounded",
            prompt=(
                "Describe this image in one sentence, and give the place of each thing that the "
                "sentence names. Answer with one JSON object and nothing else: "
                '{"caption": "...", "regions": [{"label": "...", "box": [x0, y0, x1, y1]}]}. '
                "A box holds left, top, right and bottom as shares of the image's width and "
                "height, from 0 to 1."
            ),
            form="regions",
            schema=REGIONS_SCHEMA,
            max_new_tokens=512,
            min_tokens=16,
            max_tokens=512,
        ),
    )
}
"""The bundled styles, by name."""

FUSION_PROMPT: Final = (
    "An image has these two texts.\nFrom a web page, with names and facts, and perhaps with words "
    "that have nothing to do with it: {text}\nA description of what is seen: {caption}\nWrite one "
    "description of the image. Take the structure from the description, and from the page only "
    "names and facts that can belong to the image. Write only the description."
)

_OWN: Final = Request(
    name="",
    prompt="",
    form="text",
    schema=None,
    max_new_tokens=256,
    min_tokens=1,
    max_tokens=512,
)


def request_of(style: Style) -> Request:
    """Return a style of the recipe with the bundled style's values where it gives none.

    Raises:
        EngineError: its `json_schema` is no JSON schema.
    """
    if style.json_schema is not None:
        check_recipe_schema(style.json_schema)
    base = BUNDLED.get(style.style, _OWN)
    form = style.form or base.form
    schema = REGIONS_SCHEMA if form == "regions" else style.json_schema
    return Request(
        name=style.style,
        prompt=style.prompt or base.prompt,
        form=form,
        schema=schema,
        max_new_tokens=_given(style.max_new_tokens, base.max_new_tokens),
        min_tokens=_given(style.min_tokens, base.min_tokens),
        max_tokens=_given(style.max_tokens, base.max_tokens),
    )


def fusion_of(fusion: Fusion) -> Request:
    """Return the request that fuses a row's words with a caption."""
    return Request(
        name=FUSED,
        prompt=fusion.prompt or FUSION_PROMPT,
        form="text",
        schema=None,
        max_new_tokens=fusion.max_new_tokens,
        min_tokens=fusion.min_tokens,
        max_tokens=fusion.max_tokens,
    )


def draw_styles(key: str, styles: Sequence[Style], count: int) -> list[Style]:
    """Draw styles for a row by its key, each at most once; the first is the row's own.

    Each style waits for a time that is exponential with its share as rate, and the first to come
    are drawn. So the first style has its share of all rows exactly, as an expectation; the next one
    has its share among the styles that are left. Order and place of the styles change nothing.
    Another style takes only the rows that it wins: all others keep what they had.

    Args:
        key: the row's.
        styles: with different names.
        count: how many; all styles, in the order of the draw, if there are fewer.
    """
    return sorted(styles, key=lambda style: (_waits(key, style), style.style))[:count]


def _waits(key: str, style: Style) -> float:
    return -math.log1p(-unit(key, f"caption style {style.style}")) / style.share


def _given(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value
