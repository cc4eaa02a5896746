"""Named rules for texts that caption nothing; a recipe says which apply."""

import re
from collections.abc import Mapping, Sequence

import regex

from filters.text_boilerplate import EPS, FILENAME, HASH

BOILERPLATE: Mapping[str, "re.Pattern[str] | regex.Pattern[str]"] = {
    "hash": HASH,
    "eps": EPS,
    "filename": FILENAME,
    "credit": re.compile(
        r"^(?:made|created|drawn|done) (?:with|in|using) (?:the )?(?:inkscape|sodipodi|\w+ ?draw)\b"
        r"|\bcreative commons\b|\bpublic domain\b|\ball rights reserved\b"
        r"|^part of .*\bcollection\W*$",
        re.I,
    ),
    "placeholder": re.compile(r"(?:null|none|untitled|no description)\W*$", re.I),
    "punctuation": regex.compile(r"[^\p{L}\p{N}\p{So}]+$"),  # So: emoji
}
"""What a rule looks for in a cleaned text: anywhere, or in all of it for the last two."""

_WHOLE = ("placeholder", "punctuation")


def boilerplate_in(text: str, rules: Sequence[str]) -> tuple[str, str]:
    """Return the first rule that a text breaks and the words that do; '' and '' for none.

    >>> boilerplate_in("IMG_1234.JPG of a dog", ["hash", "filename"])
    ('filename', 'IMG_1234')
    """
    for name in rules:
        rule = BOILERPLATE[name]
        found = rule.match(text) if name in _WHOLE else rule.search(text)
        if found:
            return name, found[0]
    return "", ""
