"""Named rules for texts that describe no image; a recipe chooses the rules."""

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
"""Pattern of each rule in a cleaned text; the last two must match the whole text."""

_WHOLE = ("placeholder", "punctuation")


def boilerplate_in(text: str, rules: Sequence[str]) -> tuple[str, str]:
    """Return the first rule that matches a text and the matched words; '' and '' for none.

    >>> boilerplate_in("IMG_1234.JPG of a dog", ["hash", "filename"])
    ('filename', 'IMG_1234')
    """
    for name in rules:
        rule = BOILERPLATE[name]
        found = rule.match(text) if name in _WHOLE else rule.search(text)
        if found:
            return name, found[0]
    return "", ""
