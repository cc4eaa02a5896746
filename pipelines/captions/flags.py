"""A model as a filter: its answers to questions about the images of captioned rows."""

from collections.abc import Mapping, Sequence

from filters.captioner import Answer, Unanswered
from filters.captions.questions import Flags
from pipelines.captions.choose import UNANSWERED, Ask, Request, Row
from pipelines.captions.judge import QUESTIONS, Judge
from pipelines.runtime.sidecar import Reject
from schemas.caption_config import CaptionConfig

FORBIDDEN = "flag_"  # of the reason of a row that a flag drops: flag_watermark


def flags_of(rows: Sequence[Row], ask: Ask, judge: Judge) -> Mapping[str, Flags | Reject]:
    """Ask the first engine about each row; return its flags or why there are none, by key."""
    requests = [Request(row=row, style=QUESTIONS, engine=0) for row in rows]
    found: dict[str, Flags | Reject] = {}
    for request, answer in ask(0, requests):
        key = request.row["key"]
        if isinstance(answer, Answer):
            found[key] = judge.flags(answer)
        elif isinstance(answer, Unanswered):
            found[key] = Reject(id=key, reason=UNANSWERED, detail=answer.detail)
        else:
            found[key] = answer
    return found


def forbidden(key: str, flags: Flags, config: CaptionConfig) -> Reject | None:
    """Return the drop of a row that a flag forbids, by the first such flag; None if none does."""
    for name, value in flags.values.items():
        if value and name in config.forbid:
            return Reject(id=key, reason=f"{FORBIDDEN}{name}", detail=f"{name}: yes", dropped=True)
    return None
