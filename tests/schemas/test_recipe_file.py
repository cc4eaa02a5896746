from pathlib import Path
from typing import Any

import fsspec
import pytest
import yaml

from schemas.recipe_file import RecipeError, dump_recipe, load_recipe, parse_recipe
from schemas.store.errors import CorpusError

LINES = """\
name: small
sources:
  - {name: web, kind: list, path: ../lists/*.csv}
  - {name: drawn, kind: folder, path: images, list: images.jsonl}
  - {name: hub, kind: huggingface, path: someone/set}
select:
  short_side: {min: 64}
  aspect: {min: 0.5, max: 2}
  blank_fraction: {max: 0.9}
vq_tokens:
  tokenizers: [{tokenizer: infinity_bsq}]
"""
TOKENS = "vq_tokens.tokenizers.0"


@pytest.fixture
def path(tmp_path: Path) -> str:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "small.yaml").write_text(LINES)
    return str(folder / "small.yaml")


def faults_of(**changes: object) -> list[str]:
    with pytest.raises(RecipeError) as raised:
        parse_recipe(yaml.safe_load(LINES) | changes, name="r.yaml")
    return str(raised.value).splitlines()


def test_an_unknown_key_is_named_with_its_path_and_what_is_allowed():
    assert faults_of(crawl={"timeout": 3}) == [
        "r.yaml: crawl.timeout: unknown key; did you mean timeout_s? Allowed: concurrency, "
        "timeout_s, retries, max_retry_after_s, max_per_host, min_delay_s, host_failures, "
        "user_agent, max_bytes, max_redirects, allow_private_addresses, opt_out_headers, "
        "robots_directives, known_hashes"
    ]


def test_an_unknown_key_like_no_other_gets_no_suggestion():
    assert faults_of(decode={"zzz": 3}) == [
        "r.yaml: decode.zzz: unknown key; Allowed: max_pixels, background, timeout_s"
    ]


def test_an_unknown_key_at_the_top_is_named():
    (line,) = faults_of(crawll={})
    assert line.startswith("r.yaml: crawll: unknown key; did you mean crawl? Allowed: name, ")


def test_an_unknown_key_of_a_source_gets_the_keys_of_its_kind():
    sources = [{"name": "web", "kind": "list", "path": "a", "base-url": "x"}]
    assert faults_of(sources=sources) == [
        "r.yaml: sources.0.base-url: unknown key; did you mean base_url? "
        "Allowed: name, subset, licence, allow_non_commercial, quota, select, kind, path, columns, "
        "quoting, links, base_url"
    ]


def test_an_unknown_column_of_a_source_gets_the_columns():
    sources = [{"name": "a", "kind": "folder", "path": "a", "columns": {"caption": "x"}}]
    assert faults_of(sources=sources) == [
        "r.yaml: sources.0.columns.caption: unknown key; "
        "Allowed: url, text, title, tags, licence, author, lists, input, inverse, edit_type, "
        "instructions, edited, turns, answer, rejected, candidates, scores, best, keep"
    ]


def test_an_unknown_bound_of_a_rule_gets_the_bounds():
    assert faults_of(select={"aspect": {"minimum": 1, "max": 2}}) == [
        "r.yaml: select.aspect.minimum: unknown key; did you mean min? "
        "Allowed: min, max, forbid, in, not_in, matches, texts_sha256, any_of"
    ]


@pytest.mark.parametrize("texts", [5, [5], [], "", {"a": 1}])
def test_texts_of_a_rule_are_a_list_or_a_file(texts: Any):
    [line] = faults_of(select={"host": {"in": texts}})
    assert line.startswith(
        "r.yaml: select.host.in: expected a list of texts, or the path of a file with one text a "
        "line, got "
    )


@pytest.mark.parametrize(
    ("scorer", "fault"),
    [
        ({"score": "clip", "mode": 1}, "mode: unknown key; Allowed: name, score, clip, embedding"),
        (
            {"score": "clip", "clip": {"modl": 1}},
            "clip.modl: unknown key; did you mean model? Allowed: model, weights, weights_sha256",
        ),
        ({"score": "nsfw", "voters": [{"voter": "laion"}]}, "voters.0.head: is missing; add it"),
        ({"score": "custom", "name": "a"}, "callable: is missing; add it"),
    ],
)
def test_a_fault_of_a_scorer_is_named_by_the_recipes_keys(scorer: dict[str, Any], fault: str):
    assert faults_of(score={"scorers": [scorer]}) == [f"r.yaml: score.scorers.0.{fault}"]


def test_an_unknown_kind_of_source_lists_the_kinds():
    (line,) = faults_of(sources=[{"name": "a", "kind": "ftp", "path": "a"}])
    assert line.startswith("r.yaml: sources.0: ")
    assert all(kind in line for kind in ("ftp", "list", "folder", "webdataset", "huggingface"))


def test_a_wrong_value_is_shown_and_every_fault_has_its_line():
    assert faults_of(
        shard={"jpeg_quality": 101}, vq_tokens={"precision": "fp8"}, rows_per_shard="many"
    ) == [
        "r.yaml: rows_per_shard: expected a whole number, got 'many'",
        "r.yaml: vq_tokens.precision: expected 'fp32', 'tf32' or 'bf16', got 'fp8'",
        "r.yaml: shard.jpeg_quality: expected a number of 100 or less, got 101",
    ]


def test_a_missing_field_is_named():
    assert faults_of(sources=[{"name": "web", "kind": "list"}]) == [
        "r.yaml: sources.0.path: is missing; add it"
    ]


def test_a_recipe_needs_a_source():
    (line,) = faults_of(sources=[])
    assert line.startswith("r.yaml: sources: ")


def test_sources_must_differ_in_name():
    twice = [{"name": n, "kind": "list", "path": "a"} for n in ("web", "hub", "web")]
    assert faults_of(sources=twice) == ["r.yaml: sources: more than one source is named web"]


def test_relative_paths_are_taken_from_the_recipes_folder(path: str, tmp_path: Path):
    forms = ["pair.edit_forms=edits.yaml", "pair.understand_forms=../questions.yaml"]
    changes = ["pair.templates=mine.yaml", f"{TOKENS}.checkpoint=../vae.pth", *forms]
    recipe = load_recipe(path, changes)
    web, drawn, hub = recipe.sources
    assert web.path == str(tmp_path / "lists/*.csv")
    assert drawn.path == str(tmp_path / "recipes/images")
    assert drawn.list == str(tmp_path / "recipes/images.jsonl")
    assert hub.path == "someone/set"
    assert recipe.pair.templates == str(tmp_path / "recipes/mine.yaml")
    assert recipe.pair.edit_forms == str(tmp_path / "recipes/edits.yaml")
    assert recipe.pair.understand_forms == str(tmp_path / "questions.yaml")
    assert recipe.vq_tokens.tokenizers[0].checkpoint == str(tmp_path / "vae.pth")


def test_what_is_no_relative_path_is_left_alone(path: str, tmp_path: Path):
    recipe = load_recipe(
        path,
        [
            "sources.web.path=gs://lists/a.csv",
            "sources.drawn.path=/images",
            "sources.hub.path=./saved",
        ],
    )
    assert [source.path for source in recipe.sources] == [
        "gs://lists/a.csv",
        "/images",
        str(tmp_path / "recipes/saved"),
    ]
    assert recipe.pair.templates == "t2i-v1"
    assert recipe.vq_tokens.tokenizers[0].checkpoint is None


def test_a_dataset_beside_the_recipe_goes_before_one_on_the_hub(path: str, tmp_path: Path):
    here = tmp_path / "recipes"
    (here / "data").mkdir()
    (here / "one.parquet").touch()
    (here / "someone/set").mkdir(parents=True)
    for given, wanted in {
        "data": f"{here}/data",
        "data/": f"{here}/data",
        "one.parquet": f"{here}/one.parquet",
        "someone/set": f"{here}/someone/set",
        "someone/other": "someone/other",
        "imagenet": "imagenet",
        "./missing": f"{here}/missing",
        "../missing": f"{tmp_path}/missing",
        "data/*.parquet": f"{here}/data/*.parquet",
        "a/b/c": f"{here}/a/b/c",
    }.items():
        assert load_recipe(path, [f"sources.hub.path={given}"]).sources[2].path == wanted


def test_a_home_folder_is_spelled_out(path: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/me")
    items = [f"sources.{name}.path=~/{name}" for name in ("web", "drawn", "hub")]
    recipe = load_recipe(path, [*items, "sources.drawn.list=~/list.csv"])
    assert [source.path for source in recipe.sources] == [
        "/home/me/web",
        "/home/me/drawn",
        "/home/me/hub",
    ]
    assert getattr(recipe.sources[1], "list") == "/home/me/list.csv"  # noqa: B009


def test_relative_paths_are_taken_from_a_url_as_well():
    with fsspec.open("memory://bucket/recipes/small.yaml", "wb") as file:
        file.write(LINES.encode())
    recipe = load_recipe("memory://bucket/recipes/small.yaml")
    assert recipe.sources[0].path == "memory://bucket/lists/*.csv"
    assert recipe.sources[1].path == "memory://bucket/recipes/images"


def test_a_dumped_recipe_is_read_back_equal(path: str, tmp_path: Path):
    recipe = load_recipe(path, ["description='\u00e4 # \\n: {x}'", "crawl.timeout_s=1e-5"])
    (tmp_path / "dumped.yaml").write_text(dump_recipe(recipe))
    again = load_recipe(str(tmp_path / "dumped.yaml"))
    assert again == recipe
    assert again.fingerprint() == recipe.fingerprint()


def test_rules_keep_their_order_through_dump_and_load(path: str, tmp_path: Path):
    turned = ["blank_fraction", "short_side", "aspect"]
    recipe = parse_recipe(
        yaml.safe_load(LINES) | {"select": {name: {"min": 0.5} for name in turned}}
    )
    (tmp_path / "dumped.yaml").write_text(dump_recipe(recipe))
    assert list(load_recipe(str(tmp_path / "dumped.yaml")).select) == turned


def test_overrides_change_values_by_name_and_by_number(path: str):
    recipe = load_recipe(
        path,
        [
            "sources.drawn.quota=5",
            "sources.0.base_url=http://127.0.0.1:8437/",
            "select.aspect.max=3",
            "select.text_url={forbid: true}",
            "crawl.robots_directives=[noai]",
            "dedup.phash_distance=null",
        ],
    )
    assert recipe.sources[1].quota == 5
    assert recipe.sources[0].base_url == "http://127.0.0.1:8437/"
    assert (recipe.select["aspect"].min, recipe.select["aspect"].max) == (0.5, 3)
    assert list(recipe.select)[-1] == "text_url"
    assert recipe.crawl.robots_directives == ("noai",)
    assert recipe.dedup.phash_distance is None


def test_an_override_can_replace_an_item_of_a_list(path: str):
    recipe = load_recipe(path, ["measure.signals=[size, blank]", "measure.signals.1=phash"])
    assert recipe.measure.signals == ("size", "phash")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("name", "override 'name': expected dotted.path=value"),
        ("sources.wev.quota=5", "nothing named 'wev' there, it has web, drawn, hub"),
        ("sources.7.quota=5", "nothing named '7' there"),
        ("rows_per_shard.x=5", "nothing named 'x' there, it has no parts"),
        ("select.aspect={min: 1", "value is not YAML"),
        ("crawll.retries=5", "crawll: unknown key; did you mean crawl?"),
    ],
)
def test_a_bad_override_is_shown(path: str, override: str, message: str):
    overrides = ["rows_per_shard=4", override]
    with pytest.raises(RecipeError, match=message.replace("?", r"\?")):
        load_recipe(path, overrides)


def test_a_missing_recipe_is_named():
    with pytest.raises(RecipeError, match=r"/nowhere/r\.yaml: no such recipe"):
        load_recipe("/nowhere/r.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not YAML"),
        ("- a", "expected a mapping .*found a list"),
        ("", "is empty; expected a mapping"),
        ("\x00", "not YAML"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, text: str, message: str):
    file = tmp_path / "r.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=f"{file}: {message}"):
        load_recipe(str(file))


def test_an_unknown_protocol_is_named():
    with pytest.raises(CorpusError, match=r"nosuch://r\.yaml: cannot be opened: .*nosuch"):
        load_recipe("nosuch://r.yaml")


def test_a_key_of_an_earlier_release_is_read_and_its_new_name_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "name: a\nsources: [{name: web, kind: list, path: a.csv}]\n"
        "max_dead_fraction: {crawl: 0.5}\n"
    )
    recipe = load_recipe(str(path), ["max_dead_fraction.measure=0.25"])
    assert recipe.max_failed_fraction.crawl == 0.5
    assert recipe.max_failed_fraction.measure == 0.25
    said = "max_dead_fraction is now called max_failed_fraction"
    assert capsys.readouterr().err.count(said) == 2
    assert "max_dead" not in dump_recipe(recipe)


def test_a_key_under_both_of_its_names_is_refused() -> None:
    shares = {"max_dead_fraction": {"crawl": 0.5}, "max_failed_fraction": {"crawl": 0.7}}
    with pytest.raises(RecipeError, match="both are given; give one"):
        parse_recipe({"name": "a", "sources": [], **shares})


def test_the_rule_on_repeated_texts_became_two_keys_of_dedup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "name: a\nsources: [{name: web, kind: list, path: a.csv}]\n"
        "select: {aspect: {max: 3}, text_repeats: {max: 20, cap: 5}}\n"
    )
    recipe = load_recipe(str(path), ["select.text_repeats.max=30"])
    assert (recipe.dedup.max_text_repeats, recipe.dedup.max_per_text) == (30, 5)
    assert list(recipe.select) == ["aspect"]
    said = capsys.readouterr().err
    assert said.count("select.text_repeats.max is now called dedup.max_text_repeats") == 2
    assert said.count("select.text_repeats.cap is now called dedup.max_per_text") == 1
    assert "text_repeats: " not in dump_recipe(recipe).replace("max_text_repeats", "")


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        (
            {"select": {"text_repeats": {"cap": 3}}, "dedup": {"max_per_text": 5}},
            "r.yaml: select.text_repeats.cap is now called dedup.max_per_text, and both are given",
        ),
        (
            {"select": {"text_repeats": {"max": "a"}}},
            "r.yaml: dedup.max_text_repeats: expected a whole number, got 'a'",
        ),
        ({"select": {"text_repeats": 5}}, "r.yaml: select.text_repeats: expected a mapping"),
        (
            {"select": {"text_repeats": {"max": 3}}, "dedup": 5},
            "r.yaml: dedup: expected a mapping (key: value), got 5",
        ),
    ],
)
def test_a_wrong_rule_on_repeated_texts_is_not_dropped_in_silence(
    parts: dict[str, Any], fault: str
) -> None:
    [line] = faults_of(**parts)
    assert line.startswith(fault)


def test_files_that_rules_and_scorers_name_are_taken_from_the_recipes_folder(tmp_path: Path):
    path = tmp_path / "r.yaml"
    path.write_text(
        "name: a\nsources: [{name: web, kind: list, path: a.csv,\n"
        "  select: {licence: {in: licences.txt}}}]\n"
        "select: {host: {not_in: hosts.txt}, any: {any_of: [{host: {in: best.txt}}]}}\n"
        "score: {scorers: [{score: aesthetic, head: head.pth},\n"
        "  {score: clip, clip: {weights: openai}}]}\n"
    )
    recipe = load_recipe(str(path))
    assert recipe.select["host"].not_in == f"{tmp_path}/hosts.txt"
    assert recipe.select["any"].any_of[0]["host"].in_ == f"{tmp_path}/best.txt"
    assert recipe.sources[0].select["licence"].in_ == f"{tmp_path}/licences.txt"
    aesthetic, clip = recipe.score.scorers
    assert aesthetic.head == f"{tmp_path}/head.pth"
    assert clip.clip.weights == "openai"


def test_a_folder_of_a_clip_is_beside_the_recipe(tmp_path: Path):
    (tmp_path / "recipes").mkdir()
    path = tmp_path / "recipes/r.yaml"
    scorer = {"score": "clip", "clip": {"model": "local-dir:../clips/mine"}}
    sources = [{"name": "a", "kind": "folder", "path": "images"}]
    path.write_text(
        yaml.safe_dump({"name": "x", "sources": sources, "score": {"scorers": [scorer]}})
    )
    [made] = load_recipe(str(path)).score.scorers
    assert made.clip.model == f"local-dir:{tmp_path}/clips/mine"


def test_null_takes_a_rule_away_and_a_group_needs_a_name(tmp_path: Path):
    path = tmp_path / "r.yaml"
    sources = [{"name": "a", "kind": "folder", "path": "images"}]
    rules = {"aspect": {"max": 3}, "text_url": {"forbid": True}}
    path.write_text(yaml.safe_dump({"name": "x", "sources": sources, "select": rules}))
    assert [*load_recipe(str(path), ["select.text_url=null"]).select] == ["aspect"]
    with pytest.raises(RecipeError, match="any_of needs a rule's name above it"):
        load_recipe(str(path), ["select={any_of: [{aspect: {max: 3}}]}"])


def test_half_a_character_is_refused_where_it_stands() -> None:
    styles = [{"style": "mine", "prompt": "What \ud83d is it?"}]
    [said] = faults_of(caption={"styles": styles}, name="small \udfff")[:1]
    assert said.startswith("r.yaml: name: \\udfff is half a character")
    [said] = faults_of(caption={"styles": styles})
    assert said.startswith("r.yaml: caption.styles.0.prompt: \\ud83d is half a character")


def test_a_language_that_no_detector_knows_is_refused() -> None:
    [said] = faults_of(caption={"gates": {"languages": ["en", "xx"]}})
    assert said.startswith("r.yaml: caption.gates.languages: xx: no language that is known: ace,")


def test_an_unknown_key_of_an_engine_gets_the_keys_of_its_kind():
    engine = {"engine": "openai", "name": "a", "url": "http://a.org/v1", "model": "m"}
    caption = {
        "styles": [{"style": "sentence"}],
        "engines": [{**engine, "prompt_prise": 1}],
    }
    (fault,) = faults_of(caption=caption)
    assert "prompt_prise: unknown key; did you mean prompt_price? " in fault
    assert "callable" not in fault
