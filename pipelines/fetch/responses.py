"""Headers of HTTP answers: waits, and text that can be stored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_MOST_DIGITS = 300  # of a number that a float can hold


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
