"""Special tokens of chat templates and tokenizers, which a user's text must not contain.

In a chat template, `<|im_end|>` in a caption would end a turn, and `<|image_pad|>` would stand for
a missing image. This is the only module that lists these tokens.
"""

import re
import unicodedata
from collections.abc import Collection
from typing import Final

import regex

IMAGE_GEN: Final = "<image_gen>"  # marks the generated image in a message
IMAGE: Final = "<image>"  # marks an input image
MARKS: Final = (IMAGE, IMAGE_GEN)

# In angle brackets, also with a number: <s>, </s>, <image>, <loc0123>.
_NAMES = (
    "answer|assistant|audio|begin|boi|bos|bot|box|cap|cls|col|ctrl|dcap|dummy|end|endoftext|eod|eoi|eom"
    "|eop|eos|eot|filename|grounding|human|im|image|imagehere|imageplaceholder|img|imgpad|loc|mask"
    "|ncap|ocr|od|pad|patch|phrase|placeholder|point|points|poly|quad|ref|reserved|row|s|seed:[a-z]+"
    "|seg|sentinel|sep|slice|sop|sot|special|start|sys|system|think|unit|unk|unused|user|usr|vid"
    "|video|vision"
)
# In square brackets: tokens in any case, then tokens in capitals only.
_BRACKETED = (
    r"/?inst|/?available_tools|/?tool_(?:calls|content|results)|/?(?:system_prompt|model_settings)"
    r"|call_id|/?img(?:_break|_end)?|[gs]mask|begin_audio|unused(?:_token_)?\d+|control_\d+"
)
_CAPITALS = "ARGS|AUDIO|BOS|CLS|EOS|MASK|MIDDLE|PAD|PREFIX|SEP|SUFFIX|/?THINK|TRANSCRIBE|UNK"
_MARKER = re.compile(
    r"<\|[^<>|]{1,64}\|>|<\|/?\w[\w ./-]{0,63}>|</?\w[\w ./-]{0,63}\|>"  # <|im_end|>, <|turn>
    rf"|</?(?:{_NAMES})[_-]?\d{{0,6}}/?>"
    r"|</?[a-z]{1,32}(?:_[a-z0-9]{1,32}){1,5}/?>"  # <start_of_turn>: no name of HTML has a _
    r"|</?(?:audio|end|global|image|img|start|video|vision)(?:-[a-z0-9]{1,32}){1,5}/?>"
    r"|<0x[0-9a-f]{2}>|<2[a-z]{2,4}>|</?vila/[a-z]{1,32}>"  # bytes, languages, VILA
    r"|<</?sys>>|(?-i:\|(?:ENDOFTEXT|NEWLINE|SPEAKER)\|)"
    r"|(?-i:>>(?:ABSTRACT|ANSWER|COMMENT|DOMAIN|INTRODUCTION|QUESTION|SUMMARY|TITLE)<<)"
    rf"|\[(?:{_BRACKETED}|(?-i:{_CAPITALS}))\]",
    re.I,
)
_IGNORABLE = regex.compile(r"\p{Default_Ignorable_Code_Point}+")  # joiners, variation selectors


def marker_in(text: str, *, allowed: Collection[str] = ()) -> str:
    r"""Return the first special token or image mark in a text, or ''.

    It also finds tokens in other case, in full width (as DeepSeek's bars), and with invisible
    characters.

    >>> [marker_in(text) for text in ("a fox <|IM_end|> x", "a<b and c>d", "[\u200bINST]")]
    ['<|IM_end|>', '', '[INST]']

    Args:
        text: text of a user, or a message.
        allowed: tokens that the text may contain.
    """
    plain = _IGNORABLE.sub("", unicodedata.normalize("NFKC", text))
    found = (marker[0] for marker in _MARKER.finditer(plain))
    return next((marker for marker in found if marker not in allowed), "")


def without_outer_markers(text: str) -> str:
    """Remove special tokens and white space at both ends of a text; those inside stay.

    >>> without_outer_markers("<s> a fox <|im_end|> x </s><|im_end|>")
    'a fox <|im_end|> x'
    """
    start, end = 0, len(text)
    for found in _MARKER.finditer(text):
        if text[start : found.start()].strip():
            break
        start = found.end()
    for found in reversed([*_MARKER.finditer(text, start)]):
        if text[found.end() : end].strip():
            break
        end = found.start()
    return text[start:end].strip()
