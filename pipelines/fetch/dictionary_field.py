"""A strict reader of dictionaries in HTTP headers, RFC 9651 section 4.2.2."""

from __future__ import annotations

import re

_KEY = r"[a-z*][a-z0-9_.*-]*+"
_BARE = "|".join(
    (
        r"-?[0-9]{1,12}\.[0-9]{1,3}(?![0-9.])",  # decimal
        r"-?[0-9]{1,15}(?![0-9.])",  # integer
        r'"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*+"',  # string
        r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*+",  # token
        r":[A-Za-z0-9+/=]*+:",  # bytes
        r"\?[01]",  # boolean
        r"@-?[0-9]{1,15}(?![0-9.])",  # date
        r'%"(?:[\x20-\x21\x23-\x24\x26-\x7e]|%[0-9a-f]{2})*+"',  # text with escapes
    )
)
_PARAMETERS = rf"(?:;\x20*+{_KEY}(?:=(?:{_BARE}))?)*+"
_INNER = rf"(?:{_BARE}){_PARAMETERS}"
_LIST = rf"\(\x20*+(?:{_INNER}(?:\x20++{_INNER})*+)?\x20*+\)"
_MEMBER = re.compile(rf"({_KEY})(?:=({_LIST}|{_BARE}))?({_PARAMETERS})")
_COMMA = re.compile(r"[ \t]*+,[ \t]*+")


def last_values(text: str) -> dict[str, str]:
    """Return the last value of each key as written, without parameters; {} if it is malformed.

    A key alone has the value `?1`, true. The bytes in a value are not decoded.

    >>> last_values('a=y, b;q=1, a=n;why="x", c=(1 2)')
    {'a': 'n', 'b': '?1', 'c': '(1 2)'}
    >>> last_values("a=n,")
    {}
    """
    text = text.strip(" \t")
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        member = _MEMBER.match(text, at)
        if member is None:
            return {}
        found[member[1]] = "?1" if member[2] is None else member[2]
        if member.end() == len(text):
            return found
        comma = _COMMA.match(text, member.end())
        if comma is None or comma.end() == len(text):
            return {}
        at = comma.end()
    return found
