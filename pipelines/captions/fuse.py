"""Fusion: one caption of the source's words and a generated one, by a model that reads texts."""

from collections.abc import Sequence
from dataclasses import replace

from filters.captioner import Answer, Unanswered
from pipelines.captions.choose import UNANSWERED, Ask, Captioned, Request, Row
from pipelines.captions.judge import FUSION, Judge, row_text
from pipelines.runtime.sidecar import Reject


def fused(
    rows: Sequence[Row], made: Sequence[Captioned], ask: Ask, judge: Judge
) -> list[Captioned]:
    """Put a fused caption before the others of each row with words and a generated caption.

    A row whose fused caption a gate refuses keeps its captions.
    """
    config = judge.config
    if config.fuse is None:
        return [*made]
    found = {row["key"]: each for row, each in zip(rows, made, strict=True)}
    number = [engine.name for engine in config.engines].index(config.fuse.engine)
    requests = [
        Request(row={**row, "caption": each.passed[0].caption}, style=FUSION, engine=number)
        for row, each in zip(rows, made, strict=True)
        if each.passed and each.passed[0].engine and row_text(row).strip()
    ]
    for request, answer in ask(number, requests):
        key = request.row["key"]
        before = found[key]
        if isinstance(answer, Answer):
            written = judge.judge(request, answer)
            passed = [written] if written.caption else []
            found[key] = replace(
                before, passed=[*passed, *before.passed], written=[*before.written, written]
            )
        elif isinstance(answer, Unanswered):
            reject = Reject(id=key, reason=UNANSWERED, detail=answer.detail)
            found[key] = Captioned(written=before.written, reject=reject)
        else:
            found[key] = Captioned(written=before.written, reject=answer)
    return [found[row["key"]] for row in rows]
