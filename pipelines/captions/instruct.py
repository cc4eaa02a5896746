"""The user's turn of drawn rows by a model that reads texts, and the answer's words to it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from filters.captioner import Answer, Unanswered
from pipelines.captions.choose import UNANSWERED, Ask, Request, Row, Written
from pipelines.captions.judge import INSTRUCTIONS, LEAD_INS, Judge
from pipelines.runtime.sidecar import Reject
from schemas.caption_config import Instruction, Style
from schemas.keys import unit
from schemas.markers import IMAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructed:
    """What a model wrote for rows, by key; rows without an entry were not asked about."""

    written: Mapping[str, Sequence[Written]] = field(default_factory=dict)
    rejects: Mapping[str, Reject] = field(default_factory=dict)


def instructed(rows: Iterable[Row], ask: Ask, judge: Judge) -> Instructed:
    """Ask for the user's turn of the rows that the recipe draws, then for lead-ins to these.

    A text that a gate refuses has its reason, and `pair` takes a form instead. A row whose request
    met passing trouble is rejected: another day it has another instruction.

    Args:
        rows: with `key`, `caption` and, of listed conversations, `turns`.
        ask: asks an engine.
        judge: of a recipe with instructions for the subset of the rows.
    """
    config = judge.instruction
    if config is None:
        return Instructed()
    drawn = [row for row in rows if is_drawn(row, config)]
    found = _asked(drawn, INSTRUCTIONS, ask, judge)
    if not config.lead_in or not judge.subset.generated:
        return found
    followed = [
        {"key": row["key"], "caption": said.caption}
        for row in drawn
        for said in found.written.get(row["key"], ())
        if said.caption
    ]
    more = _asked(followed, LEAD_INS, ask, judge)
    written = {
        key: [*said, *more.written.get(key, ())]
        for key, said in found.written.items()
        if key not in more.rejects
    }
    return replace(found, written=written, rejects={**found.rejects, **more.rejects})


def is_drawn(row: Row, config: Instruction) -> bool:
    """Return whether a model writes the user's turn of a row.

    It does not of a conversation that is listed, of a row without words, and of an edit that says
    itself where its image stands.
    """
    caption = row["caption"]
    if row.get("turns") or not caption.strip() or IMAGE in caption:
        return False
    return unit(row["key"], "instruction") < config.share


def _asked(rows: Sequence[Row], style: Style, ask: Ask, judge: Judge) -> Instructed:
    written: dict[str, list[Written]] = {}
    rejects: dict[str, Reject] = {}
    requests = [Request(row=row, style=style, engine=judge.writer) for row in rows]
    for request, answer in ask(judge.writer, requests) if requests else ():
        key: Any = request.row["key"]
        if isinstance(answer, Answer):
            written[key] = [judge.judge(request, answer)]
        elif isinstance(answer, Unanswered):
            rejects[key] = Reject(id=key, reason=UNANSWERED, detail=answer.detail)
        else:
            rejects[key] = answer
    return Instructed(written=written, rejects=rejects)
