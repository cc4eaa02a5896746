"""Removal of markup, addresses and generator parameters from a text."""

import html
import re
from html.entities import html5

import regex

from filters.text_boilerplate import EMAIL, URL
from filters.words import cut_at_word

MAX_CHARS = 512  # of a caption

_READ_CHARS = 10_000  # of the listed text; limits the work on hostile input

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Soft hyphens, direction marks, byte order marks and lone surrogates, which UTF-8 cannot encode.
# The two joiners (200c, 200d) stay: Persian and emoji need them.
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")

# A text without any such character is invisible. Unicode counts the blanks of Hangul and Braille as
# letters and symbols, and U+FFFD replaces unreadable characters.
_VISIBLE = regex.compile(
    r"[^\s\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Z}\p{Default_Ignorable_Code_Point}\u2800\ufffd]"
)

# Only with a semicolon: "AT&T", "a&parade" and "&copy" are words.
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});", re.I)

# All elements of HTML, also old ones; `a<b and c>d` and `x <y> z` have none.
_ELEMENTS = (
    "a|abbr|acronym|address|area|article|aside|audio|b|base|bdi|bdo|big|blockquote|body|br|button"
    "|canvas|caption|center|cite|code|col|colgroup|data|datalist|dd|del|details|dfn|dialog|dir|div"
    "|dl|dt|em|embed|fieldset|figcaption|figure|font|footer|form|frame|frameset|h[1-6]|head|header"
    "|hgroup|hr|html|i|iframe|img|input|ins|kbd|label|legend|li|link|main|map|mark|marquee|menu"
    "|meta|meter|nav|nobr|noscript|object|ol|optgroup|option|output|p|param|picture|pre|progress|q"
    "|rp|rt|ruby|s|samp|script|search|section|select|slot|small|source|span|strike|strong|style"
    "|sub|summary|sup|svg|table|tbody|td|template|textarea|tfoot|th|thead|time|title|tr|track|tt|u"
    "|ul|var|video|wbr"
)
_FLAGS = (
    "allowfullscreen|async|autoplay|checked|compact|controls|defer|disabled|download|hidden|ismap"
    "|itemscope|loop|multiple|muted|noshade|nowrap|readonly|required|reversed|selected"
)
_ATTRIBUTE = r"\s+[a-z_:@][\w:.-]*\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+)"
_MARKUP = re.compile(
    rf"<(script|style)\b[^<>]*>.*?</\1\s*>"
    rf"|<(?:{_ELEMENTS})(?:{_ATTRIBUTE}|\s+(?:{_FLAGS})\b)*\s*/?>"
    rf"|<[a-z][a-z0-9-]*(?:{_ATTRIBUTE})+\s*/?>"  # any name, if it has attributes
    r"|(?<!<)</[a-z][a-z0-9:-]*\s*>|<[a-z][a-z0-9-]*\s*/>"
    r"|<[a-z][\w-]*:[\w.-]+(?::[\w.-]+)*(?:\s[^<>]*)?/?>"  # <o:p>, <lora:name:0.8>
    r"|<!--.*?-->|<!doctype\b[^<>]*>|<\?xml\b[^<>]*>|<!\[CDATA\[|\]\]>",
    re.I,
)
_AUTOLINK = re.compile(rf"<(?:mailto:)?(?:{URL.pattern}|{EMAIL.pattern})>", re.I)
# Brackets that would be empty without the address: "(mail: me@example.org)".
_BRACKETED = re.compile(
    r"\( ?(?:(?:e-?mail|mail|web|url|see|from):? ?)?" + rf"(?:{URL.pattern}|{EMAIL.pattern}) ?\)",
    re.I,
)

# Midjourney's parameters, https://docs.midjourney.com/docs/parameter-list
_VALUED = (
    "ar|aspect|c|chaos|cref|cw|exp|iw|oref|ow|p|personalize|profile|q|quality|r|repeat|s|sameseed"
    "|seed|sref|stop|style|stylize|sv|sw|v|version|w|weird"
)
_BARE = "creative|draft|fast|hd|niji(?: \\d)?|relax|test|testp|tile|turbo|uplight|upbeta|video"
# Parameters that are no words, or have a number or a known value, are removed anywhere. Phones
# replace two hyphens by a dash.
_ANYWHERE = re.compile(
    rf"(?<!\S)(?:--(?:{_VALUED}) ?\d\S*|[\u2013\u2014](?:{_VALUED}) \d\S*"
    r"|--style (?:cute|expressive|original|raw|scenic)\b|--(?:[sco]ref|niji|testp)(?!\S))",
    re.I,
)
# The others are removed at the end only; between words, two hyphens are a dash. The limit is for
# hostile input.
_LAST = re.compile(
    rf"(?<!\S)(?:--(?:no(?: (?!--)\S+)*|(?:{_BARE})|(?:{_VALUED})(?: (?!--)\S+)?)"
    r"(?:\s+|$)){1,40}$",
    re.I,
)
_WEIGHT = re.compile(r"(?<=[^\W\d_])::(?:-?\d*\.?\d+)?(?=[\s,.]|$)")


def clean(text: str, max_chars: int = MAX_CHARS) -> str:
    """Clean a text; cleaning it again changes nothing, and it never becomes longer.

    It removes HTML tags and entities, control and invisible characters, URLs, e-mail addresses and
    Midjourney's parameters (`--ar 16:9`) and weights (`::2`). It collapses white space and cuts
    after a word at `max_chars`. An invisible text becomes ''. Angle brackets without an HTML
    element stay: `a<b and c>d`, and the tokens of chat templates, which `schemas.markers` finds.

    >>> clean("https://s.mj.run/x a <b>red</b> fox::2 &amp; a hen --ar 16:9 --no text, frame --v 5")
    'a red fox & a hen'
    """
    before, after = "", text[:_READ_CHARS]
    while after != before:  # one removal can uncover the next: &amp;lt;b&amp;gt;
        before, after = after, _clean_once(after, max_chars)
    return after if is_visible(after) else ""


def without_controls(text: str) -> str:
    """Replace control characters by spaces, and remove invisible ones and lone surrogates."""
    return _INVISIBLE.sub("", _CONTROL.sub(" ", text))


def is_visible(text: str) -> bool:
    """Return whether a text has any character that can be seen."""
    return _VISIBLE.search(text) is not None


def _clean_once(text: str, max_chars: int) -> str:
    """Remove one layer; no step makes the text longer, so the repetition ends."""
    plain = without_controls(_ENTITY.sub(_character, text))
    for noise in (_AUTOLINK, _MARKUP, _BRACKETED, URL, EMAIL):
        plain = noise.sub(" ", plain)
    spaced = " ".join(plain.split())
    for noise in (_ANYWHERE, _LAST, _WEIGHT):
        spaced = noise.sub(" ", spaced)
    return cut_at_word(" ".join(spaced.split()), max_chars)


def _character(entity: re.Match[str]) -> str:
    """Return the character of an entity; unknown names stay."""
    known = entity[0][1] == "#" or entity[0][1:] in html5
    return html.unescape(entity[0]) if known else entity[0]
