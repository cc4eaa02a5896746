import hashlib
from pathlib import Path
from typing import Any

import pytest

from pipelines.check_recipe import pin, warnings
from pipelines.templates.pair_files import file_sha256
from pipelines.templates.template_file import read_template_file
from schemas.recipe import PairConfig, Recipe
from schemas.recipe_file import RecipeError, parse_recipe
from schemas.store.storage import CorpusError

CHECKPOINT = r"vq_tokens\.tokenizers\.tokens\.checkpoint"
SOURCES = [{"name": "web", "kind": "list", "path": "a.csv"}]


def recipe(**parts: Any) -> Recipe:
    return parse_recipe({"name": "small", "sources": SOURCES, **parts})


def of_weights(path: str, **parts: str) -> dict[str, Any]:
    return {"tokenizers": [{"tokenizer": "infinity_bsq", "checkpoint": path, **parts}]}


def faults_of(**parts: Any) -> list[str]:
    with pytest.raises(RecipeError) as raised:
        pin(recipe(**parts))
    return str(raised.value).splitlines()


def test_files_are_pinned_by_their_hash(tmp_path: Path):
    weights = tmp_path / "vae.safetensors"
    weights.write_bytes(b"weights" * 1000)
    pinned = pin(recipe(vq_tokens=of_weights(str(weights))))
    assert pinned.pair.templates_sha256 == file_sha256(PairConfig(), "templates")
    (tokenizer,) = pinned.vq_tokens.tokenizers
    assert tokenizer.checkpoint_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert pin(pinned) == pinned


def test_moved_files_are_the_same_recipe_and_changed_ones_are_not(tmp_path: Path):
    data = read_template_file("t2i-v1")
    prints = []
    for name, words in (("a", data), ("b", data), ("c", data + b"\n")):
        (tmp_path / f"{name}.yaml").write_bytes(words)
        (tmp_path / f"{name}.pth").write_bytes(b"weights")
        parts = {
            "pair": {"templates": str(tmp_path / f"{name}.yaml")},
            "vq_tokens": of_weights(str(tmp_path / f"{name}.pth")),
        }
        prints.append(pin(recipe(**parts)).fingerprint())
    assert prints[0] == prints[1] != prints[2]


def test_a_file_that_is_not_the_pinned_one_is_refused(tmp_path: Path):
    weights = tmp_path / "vae.pth"
    weights.write_bytes(b"other weights")
    wrong = "0" * 64
    with pytest.raises(CorpusError, match=f"{CHECKPOINT}: {weights}: sha256 is .* {wrong}"):
        pin(recipe(vq_tokens=of_weights(str(weights), checkpoint_sha256=wrong)))
    with pytest.raises(CorpusError, match=f"pair.templates: t2i-v1: sha256 is .* {wrong}"):
        pin(recipe(pair={"templates_sha256": wrong}))


def test_a_missing_checkpoint_is_named():
    with pytest.raises(CorpusError, match=rf"{CHECKPOINT}: /no/vae\.pth: no such file"):
        pin(recipe(vq_tokens=of_weights("/no/vae.pth")))


def test_a_rule_on_what_is_not_measured_is_refused_with_what_is():
    (line,) = faults_of(select={"short_sid": {"min": 1}})
    assert line.startswith("select.short_sid: not measured; did you mean short_side? Allowed: ")
    assert all(f" {name}," in line for name in ("host", "licence", "author", "title"))
    (line,) = faults_of(
        select={"blank_fraction": {"max": 0.9}},
        measure={"signals": ["size", "phash", "colour_layout"]},
    )
    assert line.startswith("select.blank_fraction: not measured; Allowed: source, url, ")


def test_rules_of_a_source_and_of_groups_are_checked_too():
    sources = [{**SOURCES[0], "select": {"clip": {"min": 1}}}]
    either = {"any_of": [{"aspect": {"max": 2}}, {"clip": {"min": 1}, "text_url": {"min": 1}}]}
    lines = faults_of(sources=sources, select={"either": either})
    assert [line.split(";")[0] for line in lines] == [
        "select.either.any_of.1.clip: not measured",
        "select.either.any_of.1.text_url: a flag has no bounds",
        "sources.web.select.clip: not measured",
    ]


def test_a_rule_of_groups_needs_a_name_that_no_column_has():
    group = {"any_of": [{"aspect": {"max": 2}}]}
    assert faults_of(select={"aspect": group, "a\nb": group}) == [
        "select.aspect: any_of is not for one column; give the rule a name of its own",
        "select: 'a\\nb' is no name of a rule; use letters, digits, _ and -",
    ]


def test_rules_can_be_on_measured_values_and_on_columns_of_the_list(tmp_path: Path):
    hosts = tmp_path / "hosts.txt"
    hosts.write_text("example.org\n")
    rules = {
        "aspect": {"min": 0.5},
        "text_url": {"forbid": True},
        "host": {"not_in": str(hosts), "matches": r"\.org$"},
        "licence": {"in": ["CC0"]},
        "either": {"any_of": [{"author": {"not_in": [""]}}, {"host": {"in": str(hosts)}}]},
    }
    pinned = pin(recipe(select=rules))
    assert list(pinned.select) == list(rules)
    digest = hashlib.sha256(hosts.read_bytes()).hexdigest()
    assert pinned.select["host"].texts_sha256 == digest
    assert pinned.select["either"].any_of[1]["host"].texts_sha256 == digest
    assert pin(pinned) == pinned


def test_a_moved_file_of_texts_is_the_same_recipe_and_a_changed_one_is_not(tmp_path: Path):
    prints = []
    for name, text in (("a", "x.org\n"), ("b", "x.org\n"), ("c", "y.org\n")):
        (tmp_path / name).write_text(text)
        prints.append(pin(recipe(select={"host": {"in": str(tmp_path / name)}})).fingerprint())
    assert prints[0] == prints[1] != prints[2]


def test_a_file_of_texts_must_be_there_and_be_the_pinned_one(tmp_path: Path):
    assert faults_of(select={"licence": {"in": "CC0"}}) == [
        "select.licence: CC0: no such file; for one text write [CC0]"
    ]
    listed = tmp_path / "hosts.txt"
    listed.write_text("example.org\n")
    wrong = {"in": str(listed), "texts_sha256": "0" * 64}
    [line] = faults_of(select={"host": wrong})
    assert f"{listed}: sha256 is " in line


def test_bounds_are_for_numbers_forbid_for_flags_and_lists_for_texts():
    lines = faults_of(
        select={
            "aspect": {"forbid": True},
            "text_url": {"max": 0},
            "short_side": {"in": ["a"]},
            "licence": {"min": 1},
            "author": {"forbid": True, "matches": "a"},
        }
    )
    assert lines[0].startswith("select.aspect: a number has bounds; forbid is for flags: text_url")
    assert lines[1:] == [
        "select.text_url: a flag has no bounds; use forbid: true",
        "select.short_side: in, not_in and matches are for texts",
        "select.licence: a text has in, not_in and matches",
        "select.author: a text has in, not_in and matches",
    ]


def test_a_pattern_that_cannot_be_searched_for_is_refused():
    [line] = faults_of(select={"title": {"matches": "(?=a)"}})
    assert line.startswith("select.title.matches: no regular expression of RE2: ")


def test_each_column_of_scores_has_a_name_of_its_own():
    custom = {"score": "custom", "callable": "module:name"}
    scorers = [
        *(custom | {"name": name} for name in ("aspect", "licence", "clip_similarity")),
        {"score": "clip"},
    ]
    lines = faults_of(score={"scorers": scorers})
    assert [line.removeprefix("score.scorers.") for line in lines] == [
        "aspect: column aspect is of measure; name it otherwise",
        "licence: column licence is of the corpus itself; name it otherwise",
        "clip: column clip_similarity is of scorer clip_similarity; name it otherwise",
    ]


def test_a_rule_can_be_on_a_score_but_on_no_list_of_scores():
    scorers = [{"score": "clip", "embedding": True}]
    assert faults_of(
        score={"scorers": scorers},
        select={"clip_similarity": {"min": 0.2}, "clip_embedding": {"min": 0}},
    ) == ["select.clip_embedding: a list, of which a rule can say nothing"]


def test_a_cap_of_equal_bytes_needs_that_they_are_no_duplicates():
    lines = faults_of(dedup={"max_per_image": 3})
    assert lines == [
        "dedup.max_per_image: needs dedup.same_bytes: false, else one row of a file is kept",
        "dedup.max_per_image: needs dedup.phash_distance: null, else equal images are "
        "near-duplicates",
    ]
    pin(recipe(dedup={"max_per_image": 3, "same_bytes": False, "phash_distance": None}))


def test_faces_are_blurred_where_a_scorer_finds_them():
    scored = {"scorers": [{"score": "faces", "name": "people"}]}
    assert pin(recipe(score=scored, blur={"scorer": "people"})).blur
    said = "no scorer of faces is named 'faces'; add to score.scorers: {score: faces, name: faces}"
    assert faults_of(score=scored, blur={}) == [f"blur.scorer: {said}"]


def test_no_scorer_takes_the_name_of_the_number_of_blurred_faces():
    scorers = [
        {"score": "custom", "callable": "module:name", "name": "faces_blurred"},
        {"score": "faces"},
    ]
    pin(recipe(score={"scorers": scorers}))
    assert faults_of(score={"scorers": scorers}, blur={}) == [
        "score.scorers.faces_blurred: column faces_blurred is of blur; name it otherwise"
    ]


def test_what_captions_are_judged_by_must_be_there():
    engine = {"engine": "custom", "name": "mine", "callable": "m:f"}
    caption = {"engines": [engine], "styles": [{"style": "sentence"}]}
    [fault] = faults_of(caption={**caption, "gates": {"min_clip": 0.2}})
    assert fault.startswith("caption.gates.clip_scorer: no CLIP named 'clip' stores embeddings")
    assert [fault] == faults_of(caption={**caption, "choose": "best"})
    [fault] = faults_of(caption={**caption, "questions": "default", "forbid": ["waterm"]})
    assert fault.startswith("caption.forbid: waterm: no such question; did you mean watermark?")


def test_an_unknown_signal_is_refused_with_those_there_are():
    (line,) = faults_of(measure={"signals": ["size", "phash", "colour_layout", "sharpnes"]})
    assert line.startswith(
        "measure.signals.3: unknown signal 'sharpnes'; did you mean sharpness? Allowed: size, "
    )


@pytest.mark.parametrize(
    ("signals", "fault"),
    [
        (["phash", "colour_layout"], "measure.signals: size is needed, by dedup and by the shards"),
        (
            ["size", "colour_layout"],
            "measure.signals: phash is needed; or set dedup.phash_distance to null",
        ),
        (["size", "phash", "colour_layout", "size"], "measure.signals.3: size is named twice"),
    ],
)
def test_signals_that_later_stages_need_are_asked_for(signals: list[str], fault: str):
    assert faults_of(measure={"signals": signals}) == [fault]


def test_hashes_are_not_needed_where_none_is_compared():
    pin(recipe(measure={"signals": ["size"]}, dedup={"phash_distance": None}))


def test_every_fault_is_told_at_once():
    assert len(faults_of(select={"a": {"min": 1}, "b": {"min": 1}}, measure={"signals": []})) == 5


def test_bundled_weights_are_pinned_too_and_random_ones_cannot_be():
    for preset, pinned in (("bundled", True), ("d16", False)):
        parts = {"tokenizers": [{"tokenizer": "infinity_bsq", "preset": preset}]}
        (tokenizer,) = pin(recipe(vq_tokens=parts)).vq_tokens.tokenizers
        assert bool(tokenizer.checkpoint_sha256) == pinned
        assert tokenizer.checkpoint is None


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"kind": "list", "columns": {"text": ""}}, "every row of it without a 'title' is dropped"),
        ({"kind": "list", "columns": {"text": "", "title": ""}}, "every row of it is dropped"),
        ({"kind": "folder", "list": "/l", "columns": {"text": "", "title": ""}}, "every row of it"),
        ({"kind": "list", "columns": {"text": "", "title": "t"}}, ""),
        ({"kind": "list", "path": "/a.txt", "columns": {"text": ""}}, "every row of it is dropped"),
        ({"kind": "list"}, ""),
        ({"kind": "folder", "columns": {"text": ""}}, ""),  # a .txt beside an image is read
    ],
)
def test_a_source_without_captions_is_warned_of(source: dict[str, Any], said: str):
    lines = list(warnings(recipe(sources=[{"name": "s", "path": "/a", **source}])))
    assert len(lines) == bool(said)
    assert all(f"source s has no captions: with caption.engine source {said}" in x for x in lines)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (
            {"sharpness": {"sied": 512}},
            "measure.settings.sharpness.sied: unknown setting of sharpness; it has side",
        ),
        (
            {"sharpnes": {"side": 512}},
            "measure.settings.sharpnes: not among measure.signals; did you mean sharpness? "
            "Allowed: size, phash, colour_layout, sharpness",
        ),
    ],
)
def test_settings_of_signals_are_checked(settings: dict, fault: str):
    signals = ["size", "phash", "colour_layout", "sharpness"]
    assert faults_of(measure={"signals": signals, "settings": settings}) == [fault]
