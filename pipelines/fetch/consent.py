"""Opt-outs in the headers of one HTTP answer: which binds, and what was sent.

A badly written opt-out is still an opt-out, where its meaning is clear. Only `Content-Usage`
is read strictly, because its draft says that what is malformed states nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipelines.fetch.dictionary_field import last_values

# Kept with a row, whether they bind or not. TDM-Policy says where rights can be obtained.
_KEPT = frozenset(
    ("x-robots-tag", "tdm-reservation", "tdm-policy", "content-usage", "content-signal")
)
_MOST_KEPT = 8192  # characters of headers kept with one answer, and of a value in a detail

# Directives with a value, which is removed first: `max-image-preview: none` is not `none`.
_LIMITS = re.compile(
    r"(?<![\w-])max[-_]?(?:snippet|(?:image|video)[-_]?preview)(?![\w-])"
    r"(?:\s*+[:=]\s*+[^\s,;]*+|\s++(?:-?[0-9]+|none|standard|large)(?![\w-]))?"
)
# A date has colons, and commas before digits; it ends before the next `no...` but November.
_DATE = re.compile(r"unavailable[-_\s]?after(?:(?!\bno(?!v))[^,;]|,(?=\s*+[0-9]))*+")
_SPACED = re.compile(r"(?<![\w-])no\s++(?:image[\s_-]*+)?(?:ai|index)(?![\w-])")
# A word; with a colon it is the name of an agent (with or without version), not of a URL scheme.
_WORD = re.compile(r"([a-z0-9_.*-]+)(?:/[a-z0-9_.-]*)?(\s*+:(?!//))?")
_AGENT = re.compile(r"[a-z0-9_.*-]+")
# Names of all crawlers: `robots` is that of the meta tag, `x-robots-tag` of a header sent twice.
_ALL = ("*", "all", "robots", "xrobotstag")

_NO_TRAINING = re.compile(r"""(?<![\w-])ai[-_]?train\s*+[=:]\s*+["']?no["']?(?![\w-])""")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptOut:
    """An opt-out that binds, and its evidence."""

    reason: str  # `robots_<directive>`, or the header's name: `tdm_reservation`
    header: str  # name as sent
    value: str  # as sent, several joined by ", "
    policy: str = ""  # TDM-Policy as sent beside a TDM-Reservation

    def __str__(self) -> str:
        policy = f", TDM-Policy {self.policy[:_MOST_KEPT]!r}" if self.policy else ""
        return f"{self.header} {self.value[:_MOST_KEPT]!r}{policy}"


def opt_out_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers that may state an opt-out, or a grant, as (name, value) in order."""
    return [each for each in headers if each[0].lower() in _KEPT]


def as_lines(url: str, sent: Iterable[tuple[str, str]]) -> str:
    """Return headers as lines of `URL name: value`, cut after 8,192 characters."""
    return "\n".join(f"{url} {name}: {value}" for name, value in sent)[:_MOST_KEPT]


def binding_opt_out(
    sent: list[tuple[str, str]],
    *,
    respected: Iterable[str],
    directives: Iterable[str],
    user_agent: str,
) -> OptOut | None:
    """Return the first opt-out of `respected` that an answer makes, or None.

    Args:
        sent: see `opt_out_headers`; a name may come several times.
        respected: lower-case names of headers that bind, see `crawl.opt_out_headers`.
        directives: those of X-Robots-Tag that bind.
        user_agent: as we send it; any word of it is our name in X-Robots-Tag.

    >>> sent = [("X-Robots-Tag", "noarchive"), ("tdm-reservation", "1")]
    >>> ours = {"directives": ["noai"], "user_agent": "us/1"}
    >>> print(binding_opt_out(sent, respected=["x-robots-tag", "tdm-reservation"], **ours))
    tdm-reservation '1'
    """
    for header in respected:
        names, values = _of(sent, header)
        if values and (reason := _reason(header, values, directives, user_agent)):
            policies = _of(sent, "tdm-policy")[1] if header == "tdm-reservation" else []
            joined = ", ".join(values)
            return OptOut(reason=reason, header=names[0], value=joined, policy=", ".join(policies))
    return None


def _of(sent: list[tuple[str, str]], header: str) -> tuple[list[str], list[str]]:
    """Return the names as sent and the values of one header."""
    found = [(name, value) for name, value in sent if name.lower() == header]
    return [name for name, _ in found], [value for _, value in found]


def _reason(
    header: str, values: list[str], directives: Iterable[str], user_agent: str
) -> str | None:
    if header == "x-robots-tag":
        directive = forbidding_directive(values, directives, user_agent)
        return None if directive is None else f"robots_{directive}"
    forbids = {
        "tdm-reservation": is_reserved,
        "content-usage": disallows_training,
        "content-signal": signals_no_training,
    }[header]
    return header.replace("-", "_") if forbids(values) else None


def forbidding_directive(
    values: Iterable[str], respected: Iterable[str], user_agent: str
) -> str | None:
    """Return the first of `respected` in values of X-Robots-Tag that applies to us, or None.

    Format (developers.google.com/search/docs/crawling-indexing/robots-meta-tag): directives
    separated by commas, for all crawlers; or after `name:` for the crawler with that name, up to
    the next name or the end of the header. Any word of `user_agent` is our name. `none` includes
    `noindex`. Values of directives (`max-image-preview: none`, a date) are no directives.

    Read too: any case; semicolons and spaces instead of commas; `no-ai`, `no_ai` and `no ai`;
    `noai: true`; a version after a name; `robots:` and `all:` for all crawlers.

    >>> forbidding_directive(["otherbot: noai", "NoIndex, nofollow"], ["noai", "noindex"], "us/1")
    'noindex'
    >>> forbidding_directive(["otherbot: noai, noindex"], ["noai", "noindex"], "us/1") is None
    True
    """
    wanted = {each: _plain(each.lower()) for each in respected}
    us = {*_ALL, *map(_plain, _AGENT.findall(user_agent.lower()))}
    known = {*wanted.values(), "none"}
    found = {each for value in values for each in _directives(value.lower(), us, known)}
    if "none" in found:
        found.add("noindex")
    return next((each for each, plain in wanted.items() if plain in found), None)


def _directives(value: str, us: set[str], known: set[str]) -> Iterator[str]:
    """Yield the directives of one lower-case value for us or for all, without hyphens."""
    for_us = True
    without_values = _LIMITS.sub(" ", _DATE.sub(" ", value))
    for word, colon in _WORD.findall(_SPACED.sub(lambda match: _closed(match[0]), without_values)):
        name = _plain(word)
        if colon and name not in known:
            for_us = name in us
        elif for_us:
            yield name


def _plain(word: str) -> str:
    return word.replace("-", "").replace("_", "")


def _closed(text: str) -> str:
    return "".join(text.split())


def is_reserved(values: Iterable[str]) -> bool:
    """Return whether TDM-Reservation (TDMRep of the W3C) is 1; 0 and all else reserve nothing.

    >>> is_reserved(["1"]), is_reserved(["0"]), is_reserved(["true"])
    (True, False, False)
    """
    parts = (part for value in values for part in re.split("[,;]", value))
    return any(part.strip(" \t\"'") == "1" for part in parts)


def disallows_training(values: Iterable[str]) -> bool:
    """Return whether Content-Usage (draft-ietf-aipref-attach, -vocab) disallows training.

    It is a dictionary of RFC 9651, whose key `train-ai` has the token `n`; all lines of it are one
    dictionary, and the last value of a key counts. The draft says that any other value, and a
    dictionary that is malformed, state no preference.

    >>> disallows_training(["search=y", "train-ai=n"])
    True
    >>> disallows_training(["train-ai=?0"]), disallows_training(["Train-AI=n"])
    (False, False)
    """
    return last_values(", ".join(values)).get("train-ai") == "n"


def signals_no_training(values: Iterable[str]) -> bool:
    """Return whether Content-Signal (contentsignals.org) has `ai-train=no`, in any case.

    `search` and `ai-input` are other uses.

    >>> signals_no_training(["search=yes, ai-input=no, ai-train=no"])
    True
    >>> signals_no_training(["search=no, ai-input=no, ai-train=yes"])
    False
    """
    return any(_NO_TRAINING.search(value.lower()) for value in values)
