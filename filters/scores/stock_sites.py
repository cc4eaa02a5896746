"""Names of sites of stock photos in words that were read from an image."""

import unicodedata
from collections.abc import Iterable
from functools import cache

import regex


def names_stock_site(words: str, sites: Iterable[str]) -> bool:
    """Tell whether words name a site, in any case and with anything but letters between letters.

    A name begins where a word begins, so that "hi stock" is not iStock.

    >>> names_stock_site("www.iStockphoto.com", ["istock"])
    True
    >>> names_stock_site("a d o b e   S t o c k", ["adobe stock"])
    True
    >>> names_stock_site("hi stock", ["istock"])
    False
    """
    plain = unicodedata.normalize("NFKC", words).casefold()
    return any(_pattern(site).search(plain) for site in sites)


@cache
def _pattern(site: str) -> "regex.Pattern[str]":
    letters = [char for char in site.casefold() if char.isalnum()]
    return regex.compile(r"(?<![\p{L}\p{N}])" + r"[^\p{L}\p{N}]*".join(letters))
