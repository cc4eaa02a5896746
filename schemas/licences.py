"""Licences, as far as their names tell what they forbid."""

import re

# NC and ND as parts of a name (CC-BY-NC-ND-4.0), in words, and as in URLs of Creative Commons.
_RESTRICTED = re.compile(
    r"(?<![a-z])n[cd](?![a-z])|non[\s_-]?commercial|no[\s_-]?deriv|research[\s_-]only", re.I
)


def is_restricted(licence: str) -> bool:
    """Return whether a licence forbids commercial use (NC) or changed copies (ND), by its name.

    >>> [is_restricted(name) for name in ("CC-BY-NC-4.0", "cc by-nd", "CC0", "MIT", "")]
    [True, True, False, False, False]
    """
    return _RESTRICTED.search(licence) is not None
