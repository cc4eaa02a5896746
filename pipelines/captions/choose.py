"""The captions of rows: a style is drawn, engines are asked in order, gates judge what they write.

A row goes on to the next engine when a gate refuses its caption, and to the next style when no
engine's caption passes. So rows are captioned in rounds: in each, every open row has one request to
one engine, and all requests to an engine are asked together.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from filters.captioner import Answer, Unanswered
from filters.captions.styles import draw_styles
from pipelines.runtime.sidecar import Reject
from schemas.caption_config import SOURCE, CaptionConfig, Style

UNANSWERED: Final = "unanswered"  # reason of a row whose request met passing trouble
NO_CAPTION: Final = "no_caption"  # reason of a row that no engine captioned, where that drops it


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What one engine wrote for a row in one style; also what a gate refused."""

    style: str
    engine: str  # '' for the source's words
    origin: str  # of the source's words: text, title or title_and_tags; else the engine's name
    model: str = ""
    prompt: str = ""  # id of the prompt
    digest: str = ""  # of the request
    text: str = ""  # as the engine wrote it
    caption: str = ""  # cleaned; '' if it was refused
    reason: str = ""  # why it was refused
    detail: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Captioned:
    """What came of a row: its captions that passed, and all that was written on the way."""

    passed: Sequence[Written] = ()
    written: Sequence[Written] = ()
    reject: Reject | None = None


Row = Mapping[str, Any]
Ask = Callable[[int, Sequence["Request"]], Iterable[tuple["Request", Answer | Unanswered | Reject]]]
"""(number of the engine, requests) -> each request with what came of it, in any order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A row to be captioned in a style by an engine."""

    row: Row
    style: Style
    engine: int


@dataclass(kw_only=True)
class _Open:
    """A row on its way through styles and engines."""

    row: Row
    styles: Sequence[Style]  # in the order drawn
    engine: int = 0
    place: int = 0  # of the style
    passed: list[Written] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)
    reject: Reject | None = None


@dataclass(frozen=True, kw_only=True)
class Captioner:
    """Captions rows.

    Args:
        config: of the recipe.
        ask: asks an engine.
        judge: applies the gates to an answer.
        source: writes a row's caption from the source's words.
    """

    config: CaptionConfig
    ask: Ask
    judge: Callable[[Request, Answer], Written]
    source: Callable[[Row], Written]

    def caption(self, rows: Sequence[Row]) -> list[Captioned]:
        """Return what came of each row, in the order given."""
        opened = [self._opened(row) for row in rows]
        while waiting := [one for one in opened if self._goes_on(one)]:
            for number in range(len(self.config.engines)):
                self._ask(number, [one for one in waiting if one.engine == number])
        return [self._closed(one) for one in opened]

    def _opened(self, row: Row) -> _Open:
        styles = draw_styles(row["key"], self.config.styles, len(self.config.styles))
        return _Open(row=row, styles=styles)

    def _goes_on(self, one: _Open) -> bool:
        """Write the source's words where their turn has come; return whether an engine is next."""
        while one.reject is None and len(one.passed) < self.config.per_row:
            if one.place == len(one.styles):
                return False
            if one.styles[one.place].style != SOURCE:
                return True
            self._take(one, self.source(one.row))
        return False

    def _ask(self, number: int, group: Sequence[_Open]) -> None:
        if not group:
            return
        requests = {
            one.row["key"]: (
                one,
                Request(row=one.row, style=one.styles[one.place], engine=number),
            )
            for one in group
        }
        for request, answer in self.ask(number, [request for _, request in requests.values()]):
            one, _ = requests.pop(request.row["key"])
            if isinstance(answer, Reject):
                one.reject = answer
            elif isinstance(answer, Unanswered):
                one.reject = Reject(id=one.row["key"], reason=UNANSWERED, detail=answer.detail)
            else:
                self._take(one, self.judge(request, answer))
        assert not requests, f"engine {number} left {len(requests)} requests without an outcome"

    def _take(self, one: _Open, written: Written) -> None:
        """Take what was written, and go on to the next engine or style."""
        one.written.append(written)
        if written.caption:
            one.passed.append(written)
        is_last = written.style == SOURCE or one.engine + 1 == len(self.config.engines)
        if written.caption or is_last:
            one.place, one.engine = one.place + 1, 0
        else:
            one.engine += 1

    def _closed(self, one: _Open) -> Captioned:
        if one.reject:
            return Captioned(reject=one.reject, written=one.written)
        if not one.passed and self.config.otherwise == "source" and not _has_source(one):
            self._take(one, self.source(one.row))
        if one.passed:
            return Captioned(passed=one.passed, written=one.written)
        last = one.written[-1]
        reason = NO_CAPTION if any(each.engine for each in one.written) else last.reason
        said = "; ".join(
            f"{each.engine or SOURCE} in style {each.style}: {each.reason}: {each.detail}"
            for each in one.written
        )
        detail = last.detail if reason != NO_CAPTION else said
        return Captioned(
            written=one.written,
            reject=Reject(id=one.row["key"], reason=reason, detail=detail[:500], dropped=True),
        )


def _has_source(one: _Open) -> bool:
    return any(each.style == SOURCE for each in one.written)


def used(captioned: Iterable[Captioned]) -> Iterator[Written]:
    """Yield all that engines wrote."""
    for each in captioned:
        yield from (written for written in each.written if written.engine)
