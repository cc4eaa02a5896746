"""Headers of HTTP answers: opt-outs and waits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_MOST_DIGITS = 300  # of a number that a float can hold
_AGENT = re.compile(r"[a-z0-9_.*-]+")
# Directives with a value after a colon; otherwise a colon follows the name of an agent.
_WITH_VALUE = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")


def forbidding_directive(
    headers: Iterable[str], respected: Iterable[str], user_agent: str
) -> str | None:
    """Return the first of `respected` in X-Robots-Tag `headers` that applies to us, or None.

    Format (developers.google.com/search/docs/crawling-indexing/robots-meta-tag): directives
    separated by commas, for all crawlers; or after `name:` for the crawler with that name, up to
    the next name or the end of the header. Any word of `user_agent` is our name. `none` includes
    `noindex`. Case is ignored; semicolons and spaces count as commas, because a badly written
    opt-out is still an opt-out.

    >>> forbidding_directive(["otherbot: noai", "NoIndex, nofollow"], ["noai", "noindex"], "us/1")
    'noindex'
    >>> forbidding_directive(["otherbot: noai, noindex"], ["noai", "noindex"], "us/1") is None
    True
    """
    us = {"*", *_AGENT.findall(user_agent.lower())}
    found = {each for header in headers for each in _directives(header.lower(), us)}
    if "none" in found:
        found.add("noindex")
    return next((each for each in respected if each.lower() in found), None)


def _directives(header: str, us: set[str]) -> list[str]:
    """Return the directives of one lower-case header for `us` or for all."""
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

    A date is compared with the server's Date header if there is one, so that wrong clocks do no
    harm.
    """
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+", text):
        return float(text[:_MOST_DIGITS])
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
    """Replace the bytes of a header that are not UTF-8, so that UTF-8 can store the text.

    HTTP clients return such bytes as lone surrogates (PEP 383).
    """
    return header.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
