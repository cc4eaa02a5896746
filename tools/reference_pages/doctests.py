"""An extension of griffe that shows examples in docstrings as code, in any position."""

from typing import Any

from griffe import Extension, Object


class ShowDoctests(Extension):
    """Fences every paragraph of a docstring that is a Python session."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite an object's docstring; griffe calls this."""
        if obj.docstring:
            paragraphs = obj.docstring.value.split("\n\n")
            obj.docstring.value = "\n\n".join(map(fenced, paragraphs))


def fenced(paragraph: str) -> str:
    r"""Fence a paragraph if it is a Python session.

    >>> fenced("a fox"), fenced(">>> 1 + 1")[:9]
    ('a fox', '```pycon\n')
    """
    return f"```pycon\n{paragraph}\n```" if paragraph.startswith(">>> ") else paragraph
