import pytest

from pipelines.runtime.chain import in_jobs
from pipelines.runtime.sidecar import dead_letters_path, read_table
from pipelines.runtime.stage import run_shard, wanted_fingerprint
from pipelines.stages.caption import Caption
from pipelines.stages.vq_tokens import VqTokens
from schemas.caption_config import CaptionConfig
from schemas.recipe import DecodeConfig, VqTokensConfig

ROWS = [
    {"key": "a", "text": "A red fox <b>runs</b>", "title": "fox"},
    {"key": "b", "title": "yellow_duck", "tags": ["bird", "toy"]},
    {"key": "c", "title": "old oak"},
    {"key": "d", "source": "s", "url": "d.jpg", "tags": ["nothing", "else"]},
    {"key": "e", "text": "not selected at all"},
    {"key": "f", "text": "A fox <image_gen> in <image> the snow"},
    {"key": "g", "text": "tench", "title": "Fish", "tags": ["sea"]},
    {"key": "h", "text": "HASH(0x8699fd4)"},
]


@pytest.fixture
def captioned(desk):
    desk.put("sources", 0, ROWS)
    judged = [{"key": row["key"], "reason": "blank" if row["key"] == "e" else ""} for row in ROWS]
    desk.put("duplicates", 0, judged)
    return run_shard(Caption(config=CaptionConfig()), 0, desk.store)


def test_every_selected_row_is_captioned_from_its_own_words(desk, captioned):
    found = {
        row["key"]: (row["caption"], row["caption_origin"]) for row in desk.rows("captions", 0)
    }
    assert found == {
        "a": ("A red fox runs", "text"),
        "b": ("Yellow duck, with bird and toy", "title_and_tags"),
        "c": ("Old oak", "title"),
        "f": ("A fox <image_gen> in <image> the snow", "text"),  # pair refuses it
        "g": ("tench", "text"),
    }


def test_a_row_without_a_caption_is_dropped_with_its_own_reason(desk, captioned):
    assert (captioned.rows_in, captioned.kept) == (7, 5)
    assert captioned.dropped == {"no_caption": 1, "boilerplate_hash": 1}
    none, hash_ = read_table(desk.store, dead_letters_path("caption", 0)).to_pylist()
    assert (none["id"], none["outcome"]) == ("d", "dropped")
    assert none["detail"] == "s: d.jpg: text '', title '', tags 'nothing, else'"
    assert hash_["detail"].endswith("title ''; text holds 'HASH(0x8699fd4)'")


def test_rules_and_the_choice_of_a_title_are_the_recipes(desk, captioned):
    recipe = CaptionConfig(boilerplate=(), title_below_words=2)
    run_shard(Caption(config=recipe), 0, desk.store)
    found = {row["key"]: row["caption"] for row in desk.rows("captions", 0)}
    assert found["g"] == "Fish, with sea"
    assert found["h"] == "HASH(0x8699fd4)"


def test_a_shard_with_nothing_selected_has_an_empty_side_car(desk):
    desk.put("sources", 0, ROWS)
    desk.put("duplicates", 0, [])
    assert run_shard(Caption(config=CaptionConfig()), 0, desk.store).rows_in == 0
    assert desk.rows("captions", 0) == []


def test_the_length_of_captions_makes_a_shard_again(desk, captioned):
    short, long = (Caption(config=CaptionConfig(max_chars=n)) for n in (16, 512))
    prints = [wanted_fingerprint(stage, 0, desk.store) for stage in (short, long)]
    assert len(set(prints)) == 2
    run_shard(short, 0, desk.store)
    assert max(len(row["caption"]) for row in desk.rows("captions", 0)) <= 16


def test_gpus_are_asked_for_only_where_a_model_captions() -> None:
    engine = {"engine": "transformers", "name": "vlm", "model": "m"}
    gpu = {"gpu": {"type": "nvidia-l4"}}
    words = CaptionConfig.model_validate(gpu)
    model = CaptionConfig.model_validate(
        {**gpu, "engines": [engine], "styles": [{"style": "sentence"}]}
    )
    assert (Caption(config=words).hints(), Caption(config=words).is_isolated) == ({}, False)
    assert "type:nvidia-l4" in Caption(config=model).hints()["accelerator"]
    tokens = VqTokens(config=VqTokensConfig.model_validate(gpu), decode=DecodeConfig())
    # Stages of texts share a job with a GPU; one that decodes images does not.
    assert [len(job) for job in in_jobs([Caption(config=words), tokens])] == [2]
    assert [len(job) for job in in_jobs([Caption(config=model), tokens])] == [1, 1]
