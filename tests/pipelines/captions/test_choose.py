"""Rows on their way through styles and engines, against a plain account of one row at a time."""

from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from filters.captioner import Answer, Unanswered
from filters.captions.styles import draw_styles
from pipelines.captions.choose import NOT_CAPTIONED, UNANSWERED, Captioner, Request, Written
from pipelines.runtime.sidecar import Reject
from schemas.caption_config import SOURCE, CaptionConfig, Style

STYLES = ("sentence", "dense", SOURCE)
OUTCOMES = ("passes", "refused", "unanswered", "undecodable")


def config_of(styles: Sequence[str], engines: int, per_row: int, otherwise: Any) -> CaptionConfig:
    made = [
        {"engine": "custom", "name": f"e{number}", "callable": "m:f"} for number in range(engines)
    ]
    return CaptionConfig.model_validate(
        {
            "styles": [{"style": style} for style in styles],
            "engines": made,
            "per_row": min(per_row, len(styles)),
            "otherwise": otherwise,
        }
    )


def written(style: Style, engine: str, caption: str) -> Written:
    reason = "" if caption else "loop"
    return Written(style=style.style, engine=engine, origin=engine, caption=caption, reason=reason)


def one_by_one(
    key: str, config: CaptionConfig, outcome: dict[tuple[str, int], str], has_source: bool
) -> tuple[list[str], str]:
    """Return the captions of a row, or the reason of its reject."""
    passed: list[str] = []
    asked_source = False
    for style in draw_styles(key, config.styles, len(config.styles)):
        if len(passed) == config.per_row:
            break
        if style.style == SOURCE:
            asked_source = True
            passed += ["source"] * has_source
            continue
        for number in range(len(config.engines)):
            what = outcome[style.style, number]
            if what == "unanswered":
                return [], UNANSWERED
            if what == "undecodable":
                return [], "not_an_image"
            if what == "passes":
                passed.append(f"{style.style} {number}")
                break
    if not passed and config.otherwise == "source" and not asked_source:
        passed += ["source"] * has_source
    engines_wrote = any(style.style != SOURCE for style in config.styles)
    return (passed, "") if passed else ([], NOT_CAPTIONED if engines_wrote else "no_caption")


@given(
    st.lists(st.sampled_from(STYLES), min_size=1, max_size=3, unique=True),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from(["source", "drop"]),
    st.lists(
        st.tuples(st.lists(st.sampled_from(OUTCOMES), min_size=6, max_size=6), st.booleans()),
        max_size=6,
    ),
)
def test_each_row_has_what_it_would_have_alone(
    styles: list[str], engines: int, per_row: int, otherwise: str, rows: list[Any]
) -> None:
    config = config_of(styles, engines, per_row, otherwise)
    places = [(style, number) for style in ("sentence", "dense") for number in range(3)]
    outcome = {
        f"{n:032x}": dict(zip(places, each, strict=True)) for n, (each, _) in enumerate(rows)
    }
    has_source = {f"{n:032x}": has for n, (_, has) in enumerate(rows)}

    def ask(number: int, requests: Sequence[Request]) -> Iterator[tuple[Request, Any]]:
        for request in reversed(requests):
            key = request.row["key"]
            what = outcome[key][request.style.style, number]
            if what == "unanswered":
                yield request, Unanswered(digest="d", detail="timed out")
            elif what == "undecodable":
                yield request, Reject(id=key, reason="not_an_image", detail="no header")
            else:
                yield request, Answer(digest="d", status="answered", text=what)

    def judge(request: Request, answer: Answer) -> Written:
        caption = f"{request.style.style} {request.engine}" if answer.text == "passes" else ""
        return written(request.style, f"e{request.engine}", caption)

    def source(row: Any) -> Written:
        found = Style(style=SOURCE)
        made = written(found, "", "source" if has_source[row["key"]] else "")
        return made

    captioner = Captioner(config=config, ask=ask, judge=judge, source=source)
    found = captioner.caption([{"key": key} for key in outcome])
    for key, each in zip(outcome, found, strict=True):
        captions, reason = one_by_one(key, config, outcome[key], has_source[key])
        assert [one.caption for one in each.passed] == captions
        if reason == "no_caption":
            assert each.reject is not None
            assert each.reject.reason == "loop"  # of the source's words, here
        else:
            assert (each.reject.reason if each.reject else "") == reason
