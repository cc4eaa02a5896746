"""URLs in requests: byte for byte as listed, and quoted only where a byte is not allowed.

Servers that sign or cache by the raw path (S3, imgix, thumbor) accept no other spelling. So
existing percent-encoding is kept, and optional encoding is not added. `addresses` checks which URLs
may be requested.
"""

import re
from typing import NamedTuple

from yarl import URL

# RFC 3986, appendix B; the last part is the fragment, which no server sees.
_PARTS = re.compile(
    r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(?:#.*)?", re.S
)
# Characters that are not quoted: those that browsers send unchanged, also a lone % (the
# percent-encode sets of WHATWG's URL standard, but "'" is allowed as in RFC 3986); and controls,
# which are refused elsewhere.
_SENT = r"A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%|\x00-\x1f\x7f-\x9f-"
_NOT_IN_A_PATH = re.compile(f"[^{_SENT}]")
_NOT_IN_A_QUERY = re.compile(rf"[^{_SENT}{{}}^`\\]")


class Parts(NamedTuple):
    """The parts of a URL or relative reference by RFC 3986, unchanged."""

    scheme: str  # '' for none
    authority: str | None  # None if there is none, as in a path
    path: str
    query: str  # with its '?'; '' for none

    def __str__(self) -> str:
        start = f"{self.scheme}:" if self.scheme else ""
        host = "" if self.authority is None else f"//{self.authority}"
        return start + host + self.path + self.query


def split_url(text: str) -> Parts:
    """Split a URL or a relative reference into its parts, without the fragment."""
    found = _PARTS.fullmatch(text)
    assert found is not None  # every part of the pattern may be empty
    scheme, authority, path, query = found.groups()
    return Parts(scheme or "", authority, path, query or "")


def quoted(text: str) -> str:
    r"""Quote the characters that are not allowed in a path or query, as UTF-8.

    Lone surrogates (PEP 383) are quoted as the original bytes, which were not UTF-8.

    >>> quoted("/a%2Cb,c d/\u00e9{1}|?x=%2F&y=[1]+{z};%")
    '/a%2Cb,c%20d/%C3%A9%7B1%7D|?x=%2F&y=[1]+{z};%'
    """
    path, mark, query = text.partition("?")
    return f"{_NOT_IN_A_PATH.sub(_percent, path)}{mark}{_NOT_IN_A_QUERY.sub(_percent, query)}"


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogateescape"))


def join_url(base: str, reference: str) -> str:
    """Resolve a reference against an absolute URL (RFC 3986 section 5.2).

    >>> join_url("http://host/a/b%2Fc?x", "../d%2C,e?")
    'http://host/d%2C,e?'
    """
    target, start = split_url(reference.strip(" ")), split_url(base)
    if target.scheme:
        return str(target)
    if target.authority is not None:
        return str(target._replace(scheme=start.scheme))
    if not target.path:
        return str(start._replace(query=target.query or start.query))
    path = target.path if target.path.startswith("/") else _beside(start, target.path)
    return str(start._replace(path=_without_dots(path), query=target.query))


def _beside(base: Parts, path: str) -> str:
    return f"{base.path.rpartition('/')[0]}/{path}"


def _without_dots(path: str) -> str:
    """Resolve `.` and `..` in an absolute path (RFC 3986 section 5.2.4)."""
    parts = path.split("/")[1:]
    kept: list[str] = []
    for part in parts:
        if part == "..":
            kept = kept[:-1]
        elif part != ".":
            kept.append(part)
    if parts[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def wire_url(parsed: URL, text: str) -> URL:
    """Return a checked URL for a client: the host as parsed, the rest as `quoted`.

    The query is part of yarl's path here, because yarl would drop a '?' without a query.
    """
    parts = split_url(text.strip(" "))
    target = quoted(parts.path + parts.query)
    return URL.build(
        scheme=parsed.scheme,
        authority=parsed.raw_authority,
        path=target if target.startswith("/") else f"/{target}",
        encoded=True,
    )
