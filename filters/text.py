"""The primary text of a row, and the normal form that finds repeated texts."""

import unicodedata


def primary_text(text: str, title: str) -> str:
    """Return the text for captions: `text` stripped, or `title` if it is empty."""
    return text.strip() or title.strip()


def normalised_text(text: str, *, fold_case: bool = True) -> str:
    """Return a form that is equal for repeated captions.

    It ignores case (if folded), compatibility forms (full width, ligatures, superscripts) and the
    amount of white space: Unicode's compatibility caseless match (section 3.13, D146), composed at
    the end, white space collapsed.

    >>> normalised_text("  A red   FOX ") == normalised_text("a red fox")
    True
    """
    if not fold_case:
        return " ".join(unicodedata.normalize("NFKC", text).split())
    once = unicodedata.normalize("NFKD", unicodedata.normalize("NFD", text).casefold())
    twice = unicodedata.normalize("NFKC", once.casefold())
    return " ".join(twice.split())
