"""URLs as they go out: byte for byte as listed, and quoted only where a byte may not stand in one.

Servers that sign or cache by the raw path (S3, imgix, thumbor) answer no other spelling, so what is
percent-encoded already, or could be and is not, stays as it is. `addresses` says which URLs may be
asked for.
"""

import re
from typing import NamedTuple

from yarl import URL

# RFC 3986, appendix B; the last part is the fragment, which no server sees.
_PARTS = re.compile(
    r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(?:#.*)?", re.S
)
# All but what browsers send as it is (the percent-encode sets of WHATWG's URL standard, but "'",
# which RFC 3986 lets stand), a lone % among it; and but controls, which nothing makes fit to send.
_SENT = r"A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%|\x00-\x1f\x7f-\x9f-"
_NOT_IN_A_PATH = re.compile(f"[^{_SENT}]")
_NOT_IN_A_QUERY = re.compile(rf"[^{_SENT}{{}}^`\\]")


class Parts(NamedTuple):
    """A URL or a relative reference, cut as RFC 3986 says; each as it was written."""

    scheme: str  # '' for none
    authority: str | None  # None for none, as in a path
    path: str
    query: str  # with its '?'; '' for none

    def __str__(self) -> str:
        start = f"{self.scheme}:" if self.scheme else ""
        host = "" if self.authority is None else f"//{self.authority}"
        return start + host + self.path + self.query


def split_url(text: str) -> Parts:
    """Cut a URL or a relative reference into its parts, without its fragment."""
    found = _PARTS.fullmatch(text)
    assert found is not None  # every part of the pattern may be empty
    scheme, authority, path, query = found.groups()
    return Parts(scheme or "", authority, path, query or "")


def quoted(text: str) -> str:
    r"""Quote what may not stand in a path or query, as UTF-8 or as the bytes that were sent.

    Bytes that were no UTF-8 come as lone surrogates (PEP 383).

    >>> quoted("/a%2Cb,c d/\u00e9{1}|?x=%2F&y=[1]+{z};%")
    '/a%2Cb,c%20d/%C3%A9%7B1%7D|?x=%2F&y=[1]+{z};%'
    """
    path, mark, query = text.partition("?")
    return f"{_NOT_IN_A_PATH.sub(_percent, path)}{mark}{_NOT_IN_A_QUERY.sub(_percent, query)}"


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogateescape"))


def join_url(base: str, reference: str) -> str:
    """Resolve a reference against an absolute URL (RFC 3986 section 5.2); one that is whole stays.

    >>> join_url("http://host/a/b%2Fc?x", "../d%2C,e?")
    'http://host/d%2C,e?'
    """
    to, of = split_url(reference.strip(" ")), split_url(base)
    if to.scheme:
        return str(to)
    if to.authority is not None:
        return str(to._replace(scheme=of.scheme))
    if not to.path:
        return str(of._replace(query=to.query or of.query))
    path = to.path if to.path.startswith("/") else _beside(of, to.path)
    return str(of._replace(path=_without_dots(path), query=to.query))


def _beside(base: Parts, path: str) -> str:
    return f"{base.path.rpartition('/')[0]}/{path}"


def _without_dots(path: str) -> str:
    """Follow the `.` and `..` of an absolute path (RFC 3986 section 5.2.4)."""
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
    """Return a checked URL for a client to send: the host as parsed, all after it as `quoted`.

    Path and query stand together in yarl's path, which else drops a '?' with nothing behind it.
    """
    parts = split_url(text.strip(" "))
    target = quoted(parts.path + parts.query)
    return URL.build(
        scheme=parsed.scheme,
        authority=parsed.raw_authority,
        path=target if target.startswith("/") else f"/{target}",
        encoded=True,
    )
