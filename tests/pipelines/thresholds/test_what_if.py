import json
from pathlib import Path

import numpy as np
import pytest
from threshold_corpus import build_until_dedup

from pipelines.cli.main import main
from pipelines.runtime.sidecar import column, kept_keys, read_table, sidecar_path
from pipelines.thresholds import stored, what_if
from pipelines.thresholds.changes import changed_recipes
from pipelines.thresholds.stored import Stored
from pipelines.thresholds.what_if import codes_a_sample
from schemas.recipe import VqTokensConfig
from schemas.recipe_file import RecipeError
from schemas.store.storage import CorpusError, Storage

LISTED = "a drawing of thing number 5 in colour"


def compare(out: Path, *sets: str, dedup: bool | None = None) -> what_if.Comparison:
    store = Storage(str(out))
    return what_if.what_if(store, *changed_recipes(store, sets, {}), dedup=dedup)


def keys_of(out: Path, outcome: what_if.Outcome) -> set[str]:
    corpus = Stored(store=Storage(str(out)), recipes=())
    return {
        key
        for shard, mask in enumerate(outcome.kept)
        for key, kept in zip(corpus.keys(shard).to_pylist(), mask.tolist(), strict=True)
        if kept
    }


def built_keys(out: Path, folder: str = "duplicates") -> set[str]:
    store, shards = Storage(str(out)), len(list((out / folder).glob("*.parquet")))
    return {key for n in range(shards) for key in kept_keys(store, folder, n).to_pylist()}


def line(manifest: dict, stage: str) -> dict:
    [found] = (each for each in manifest["funnel"] if each["stage"] == stage)
    return found


def as_line(stage: str, counts) -> dict:
    dropped = {reason: rows for reason, rows in counts.dropped.items() if rows}
    told = {"rows_in": counts.rows_in, "kept": counts.kept, "dropped": dropped}
    return {"stage": stage, **told, "failed": {}}


def slow(*sets: str):
    return pytest.param(sets, marks=pytest.mark.slow)


CHANGES = {
    "looser, a quota, one of a text": (
        "select.brightness.min=0.1",
        "sources.more.select={}",
        "sources.more.quota=6",
        "dedup.max_per_text=1",
    ),
    # The row that could not be scored now fails a rule on measured values, so it reaches select.
    "measured rules, texts, groups, another order": (
        "select={either: {any_of: [{brightness: {min: 0.5}}, {aspect: {min: 2}}]}, "
        f"text: {{not_in: ['{LISTED}']}}, text_words: {{min: 7}}, clarity: {{max: 0.6}}}}",
        "sources.more.select.brightness.min=0.1",
    ),
    "a scorer with a name of ours": ("select.failed.min=0.5",),
    "tighter": slow("select.brightness.min=0.5", "sources.more.select={}"),
    "repeats": slow("dedup.max_text_repeats=3", "dedup.max_per_text=null"),
    "no bytes": slow("dedup.same_bytes=false", "dedup.phash_distance=null"),
    "nothing is left": slow("select.brightness.min=2", "sources.more.select.brightness.min=2"),
}


@pytest.mark.parametrize("sets", CHANGES.values(), ids=CHANGES)
def test_what_is_told_is_what_a_build_then_does(corpus: tuple[Path, Path], sets) -> None:
    recipe, out = corpus
    told = compare(out, *sets).changed
    manifest = build_until_dedup(recipe, out, *sets)
    assert as_line("select", told.select) == line(manifest, "select")
    assert as_line("dedup", told.dedup) == line(manifest, "dedup")
    assert keys_of(out, told) == built_keys(out)
    assert told.to_score == told.new == 0


def test_the_present_recipe_is_told_as_it_was_built(corpus: tuple[Path, Path]) -> None:
    recipe, out = corpus
    found = compare(out, "select.brightness.min=0.5")
    manifest = build_until_dedup(recipe, out)
    assert line(manifest, "score")["failed"] == {"not_finite": 1}
    assert as_line("select", found.present.select) == line(manifest, "select")
    assert as_line("dedup", found.present.dedup) == line(manifest, "dedup")
    assert keys_of(out, found.present) == built_keys(out)
    assert found.present.without_codes == 0
    lost = keys_of(out, found.changed) - keys_of(out, found.present)
    assert found.changed.without_codes == len(lost)


def test_rows_that_must_be_scored_first_are_counted_apart(corpus: tuple[Path, Path]) -> None:
    recipe, out = corpus
    sets = ("select.text_words.min=2",)
    told = compare(out, *sets).changed
    manifest = build_until_dedup(recipe, out, *sets)
    # Three rows of short texts: two of three words, and one about fog, which has no score.
    assert told.to_score == 3
    assert line(manifest, "select")["rows_in"] == told.select.rows_in + told.to_score - 1
    assert keys_of(out, told) <= built_keys(out, "selection")


def test_means_sources_and_codes_are_of_the_kept_rows(corpus: tuple[Path, Path]) -> None:
    _, out = corpus
    told = compare(out, "sources.more.quota=3").changed
    keys, store = keys_of(out, told), Storage(str(out))
    scores = [read_table(store, sidecar_path("scores", shard)) for shard in range(len(told.kept))]
    values = {
        key: value
        for table in scores
        for key, value in zip(column(table, "key"), column(table, "brightness"), strict=True)
    }
    assert told.means["brightness"] == pytest.approx(np.mean([values[key] for key in keys]))
    assert told.sources["more"] == 3
    assert sum(told.sources.values()) == len(keys) == told.dedup.kept
    assert told.codes == len(keys) * 521
    assert set(told.means) == {"text_words", "short_side", "brightness", "clarity", "failed"}


def test_without_dedup_the_duplicates_are_those_of_the_last_build(corpus, capsys) -> None:
    _, out = corpus
    told = compare(out, "select.brightness.min=0.1", dedup=False)
    exact = compare(out, "select.brightness.min=0.1", dedup=True)
    selected = built_keys(out, "selection")
    kept = keys_of(out, told.changed)
    assert not told.is_exact
    assert told.changed.new == len(kept - selected) > 0
    assert kept & selected == built_keys(out)
    assert told.changed.select == exact.changed.select
    assert told.present.dedup == exact.present.dedup
    assert told.changed.dedup.rows_in == exact.changed.dedup.rows_in
    assert main(["what-if", str(out), "--set", "select.brightness.min=0.1", "--no-dedup"]) == 0
    assert f"{told.changed.new:,} kept rows are new to it" in capsys.readouterr().out


def test_dedup_is_run_where_the_last_build_did_not(corpus: tuple[Path, Path]) -> None:
    _, out = corpus
    before = compare(out)
    for path in (out / "duplicates").glob("*.parquet"):
        path.unlink()
    after = compare(out)
    assert after.present.dedup == before.present.dedup
    assert after.present.without_codes is None
    assert compare(out, dedup=False).changed.dedup is None


def test_chunks_of_shards_change_nothing(corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    _, out = corpus
    whole = compare(out, "select.brightness.min=0.45")
    monkeypatch.setattr(stored, "SHARDS_A_CHUNK", 1)
    assert [
        len(chunk.shards) for chunk in Stored(store=Storage(str(out)), recipes=()).chunks()
    ] == [1] * len(whole.changed.kept)
    alone = compare(out, "select.brightness.min=0.45")
    assert alone.changed.select == whole.changed.select
    assert alone.changed.sources == whole.changed.sources
    assert keys_of(out, alone.changed) == keys_of(out, whole.changed)


@pytest.mark.parametrize(
    "item",
    ["measure.signals=[size]", "sources.more.path=x", "score.scorers=[]", "sources=[]", "name=x"],
)
def test_a_change_that_stored_values_cannot_answer_is_refused(corpus, item: str) -> None:
    with pytest.raises(RecipeError, match=r"what-if cannot change it.*sources\.NAME\.quota"):
        compare(corpus[1], item)


def test_a_rule_on_what_is_not_stored_is_refused_as_in_a_build(corpus) -> None:
    with pytest.raises(RecipeError, match=r"select\.aesthetic: not measured"):
        compare(corpus[1], "select.aesthetic.min=5")


@pytest.mark.slow
def test_a_list_of_texts_is_read_as_it_is_now(corpus, tmp_path: Path) -> None:
    recipe, out = corpus
    (listed := tmp_path / "texts.txt").write_text(f"{LISTED}\n")
    sets = (f"select.text.not_in={listed}",)
    build_until_dedup(recipe, out, *sets)
    listed.write_text(f"{LISTED}\na common text of many\n")
    told = compare(out).changed
    manifest = build_until_dedup(recipe, out, *sets)
    assert as_line("select", told.select) == line(manifest, "select")


def test_a_build_that_did_not_come_to_select_is_refused(corpus) -> None:
    _, out = corpus
    log = out / "build_log.jsonl"
    first = json.loads(log.read_text().splitlines()[0])
    log.write_text(json.dumps(first) + "\n")
    with pytest.raises(CorpusError, match="did not finish select"):
        compare(out)


def test_a_saved_patch_is_the_same_change(corpus, tmp_path: Path, capsys) -> None:
    recipe, out = corpus
    patch, sets = tmp_path / "patch.yaml", ["select.brightness.min=0.5", "sources.more.quota=5"]
    words = [word for item in sets for word in ("--set", item)]
    assert main(["what-if", str(out), *words, "--save", str(patch), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert patch.read_text() == "select.brightness.min: 0.5\nsources.more.quota: 5\n"
    assert main(["what-if", str(out), "--patch", str(patch), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == told
    assert main(["recipe", str(recipe), "--patch", str(patch)]) == 0
    printed = capsys.readouterr().out
    assert main(["recipe", str(recipe), *words]) == 0
    assert capsys.readouterr().out == printed


def test_codes_are_those_of_all_resolutions_and_views() -> None:
    tokenizers = ({"tokenizer": "infinity_bsq", "preset": "d32", "resolutions": [256, 512]},)
    config = VqTokensConfig.model_validate({"tokenizers": tokenizers, "views": 2})
    assert codes_a_sample(config) == 2 * (521 + 2521)
