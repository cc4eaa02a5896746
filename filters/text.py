"""Which text of a row counts, and when two texts are the same."""

import unicodedata


def primary_text(text: str, title: str) -> str:
    """Return what captions start from: `text` stripped, or `title` where that is empty."""
    return text.strip() or title.strip()


def normalised_text(text: str, *, fold_case: bool = True) -> str:
    """Return the identity under which captions are counted as repeated.

    Case, where it is folded, compatibility forms (full width, ligatures, superscripts) and the
    amount of white space do not distinguish two texts: Unicode's compatibility caseless match
    (section 3.13, D146), composed at the end, white space collapsed.

    >>> normalised_text("  A red   FOX ") == normalised_text("a red fox")
    True
    """
    if not fold_case:
        return " ".join(unicodedata.normalize("NFKC", text).split())
    once = unicodedata.normalize("NFKD", unicodedata.normalize("NFD", text).casefold())
    twice = unicodedata.normalize("NFKC", once.casefold())
    return " ".join(twice.split())
