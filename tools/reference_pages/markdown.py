"""Markdown of the reference: tables and code."""

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "columns") -> str:
    """Return a table; docs/assets/extra.css has a layout for each kind on a phone."""
    lines = [header, ["---"] * len(header), *rows]
    text = "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
    return f'<div class="keys {kind}" markdown>\n\n{text}\n\n</div>\n'


def _cell(text: str) -> str:
    r"""Return a cell; angle brackets outside code are escaped, because they would be HTML.

    >>> _cell("<image> stands for `a|<b>`")
    '&lt;image> stands for `a\\|<b>`'
    """
    parts = text.replace("|", "\\|").replace("\n", " ").split("`")
    return "`".join(part if n % 2 else part.replace("<", "&lt;") for n, part in enumerate(parts))


def code(text: object) -> str:
    """Return a value as code."""
    return f"`{text}`"
