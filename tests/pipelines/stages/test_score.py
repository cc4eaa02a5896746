"""Scores: which rows have them, what is taken over, and what becomes of an image without."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import simple_scorers

from filters.scorer import ScorerError
from pipelines.runtime.retry_failed import mark_shards
from pipelines.runtime.sidecar import dead_letters_path, read_origin, read_table, sidecar_path
from pipelines.runtime.stage import ShardReport, run_shard, wanted_fingerprint
from pipelines.stages.score import Score
from schemas.keys import sample_key
from schemas.recipe import DecodeConfig
from schemas.rule_config import Rule
from schemas.score_config import CustomScore, ScoreConfig

NAMES = ("a", "b", "c", "d")
LARGE = {"short_side": Rule(min=64)}  # image a has 40 px


def scorer(callable_: str, **settings: Any) -> CustomScore:
    name = settings.pop("name", callable_)
    return CustomScore(
        score="custom", name=name, callable=f"simple_scorers:{callable_}", **settings
    )


def stage(*scorers: CustomScore, rules: Mapping[str, Rule] = LARGE, **config: Any) -> Score:
    return Score(
        config=ScoreConfig(scorers=scorers, **config),
        decode=DecodeConfig(),
        rules={"web": rules},
    )


@pytest.fixture
def scored(desk, picture: Callable[..., bytes]):
    """A shard of four measured images, one of them small."""
    desk.put_plan(["web"])
    sizes = {name: (40 if name == "a" else 90 + number, 80) for number, name in enumerate(NAMES)}
    desk.put_images(0, {name: picture(number, sizes[name]) for number, name in enumerate(NAMES)})
    texts = {name: f"a drawing of {name}" for name in NAMES}
    put_texts(desk, texts)
    desk.put("signals", 0, [{"key": key_of(n), "short_side": min(sizes[n])} for n in NAMES])
    simple_scorers.SEEN.clear()
    return desk


def key_of(name: str) -> str:
    return sample_key("web", name)


def put_texts(desk, texts: Mapping[str, str]) -> None:
    rows = [{"key": key_of(n), "source": "web", "url": n, "text": t} for n, t in texts.items()]
    desk.put("sources", 0, rows)


def run(desk, score: Score) -> ShardReport:
    return run_shard(score, 0, desk.store)


def values(desk, column: str) -> dict[str, Any]:
    """Return the scores by image."""
    names = {key_of(name): name for name in NAMES}
    return {names[row["key"]]: row[column] for row in desk.rows("scores", 0)}


def seen() -> list[str]:
    """Return which images were scored since this was last asked."""
    found = sorted(text[-1] for text in simple_scorers.SEEN)
    simple_scorers.SEEN.clear()
    return found


def test_rows_that_pass_the_rules_on_signals_are_scored_and_all_rows_stay(scored):
    report = run(scored, stage(scorer("widths"), scorer("brightness")))
    assert (report.rows_in, report.kept, report.failed) == (4, 4, {})
    assert values(scored, "widths") == {"a": None, "b": 91.0, "c": 92.0, "d": 93.0}
    bright = values(scored, "brightness")
    assert bright.pop("a") is None
    assert all(0 < value < 1 for value in bright.values())
    rows = {row["key"]: row for row in scored.rows("scores", 0)}
    assert rows[key_of("a")]["image_sha256"] == rows[key_of("a")]["text_digest"] == ""
    raw = {row["key"]: row["sha256"] for row in scored.rows("raw", 0)}
    assert rows[key_of("b")]["image_sha256"] == raw[key_of("b")]
    assert list(rows) == sorted(rows)


def test_without_scorers_every_row_passes_and_no_image_is_read(scored):
    for path in scored.tar(0).parent.glob("*.tar"):
        path.unlink()
    assert run(scored, stage()).kept == 4
    assert {*scored.rows("scores", 0)[0]} == {"key", "image_sha256", "text_digest"}


def test_a_column_names_its_scorer(scored):
    run(scored, stage(scorer("widths", version="7")))
    schema = read_table(scored.store, sidecar_path("scores", 0)).schema
    about = json.loads(schema.field("widths").metadata[b"scorer"])
    assert (about["callable"], about["callable_version"]) == ("simple_scorers:widths", "7")


def test_a_looser_threshold_scores_only_the_rows_that_are_new(scored):
    run(scored, stage(scorer("widths")))
    assert seen() == ["b", "c", "d"]
    run(scored, stage(scorer("widths"), rules={"short_side": Rule(min=16)}))
    assert seen() == ["a"]
    assert values(scored, "widths") == {"a": 40.0, "b": 91.0, "c": 92.0, "d": 93.0}


def test_a_tighter_threshold_scores_nothing_and_leaves_no_score_behind(scored):
    run(scored, stage(scorer("widths"), rules={}))
    seen()
    run(scored, stage(scorer("widths")))
    assert seen() == []
    assert values(scored, "widths")["a"] is None


def test_a_further_scorer_costs_only_its_own_scores(scored):
    run(scored, stage(scorer("widths")))
    seen()
    run(scored, stage(scorer("brightness"), scorer("widths")))
    assert seen() == []
    assert values(scored, "brightness")["b"] is not None
    assert values(scored, "widths")["b"] == 91.0


@pytest.mark.parametrize("change", ["text", "version", "precision", "image"])
def test_what_a_score_is_of_or_made_by_makes_it_again(
    scored, picture: Callable[..., bytes], change: str
):
    run(scored, stage(scorer("widths")))
    seen()
    again, expected = stage(scorer("widths")), ["b", "c", "d"]
    if change == "text":
        put_texts(scored, {n: f"a {'sketch' if n == 'c' else 'drawing'} of {n}" for n in NAMES})
        expected = ["c"]
    elif change == "image":
        scored.put_images(
            0, {n: picture(9 if n == "c" else i, (91, 80)) for i, n in enumerate(NAMES)}
        )
        put_texts(scored, {name: f"a drawing of {name}" for name in NAMES})
        expected = ["c", "d"]  # b is what it was
    elif change == "version":
        again = stage(scorer("widths", version="2"))
    else:
        again = stage(scorer("widths"), precision="bf16")
    run(scored, again)
    assert seen() == expected


def test_a_score_that_is_no_number_is_a_failed_row_that_names_its_image(scored):
    put_texts(scored, {name: f"{'fog' if name == 'c' else 'sun'} over {name}" for name in NAMES})
    report = run(scored, stage(scorer("widths"), scorer("nothing")))
    assert (report.rows_in, report.kept, report.failed) == (4, 3, {"not_finite": 1})
    [letter] = read_table(scored.store, dead_letters_path("score", 0)).to_pylist()
    assert letter["id"] == key_of("c")
    assert "web: c" in letter["detail"]
    assert "nothing is nan" in letter["detail"]
    assert values(scored, "nothing") == {"a": None, "b": 0.5, "d": 0.5}


@pytest.mark.parametrize("batch_size", [1, 64])
def test_a_scorer_that_raises_on_one_image_fails_that_image_alone(scored, batch_size: int):
    put_texts(scored, {name: f"{'fog' if name == 'c' else 'sun'} over {name}" for name in NAMES})
    report = run(scored, stage(scorer("picky"), batch_size=batch_size))
    assert (report.kept, report.failed) == (3, {"scorer_failed": 1})
    [letter] = read_table(scored.store, dead_letters_path("score", 0)).to_pylist()
    assert letter["detail"].endswith("score: ValueError: no fog, please")
    assert values(scored, "picky") == {"a": None, "b": 1.0, "d": 1.0}


def test_images_on_which_a_mended_scorer_failed_are_tried_again(scored, monkeypatch):
    put_texts(scored, {name: f"{'fog' if name == 'c' else 'sun'} over {name}" for name in NAMES})
    score = stage(scorer("picky"))
    assert run(scored, score).failed == {"scorer_failed": 1}
    seen()
    monkeypatch.setattr(simple_scorers, "REFUSED", [])
    assert mark_shards(scored.store, "scores", [0]) == 1
    assert run(scored, score).failed == {}
    assert seen() == ["c"]
    assert values(scored, "picky") == {"a": None, "b": 1.0, "c": 1.0, "d": 1.0}


def test_an_image_that_cannot_be_decoded_any_more_is_a_failed_row(
    scored, picture: Callable[..., bytes]
):
    images = {name: picture(number, (91, 80)) for number, name in enumerate(NAMES)}
    scored.put_images(0, images | {"b": b"<html>no image</html>"})
    report = run(scored, stage(scorer("widths")))
    assert (report.kept, report.failed) == (3, {"not_an_image": 1})


def test_a_scorer_that_returns_too_few_scores_stops_the_build(scored):
    with pytest.raises(ScorerError, match="returned 1 scores, expected 3"):
        run(scored, stage(scorer("too_few")))
    with pytest.raises(ScorerError, match="no_such"):
        run(scored, stage(scorer("no_such")))


def test_bytes_do_not_depend_on_the_size_of_batches_or_on_what_was_taken_over(scored):
    whole = stage(scorer("widths"), scorer("brightness"))
    run(scored, whole)
    path = sidecar_path("scores", 0)
    before = scored.store.read(path)
    scored.store.remove(path)
    run(scored, stage(scorer("widths")))
    run(scored, whole)
    assert scored.store.read(path) == before
    scored.store.remove(path)
    run(scored, replace(whole, config=whole.config.model_copy(update={"batch_size": 2})))
    assert scored.store.read(path) == before


def test_only_what_decides_scores_makes_a_shard_again(scored):
    base = stage(scorer("widths"))
    cost = base.config.model_copy(update={"batch_size": 3})
    same = [
        replace(base, config=cost),
        stage(scorer("widths"), rules={**LARGE, "widths": Rule(min=50)}),  # select's alone
    ]
    other = [
        stage(scorer("widths", version="2")),
        stage(scorer("widths"), scorer("brightness")),
        stage(scorer("widths"), rules={"short_side": Rule(min=65)}),
        stage(scorer("widths"), precision="bf16"),
    ]

    def wanted(score: Score) -> str:
        return wanted_fingerprint(score, 0, scored.store)

    assert {wanted(each) for each in same} == {wanted(base)}
    assert len({wanted(each) for each in (base, *other)}) == 1 + len(other)
    run(scored, base)
    origin = read_origin(scored.store, sidecar_path("scores", 0))
    assert origin is not None
    assert origin.fingerprint == wanted(base)


def test_a_rule_in_a_group_with_a_score_waits_for_select(scored):
    either = Rule.model_validate({"any_of": [{"short_side": {"min": 99}}, {"widths": {"min": 1}}]})
    run(scored, stage(scorer("widths"), rules={"either": either}))
    assert seen() == ["a", "b", "c", "d"]


def test_a_gpu_is_asked_for_only_where_there_is_something_to_score():
    gpu = {"type": "nvidia-l4"}
    assert stage(scorer("widths"), gpu=gpu).hints()["accelerator"].startswith("type:nvidia-l4")
    assert stage(gpu=gpu).hints() == stage(scorer("widths")).hints() == {}
