import pytest

from pipelines.caption import Caption
from pipelines.sidecar import dead_letters_path, read_table
from pipelines.stage import run_shard, wanted_fingerprint
from schemas.recipe import Caption as CaptionRecipe

ROWS = [
    {"key": "a", "text": "A red fox <b>runs</b>", "title": "fox"},
    {"key": "b", "title": "yellow_duck", "tags": ["bird", "toy"]},
    {"key": "c", "title": "old oak"},
    {"key": "d", "tags": ["nothing", "else"]},
    {"key": "e", "text": "not selected at all"},
    {"key": "f", "text": "A fox <image_gen> in <image> the snow"},
]


@pytest.fixture
def captioned(desk):
    desk.put("sources", 0, ROWS)
    desk.put("selection", 0, [{"key": row["key"], "kept": row["key"] != "e"} for row in ROWS])
    return run_shard(Caption(recipe=CaptionRecipe()), 0, desk.store)


def test_every_selected_row_is_captioned_from_its_own_words(desk, captioned):
    found = {
        row["key"]: (row["caption"], row["caption_origin"]) for row in desk.rows("captions", 0)
    }
    assert found == {
        "a": ("A red fox runs", "text"),
        "b": ("Yellow duck, with bird and toy", "title_and_tags"),
        "c": ("Old oak", "title"),
        "f": ("A fox in the snow", "text"),
    }


def test_a_row_without_words_is_dropped_and_shown(desk, captioned):
    assert (captioned.rows_in, captioned.kept) == (5, 4)
    assert captioned.dropped == {"no_caption": 1}
    (letter,) = read_table(desk.store, dead_letters_path("caption", 0)).to_pylist()
    assert (letter["id"], letter["door"]) == ("d", "dropped")
    assert letter["detail"] == "text '', title ''"


def test_a_shard_with_nothing_selected_has_an_empty_side_car(desk):
    desk.put("sources", 0, ROWS)
    desk.put("selection", 0, [])
    assert run_shard(Caption(recipe=CaptionRecipe()), 0, desk.store).rows_in == 0
    assert desk.rows("captions", 0) == []


def test_the_length_of_captions_makes_a_shard_again(desk, captioned):
    short, long = (Caption(recipe=CaptionRecipe(max_chars=n)) for n in (16, 512))
    prints = [wanted_fingerprint(stage, 0, desk.store) for stage in (short, long)]
    assert len(set(prints)) == 2
    run_shard(short, 0, desk.store)
    assert max(len(row["caption"]) for row in desk.rows("captions", 0)) <= 16
