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
        "Write what a user says to ask an assistant for an image, in one or two sentences, as "
        "'Could you draw ...?', 'I need a picture of ...' or 'Show me ...'. Keep each thing, "
        "number and colour that the image has, and add none. Write only what the user says.\n"
        "The image: {caption}"
    ),
    EDIT.name: (
        "Ask for a change of an image in other words, in one sentence, as 'Please ...' or 'Can you "
        "...?'. Keep each thing, number, colour, direction and quoted word, and add none. Write "
        "only the sentence.\n"
        "The change: {caption}"
    ),
    UNDERSTAND.name: (
        "Write one question about an image that a user asks who sees it, as 'What ...?', 'Where "
        "...?' or 'What is ... doing?'. What the image shows answers the question, which does not "
        "give it away. Write only the question.\n"
        "The image shows: {caption}"
    ),
}
"""The bundled prompt of each subset whose user's turn a model may write."""

LEAD_IN_PROMPT: Final = (
    "Write the one short sentence with which an assistant hands over the image that a user asked "
    "for, in at most 15 words. Ask nothing. Write only the sentence.\n"
    "The user: {caption}"
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
