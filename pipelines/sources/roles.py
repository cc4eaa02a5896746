"""Rows of lists as samples of a subset: which column is which image, instruction or turn.

A row of a list of edits may be several samples: an inverse edit, or edits in turn. A row of a list
of preferences has the best and the worst of its images.
"""

import json
import math
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, cast

from pipelines.runtime.sidecar import Reject
from pipelines.sources.columns import ABSENT, as_text, look_up
from pipelines.sources.listing import MALFORMED, Listed, ListedImage, listed_from, storable
from schemas.keys import sample_key
from schemas.markers import IMAGE
from schemas.source_config import Column, ColumnList, Columns, Source
from schemas.subsets import EDIT, PREFERENCE

SOURCE, REJECTED = "source", "rejected"  # roles of further images
SEVERAL_INPUTS, NO_INPUT, NO_IMAGE = "several_inputs", "no_input", "no_image"
NO_INSTRUCTION, TIE = "no_instruction", "tie"

# How lists of edits write the place of the input image in an instruction: `<image>`, `<image_1>`,
# and, as in X2I, `<img><|image_1|></img>`.
_REFERENCE: Final = re.compile(r"<img>\s*<\|image_\d+\|>\s*</img>|<\|image_\d+\|>|<image(?:_\d+)?>")

_ITEM: Final = re.compile(r"(.+)\[(\d+)\]")

Row = Mapping[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Reads the rows of one source.

    Args:
        source: as in the recipe.
        main: column of the main image.
        number: number of the row in its file, if its columns hold images, which are then known by
            `number/column`; None if they hold URLs or paths.
    """

    source: Source
    main: Column
    number: int | None = None

    def samples(self, id_: str, row: Row) -> Iterator[Listed | Reject]:
        """Yield the samples of a row, without their places on disk unless the row holds images.

        Args:
            id_: file and number of the row.
            row: values by column.
        """
        # The main image may stand in another column, or in a list.
        listed = listed_from(id_, row, _without_url(cast(Hashable, self.source.columns)))
        if isinstance(listed, Reject):
            yield listed
            return
        try:
            if self.source.subset == EDIT.name:
                yield from self._edits(listed, row)
            elif self.source.subset == PREFERENCE.name:
                yield self._preference(listed, row)
            else:
                yield self._with_main(listed, row, self.main)
        except _Refused as refused:
            yield Reject(
                id=id_, reason=refused.reason, detail=storable(refused.detail), dropped=True
            )
        except ValueError as error:
            yield Reject(id=id_, reason=MALFORMED, detail=storable(str(error)))

    def _edits(self, listed: Listed, row: Row) -> Iterator[Listed | Reject]:
        columns = self.source.columns
        before = self._image(listed.id, row, columns.input)
        if before is None:
            raise _Refused(NO_INPUT, f"column {columns.input!r} names no image to edit")
        kind = as_text(_value(row, columns.edit_type), columns, "edit_type")
        listed = replace(listed, edit_type=kind, origin=before.url)
        for number, (text, column) in enumerate(self._turns(listed, row)):
            name = f"{listed.id}{f' turn {number + 1}' if number else ''}"
            after = self._image(listed.id, row, column)
            if after is None:
                yield Reject(
                    id=name,
                    reason=NO_IMAGE,
                    detail=f"column {column!r} names no image",
                    dropped=True,
                )
                return  # what follows has no image to start from
            yield _edit(replace(listed, id=name), text, before, after)
            if not number and columns.inverse != "":
                inverse = as_text(_value(row, columns.inverse), columns, "inverse")
                yield _edit(replace(listed, id=f"{name} inverse"), inverse, after, before)
            before = after

    def _turns(self, listed: Listed, row: Row) -> Sequence[tuple[str, Column]]:
        """Return instruction and column of the edited image of each edit of a row."""
        columns = self.source.columns
        if not columns.instructions:
            return [(listed.text or listed.title, self.main)]
        texts = [
            as_text(value, columns, "instructions.0")
            for value, _ in _each(row, columns.instructions)
        ]
        while texts and not texts[-1]:  # a row with fewer turns than the source has columns
            texts.pop()
        edited = columns.edited
        if len(edited) == 1 and len(texts) > 1:
            edited = tuple(f"{edited[0]}[{number}]" for number in range(len(texts)))
        if len(texts) > len(edited) or not texts:
            raise ValueError(f"{len(texts)} instructions for {len(edited)} edited images")
        return list(zip(texts, edited, strict=False))

    def _preference(self, listed: Listed, row: Row) -> Listed:
        columns = self.source.columns
        listed = replace(listed, origin=listed.text or listed.title)
        if not listed.origin:
            raise _Refused(NO_INSTRUCTION, "the row has no prompt")
        if columns.rejected != "":
            chosen, rejected, scores = self.main, columns.rejected, ()
        else:
            chosen, rejected, scores = _best_and_worst(row, columns)
        worse = self._image(listed.id, row, rejected)
        if worse is None:
            raise _Refused(NO_IMAGE, f"column {rejected!r} names no image")
        made = self._with_main(listed, row, chosen)
        further = ListedImage(role=REJECTED, url=worse.url, place=worse.place)
        return replace(made, images=(further,), scores=scores)

    def _with_main(self, listed: Listed, row: Row, column: Column) -> Listed:
        image = self._image(listed.id, row, column)
        if image is None:
            raise _Refused(NO_IMAGE, f"column {column!r} names no image")
        return replace(listed, url=image.url, place=image.place)

    def _image(self, id_: str, row: Row, column: Column) -> ListedImage | None:
        """Return the image that a column names, without a role; None if it names none."""
        if self.number is not None:
            return ListedImage(
                role="", url=storable(f"{id_}/{column}"), place=f"{self.number}/{column}"
            )
        value = _value(row, column)
        if isinstance(value, list | tuple):
            named = [each for each in value if each]
            if len(named) > 1:
                detail = f"column {column!r} names {len(named)} images, expected 1"
                raise _Refused(SEVERAL_INPUTS, detail)
            value = named[0] if named else ""
        if isinstance(value, Mapping):  # as {id, url} or {path, bytes}
            value = value.get("url") or value.get("path") or ""
        url = as_text(value, self.source.columns, "url")
        return ListedImage(role="", url=url) if url else None


@lru_cache(maxsize=16)
def _without_url(columns: Any) -> Columns:
    return columns.model_copy(update={"url": ""})


class _Refused(Exception):
    """A row that is dropped, by a rule."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def locator(url: str, images: Sequence[Mapping[str, Any]], text: str, turns: Sequence[Any]) -> str:
    """Return what tells a sample from others of its source, for its key.

    Of a sample with one image and no conversation it is the URL: a URL is one sample. Other samples
    may share images, so their texts and further images count too.

    Args:
        url: of the main image.
        images: further images, as in `sources/`.
        text: instruction or prompt.
        turns: of the conversation as listed.
    """
    if not images and not turns:
        return url
    parts = [url, *(f"{image['role']} {image['url']}" for image in images), text]
    said = [[turn["role"], turn["content"]] for turn in turns]
    return "\n".join([*parts, json.dumps(said, ensure_ascii=False)])


def key_of(source: str, row: Mapping[str, Any]) -> str:
    """Return the key of a row of `sources/`."""
    return sample_key(source, locator(row["url"], row["images"], row["text"], row["turns"]))


def _edit(listed: Listed, text: str, before: ListedImage, after: ListedImage) -> Listed | Reject:
    if not text:
        detail = "the row has no instruction"
        return Reject(id=listed.id, reason=NO_INSTRUCTION, detail=detail, dropped=True)
    given = ListedImage(role=SOURCE, url=before.url, place=before.place)
    text = _REFERENCE.sub(IMAGE, text)
    return replace(listed, text=text, title="", url=after.url, place=after.place, images=(given,))


def _best_and_worst(row: Row, columns: Columns) -> tuple[Column, Column, tuple[float, ...]]:
    """Return the columns of the best and the worst image, and their numbers."""
    scores = [_number(value, column) for value, column in _each(row, columns.scores)]
    images = _columns(row, columns.candidates, len(scores))
    if len(scores) < 2 or len(scores) != len(images):
        raise ValueError(f"{len(scores)} scores for {len(images)} images, expected 2 or more")
    sign = -1 if columns.best == "lowest" else 1
    order = sorted(range(len(scores)), key=lambda at: (-sign * scores[at], at))
    best, worst = order[0], order[-1]
    if not math.isfinite(scores[best] - scores[worst]):
        raise ValueError(f"scores {scores[best]:g} and {scores[worst]:g} are too far apart")
    if scores[best] == scores[worst]:
        raise _Refused(TIE, f"all images have score {scores[best]:g}")
    return images[best], images[worst], (scores[best], scores[worst])


def _columns(row: Row, columns: ColumnList, expected: int) -> list[Column]:
    """Return the columns of images: those given, or the places in one that holds a list."""
    if len(columns) != 1:
        return list(columns)
    value = _value(row, columns[0])
    length = len(value) if isinstance(value, list | tuple) else expected
    return [f"{columns[0]}[{number}]" for number in range(length)]


def _each(row: Row, columns: ColumnList) -> Iterator[tuple[Any, Column]]:
    """Yield the value of each column, or those of the list that the only column holds."""
    if len(columns) == 1:
        value = _value(row, columns[0])
        items = value if isinstance(value, list | tuple) else [value]
        yield from ((item, f"{columns[0]}[{number}]") for number, item in enumerate(items))
        return
    for column in columns:
        yield _value(row, column), column


def _number(value: Any, column: Column) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"column {column!r} is {value!r:.80}, expected a number")
    return number


def _value(row: Row, column: Column) -> Any:
    """Return the value of a column, None if there is none.

    An index at its end is of the list that the rest of the path gives: of `data.output[1]` the
    second of the outputs of all parts.
    """
    item = _ITEM.fullmatch(column) if isinstance(column, str) else None
    if item and column not in row:
        whole, number = look_up(row, item[1]), int(item[2])
        if isinstance(whole, list | tuple):
            return whole[number] if number < len(whole) else None
    value = look_up(row, column) if column != "" else None
    return None if value is ABSENT else value
