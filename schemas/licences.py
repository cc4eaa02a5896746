"""Licences, as far as their names tell what they forbid."""

import re
import unicodedata

# NC and ND as parts of a name, in any spelling that is left when letters and digits alone count:
# CC-BY-NC-ND-4.0, by-n.c., "non-commercial" with any dash.
_JOINED = re.compile(
    r"by(?:sa)?n[cd]|(?<!i)nc(?:sa|nd)|noncommerc|nocommerc|notforcommerc|noderiv|nonderiv"
    r"|researchonly|researchpurposesonly|academiconly|academicuseonly|academicpurposesonly"
)
_WORDS = re.compile(r"(?<![a-z])n[cd](?![a-z])")  # as a word or between digits and signs


def is_restricted(licence: str) -> bool:
    """Return whether a licence forbids commercial use (NC) or changed copies (ND), by its name.

    >>> [is_restricted(name) for name in ("CC-BY-NC-4.0", "cc by-nd", "CC0", "MIT", "")]
    [True, True, False, False, False]
    >>> [is_restricted(name) for name in ("CCBYNC", "by n.c.", "Non\u2011Commercial", "CC BY-SA")]
    [True, True, True, False]
    """
    plain = unicodedata.normalize("NFKC", licence).casefold()
    joined = re.sub(r"[^a-z0-9]", "", plain)
    return bool(_WORDS.search(plain) or _JOINED.search(joined))
