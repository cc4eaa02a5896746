"""What a model is asked to write the user's turn of a pair, and the words before an image."""

from collections.abc import Mapping
from typing import Final

from filters.captions.styles import Request
from schemas.caption_config import Instruction
from schemas.subsets import EDIT, T2I, UNDERSTAND, Subset

INSTRUCTION: Final = "instruction"  # style of a user's turn
LEAD_IN: Final = "lead_in"  # style of the answer's words before the image

PROMPTS: Final[Mapping[str, str]] = {
    T2I.name: (
        "A caption of an image: {caption}\nWrite what a user says to ask for this image, in one or "
        "two sentences. Keep each thing, number and colour that the caption names, and add none. "
        "Do not say what the image is made with, unless the caption does. Write only what the user "
        "says."
    ),
    EDIT.name: (
        "A change of an image: {caption}\nAsk for this change in other words, in one sentence, as "
        "a user does. Keep each thing, number, colour, direction and quoted word, and add none. "
        "Write only this sentence."
    ),
    UNDERSTAND.name: (
        "A description of an image: {caption}\nWrite one question about the image that this "
        "description answers. The user who asks it sees the image, and does not know the "
        "description. Write only the question."
    ),
}
"""The bundled prompt of each subset whose user's turn a model may write."""

LEAD_IN_PROMPT: Final = (
    "A user asks: {caption}\nThe image is ready. Write the one short sentence with which an "
    "assistant hands it over, in at most 15 words. Ask nothing. Write only this sentence."
)
_MOST_LEAD_IN_TOKENS: Final = 48


def instruction_request(instruction: Instruction, subset: Subset) -> Request:
    """Return the request for a user's turn; `{caption}` is the caption, or the edit."""
    return Request(
        name=INSTRUCTION,
        prompt=instruction.prompt or PROMPTS[subset.name],
        form="text",
        schema=None,
        max_new_tokens=instruction.max_new_tokens,
        min_tokens=instruction.min_tokens,
        max_tokens=instruction.max_tokens,
    )


def lead_in_request() -> Request:
    """Return the request for the answer's words before an image; `{caption}` is the user's turn."""
    return Request(
        name=LEAD_IN,
        prompt=LEAD_IN_PROMPT,
        form="text",
        schema=None,
        max_new_tokens=_MOST_LEAD_IN_TOKENS,
        min_tokens=2,
        max_tokens=_MOST_LEAD_IN_TOKENS,
    )
