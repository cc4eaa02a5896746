"""What the headers of an HTTP answer say: opt-outs and waits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_AGENT = re.compile(r"[a-z0-9_.*-]+")
# Directives that have a value after a colon, which is otherwise the mark of an agent's name.
_WITH_VALUE = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")


def forbidding_directive(
    headers: Iterable[str], respected: Iterable[str], user_agent: str
) -> str | None:
    """Return the first of `respected` that X-Robots-Tag `headers` put on us, or None.

    Form (developers.google.com/search/docs/crawling-indexing/robots-meta-tag): directives with
    commas between, for all, or after `name:` for the crawler of that name up to the next name or
    the end of that header; any word of `user_agent` is our name. `none` says `noindex` too. Case
    does not matter; semicolons and spaces are taken for commas, because an opt-out badly written
    is still one.

    >>> forbidding_directive(["otherbot: noai", "NoIndex, nofollow"], ["noai", "noindex"], "us/1")
    'noindex'
    >>> forbidding_directive(["otherbot: noai, noindex"], ["noai", "noindex"], "us/1") is None
    True
    """
    us = {"*", *_AGENT.findall(user_agent.lower())}
    said = {each for header in headers for each in _directives(header.lower(), us)}
    if "none" in said:
        said.add("noindex")
    return next((each for each in respected if each.lower() in said), None)


def _directives(header: str, us: set[str]) -> list[str]:
    """Return the words of one lower-case header that are for `us` or for all."""
    found: list[str] = []
    for_us = True
    for part in re.split("[,;]", header):
        name, colon, rest = (piece.strip() for piece in part.partition(":"))
        named = colon and name not in _WITH_VALUE and _AGENT.fullmatch(name)
        if named:
            for_us = name in us
        if for_us:
            found.extend((rest if named else part).split())
    return found


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Read Retry-After (RFC 9110 section 10.2.3), seconds or a date; 0 if none or unreadable.

    A date is compared with the server's own Date where there is one, so that a wrong clock on
    either side does no harm.
    """
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    until_s = _moment_s(text)
    if until_s is None:
        return 0.0
    sent_s = _moment_s(headers.get("Date", ""))
    now_s = datetime.now(UTC).timestamp() if sent_s is None else sent_s
    return max(0.0, until_s - now_s)


def _moment_s(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def storable(header: str) -> str:
    """Return text with the bytes that were no UTF-8 replaced, so that UTF-8 can store it.

    HTTP clients hand such bytes on as lone surrogates (PEP 383).
    """
    return header.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
