"""The host of a URL."""

from urllib.parse import urlsplit


def host_of(url: str) -> str:
    """Return the host of a URL in lower case, '' if it has none.

    >>> host_of("https://user@Images.Example.org:8080/a.jpg"), host_of("folder/a.jpg")
    ('images.example.org', '')
    """
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # of brackets that hold no IPv6 address
        return ""
