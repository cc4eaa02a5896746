"""JSON arrays of rows, and values over several lines, read one by one in bounded memory."""

import json
from collections.abc import Iterator
from typing import Any

CHUNK_CHARS = 1_000_000
MAX_ITEM_CHARS = 16_000_000
_BLANK = " \t\r\n"
_DECODER = json.JSONDecoder()


def array_items(text: Any) -> Iterator[str]:
    """Yield the items of the JSON array in a text file, as text.

    The standard decoder finds the end of each item, so NaN and large numbers are read as in JSON
    Lines.

    Raises:
        ValueError: the array is damaged; has the number of items before.
    """
    buffer, number = _Buffer(text), 0
    if buffer.next() != "[":
        raise ValueError("no JSON array")
    buffer.position += 1
    ended = buffer.next() == "]"
    buffer.position += ended
    while not ended:
        item = buffer.item(number)
        mark = buffer.next()
        buffer.position += 1
        if mark not in {",", "]"}:
            raise ValueError(f"after item {number} expected , or ], found {mark[:1]!r}")
        yield item
        number += 1
        ended = mark == "]"
    if after := buffer.next():
        raise ValueError(f"text after the end of the array: {after!r}")


def json_values(text: Any) -> Iterator[str]:
    """Yield the consecutive JSON values in a text file, as text; a value may have several lines.

    Raises:
        ValueError: a value is damaged; has the number of values before.
    """
    buffer, number = _Buffer(text), 0
    while buffer.next():
        try:
            yield buffer.item(number)
        except ValueError as error:
            raise ValueError(f"{error}; expected an array of rows, or a row a line") from error
        number += 1


class _Buffer:
    def __init__(self, text: Any) -> None:
        self.text, self.data, self.position, self.ended = text, "", 0, False

    def next(self) -> str:
        """Return the next character that is not blank, without consuming it; '' at the end."""
        while True:
            while self.position < len(self.data):
                if self.data[self.position] not in _BLANK:
                    return self.data[self.position]
                self.position += 1
            if not self._more(CHUNK_CHARS):
                return ""

    def item(self, number: int) -> str:
        """Consume the next value; the character after it must end it, because 1 may be 1.5."""
        self.next()
        while True:
            end, fault = self._decoded()
            after = self.data[end : end + 1]
            if not fault and (self.ended or (after and after in f"{_BLANK},]")):
                item = self.data[self.position : end]
                self.position = end
                return item
            held = len(self.data) - self.position
            if held > MAX_ITEM_CHARS or self.ended:
                shown = self.data[self.position :][:80]
                why = fault or f"over {MAX_ITEM_CHARS:,} characters"
                raise ValueError(f"item {number} cannot be read ({why}): {shown!r}")
            # Double the buffer, so that a long item is not decoded once per chunk.
            self._more(max(held, CHUNK_CHARS))

    def _decoded(self) -> tuple[int, str]:
        """Return the end of the value that begins here, or an error."""
        try:
            return _DECODER.raw_decode(self.data, self.position)[1], ""
        except (ValueError, RecursionError) as error:
            return len(self.data), str(error)

    def _more(self, length: int) -> bool:
        data = self.text.read(length)
        self.data, self.position = self.data[self.position :] + data, 0
        self.ended = not data
        return bool(data)
