import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from threshold_corpus import build_until_dedup

from pipelines import calibration
from pipelines.calibration import calibration_warnings, read_sample
from pipelines.check_recipe import pin
from pipelines.cli.main import main
from pipelines.runtime.sidecar import column, read_table, sidecar_path
from pipelines.thresholds.calibrate import rule_named
from pipelines.thresholds.sampling import draw_sample, population, shared_out
from schemas.recipe_file import dump_recipe, load_recipe
from schemas.store.storage import CorpusError, Storage

RULE = "brightness.min"


def calibrate(out: Path, *words: str, rule: str = "brightness") -> int:
    return main(["calibrate", str(out), rule, *words])


def sample_of(out: Path, rule: str = RULE) -> list[dict]:
    return read_sample(Storage(str(out)), rule).to_pylist()


def values_of(out: Path, name: str = "brightness") -> dict[str, float]:
    """Return the values of the rows that pass the rules which need no score."""
    found: dict[str, float] = {}
    for shard in range(len(list((out / "scores").glob("*.parquet")))):
        table = read_table(Storage(str(out)), sidecar_path("scores", shard))
        found |= dict(zip(column(table, "key"), column(table, name), strict=True))
    return {key: value for key, value in found.items() if value is not None}


def write_labels(path: Path, rows: list[dict], good: float) -> Path:
    labels = [{"key": r["key"], "label": "yes" if r["value"] >= good else "no"} for r in rows]
    path.write_text(json.dumps({"labels": labels}))
    return path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def scrambled(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[100:140] = bytes(range(200, 240))
    path.write_bytes(body)


def empty(path: Path) -> None:
    pq.write_table(calibration.SAMPLE.empty_table(), path)


def other_types(path: Path) -> None:
    table = pq.read_table(path)
    words = pa.array(["x"] * len(table))
    pq.write_table(table.set_column(2, "value", words), path)


def test_a_small_corpus_is_drawn_whole_with_the_values_of_its_rows(corpus) -> None:
    _, out = corpus
    assert calibrate(out) == 0
    rows = sample_of(out)
    assert {row["key"]: row["value"] for row in rows} == values_of(out)
    assert {(row["source"], row["threshold"]) for row in rows} == {("pics", 0.495), ("more", 0.49)}
    assert all(row["weight"] == 1 and row["label"] == "" for row in rows)
    assert json.loads(rows[0]["scorer"])["callable"] == "simple_scorers:brightness"


def test_strata_give_equally_many_rows_by_hash_and_weights_add_up(corpus) -> None:
    _, out = corpus
    recipe = load_recipe(str(out / "recipe.yaml"))
    rows = population(Storage(str(out)), recipe, "brightness", "min")
    few = draw_sample(rows, recipe, "brightness", "min", 12)
    more = draw_sample(rows, recipe, "brightness", "min", 16)
    assert len(few) == 12
    assert {*column(few, "key")} < {*column(more, "key")}
    assert sum(column(few, "weight")) == pytest.approx(len(values_of(out)))
    for row in few.to_pylist():
        source, side, distance = row["stratum"].split(", ")
        assert source == row["source"]
        assert side == ("kept" if row["value"] >= row["threshold"] else "dropped")
        nearer = [
            other
            for other in few.to_pylist()
            if other["stratum"] == f"{source}, {side}, near"
            and distance == "far"
            and abs(other["value"] - other["threshold"]) > abs(row["value"] - row["threshold"])
        ]
        assert nearer == []


def test_rows_that_another_rule_drops_are_not_drawn(corpus) -> None:
    _, out = corpus
    recipe = load_recipe(str(out / "recipe.yaml"), ["select.clarity={max: 0.2}"])
    with pytest.raises(CorpusError, match="no row passes the other rules"):
        population(Storage(str(out)), recipe, "brightness", "min")


def test_a_scorer_may_be_named_failed(corpus) -> None:
    _, out = corpus
    recipe = load_recipe(str(out / "recipe.yaml"), ["select.failed.min=0.5"])
    rows = population(Storage(str(out)), recipe, "failed", "min")
    sample = draw_sample(rows, recipe, "failed", "min", 50).to_pylist()
    found = values_of(out, "failed")
    assert {row["key"]: row["value"] for row in sample}.items() <= found.items()
    assert len(sample) > 2


def test_small_strata_leave_their_share_to_larger_ones() -> None:
    assert shared_out({"a": 1000, "b": 2, "c": 30}, 92) == {"a": 60, "b": 2, "c": 30}
    assert shared_out({"a": 5, "b": 5}, 100) == {"a": 5, "b": 5}


def test_the_page_holds_all_it_needs_and_no_text_ends_its_data(corpus, capsys) -> None:
    _, out = corpus
    assert calibrate(out, "--question", "Is it <b>bright</b>?") == 0
    page = (out / f"calibration/{RULE}.html").read_text()
    told = re.search(r'<script type="application/json" id="told">(.*?)</script>', page, re.S)
    cards = json.loads(told[1])["cards"]
    assert [card["key"] for card in cards] == [row["key"] for row in sample_of(out)]
    assert all(card["picture"].startswith("data:image/webp;base64,") for card in cards)
    assert "Is it &lt;b&gt;bright&lt;/b&gt;?" in page
    assert re.findall(r"(?:src|href)=[\"']?http", page) == []
    assert "brightness.min.html in a browser" in capsys.readouterr().out


def test_labels_are_stored_and_their_result_printed(corpus, tmp_path: Path, capsys) -> None:
    _, out = corpus
    assert calibrate(out) == 0
    rows = sample_of(out)
    # People agree with a threshold of 0.5: every kept row of less is one too many.
    labels = write_labels(tmp_path / "labels.json", rows, 0.5)
    assert calibrate(out, "--labels", str(labels)) == 0
    assert {row["label"] for row in sample_of(out)} == {"yes", "no"}
    told = json.loads((out / f"calibration/{RULE}.json").read_text())
    kept = [row for row in rows if row["value"] >= row["threshold"]]
    good = [row for row in rows if row["value"] >= 0.5]
    assert told["at_threshold"]["precision"]["value"] == pytest.approx(len(good) / len(kept))
    assert told["at_threshold"]["recall"]["value"] == 1
    assert set(told["by_source"]) == {"pics", "more"}
    assert f"{100 * len(good) / len(kept):.1f} %" in capsys.readouterr().out


def test_labels_as_csv_are_read_and_a_second_file_adds_to_them(corpus, tmp_path: Path) -> None:
    _, out = corpus
    assert calibrate(out) == 0
    first, second, *_ = sample_of(out)
    for number, (row, label) in enumerate([(first, "yes"), (second, "skip")]):
        path = tmp_path / f"{number}.csv"
        path.write_text(f"key,label\n{row['key']},{label}\n")
        assert calibrate(out, "--labels", str(path)) == 0
    assert [row["label"] for row in sample_of(out)][:3] == ["yes", "skip", ""]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("key,label\n" + "0" * 32 + ",yes\n", "not in the sample"),
        ('{"labels": [{"key": "KEY", "label": "maybe"}]}', "expected yes, no or skip"),
        ("{", "no labels of calibrate's page"),
        ("a,b\n1,2\n", "no labels of calibrate's page"),
        ('{"labels": ' + "[" * 200_000, "labels: no labels of calibrate's page"),
        ("key,label\n" + "x" * 2_000_000 + ",yes\n", "labels: no labels of calibrate's page"),
        ("key,label\nKEY,yes\nKEY,no\n", "different labels, yes and no; keep one"),
        ('{"rule": "clarity.min", "labels": [{"key": "KEY", "label": "yes"}]}', "'clarity.min'"),
        ("key,label,rule\nKEY,yes,clarity.min\n", "of rule 'clarity.min', expected 'brightness"),
        (
            '{"sample": "0f", "labels": [{"key": "KEY", "label": "yes"}]}',
            "of sample '0f', expected",
        ),
    ],
    ids=str.split("foreign word cut columns deep large twice json_rule csv_rule json_sample"),
)
def test_a_file_that_holds_no_such_labels_is_refused(corpus, tmp_path, capsys, body, said) -> None:
    _, out = corpus
    assert calibrate(out) == 0
    (path := tmp_path / "labels").write_text(body.replace("KEY", sample_of(out)[0]["key"]))
    assert calibrate(out, "--labels", str(path)) == 1
    assert said in capsys.readouterr().err


def test_a_sample_stays_until_another_is_asked_for(corpus, tmp_path: Path) -> None:
    _, out = corpus
    assert calibrate(out, "--samples", "8") == 0
    rows = sample_of(out)
    labels = write_labels(tmp_path / "labels.json", rows, 0.5)
    assert calibrate(out, "--labels", str(labels), "--samples", "20") == 0
    assert [row["key"] for row in sample_of(out)] == [row["key"] for row in rows]
    assert calibrate(out, "--anew", "--samples", "20") == 0
    assert len(sample_of(out)) == 20
    assert {row["label"] for row in sample_of(out)} == {""}


def test_files_of_somebody_else_are_not_replaced(corpus, capsys) -> None:
    _, out = corpus
    page = out / f"calibration/{RULE}.html"
    page.parent.mkdir()
    page.write_text("<p>mine</p>")
    assert calibrate(out) == 1
    assert "calibrate did not write it" in capsys.readouterr().err
    assert page.read_text() == "<p>mine</p>"


def test_a_rule_is_named_by_its_column_or_its_path(corpus) -> None:
    recipe = load_recipe(str(corpus[1] / "recipe.yaml"), ["select.aspect={min: 0.1, max: 3}"])
    assert rule_named("select.brightness.min", recipe) == RULE
    assert rule_named("brightness", recipe) == RULE
    with pytest.raises(CorpusError, match=r"two bounds; name aspect\.min or aspect\.max"):
        rule_named("aspect", recipe)
    with pytest.raises(CorpusError, match=r"no such bound; it has text_words\.min, brightness"):
        rule_named("brightness.max", recipe)


def test_a_build_says_which_rules_on_scores_lack_labels(corpus, tmp_path: Path) -> None:
    recipe, out = corpus
    store, pinned = Storage(str(out)), pin(load_recipe(str(recipe)))
    [line] = calibration_warnings(pinned, store)
    assert line.startswith("no labels say whether people agree with select.brightness.min;")
    calibrate(out)
    assert [*calibration_warnings(pinned, store)] == [line]
    calibrate(out, "--labels", str(write_labels(tmp_path / "l", sample_of(out), 0.5)))
    assert [*calibration_warnings(pinned, store)] == []
    other = load_recipe(str(recipe), ["score.scorers.brightness.version='2'"])
    [line] = calibration_warnings(pin(other), store)
    assert "its labels are of another scorer" in line
    assert '"callable_version": "2"' in line


def test_labels_of_an_old_threshold_are_named_by_build_and_calibrate(
    corpus, tmp_path: Path, capsys, caplog
) -> None:
    _, out = corpus
    calibrate(out)
    calibrate(out, "--labels", str(write_labels(tmp_path / "l", sample_of(out), 0.5)))
    assert "at the threshold" in capsys.readouterr().out
    moved = load_recipe(str(out / "recipe.yaml"), ["select.brightness.min=0.505"])
    [line] = calibration_warnings(moved, Storage(str(out)))
    expected = "are of the threshold 0.495, where the recipe has 0.505 (pics); calibrate it again"
    assert line.startswith(f"select.{RULE}: its labels")
    assert expected in line
    (out / "recipe.yaml").write_text(dump_recipe(moved))
    with caplog.at_level("WARNING", logger="vargpt-corpus"):
        assert calibrate(out) == 0
    assert expected in caplog.text
    assert "at the old threshold" in capsys.readouterr().out
    told = json.loads((out / f"calibration/{RULE}.json").read_text())
    assert told["thresholds"] == {"more": 0.49, "pics": 0.495}


@pytest.mark.parametrize("harm", [cut, scrambled, empty, other_types])
def test_a_damaged_sample_is_named_and_stops_no_build(corpus, capsys, harm) -> None:
    recipe, out = corpus
    calibrate(out)
    path = out / f"calibration/{RULE}.parquet"
    harm(path)
    assert calibrate(out) == 1
    said = f"calibration/{RULE}.parquet: not a sample of calibrate"
    assert said in capsys.readouterr().err
    [line] = calibration_warnings(pin(load_recipe(str(recipe))), Storage(str(out)))
    assert line.startswith(said)
    assert line.endswith("a build goes on without it")


def test_a_dry_run_says_it_too(corpus, caplog) -> None:
    recipe, out = corpus
    with caplog.at_level("WARNING", logger="vargpt-corpus"):
        assert main(["build", str(recipe), "--out", str(out), "--dry-run"]) == 0
    assert "no labels say whether people agree with select.brightness.min" in caplog.text


@pytest.mark.slow
def test_a_build_leaves_the_labels_and_warns(corpus, caplog) -> None:
    recipe, out = corpus
    calibrate(out)
    before = {path: path.read_bytes() for path in (out / calibration.FOLDER).iterdir()}
    with caplog.at_level("WARNING", logger="vargpt-corpus"):
        build_until_dedup(recipe, out, "select.brightness.min=0.5")
    assert {path: path.read_bytes() for path in (out / calibration.FOLDER).iterdir()} == before
    assert "no labels say whether people agree with select.brightness.min" in caplog.text


def test_verify_knows_the_files_and_no_other(copied, tmp_path: Path) -> None:
    folder = copied.out / calibration.FOLDER
    assert main(["calibrate", str(copied.out), "short_side", "--samples", "4"]) == 0
    assert copied.faults() == []
    (folder / "notes.txt").write_text("mine")
    assert [fault for fault in copied.faults() if "stray" not in fault] == []
    assert len(copied.faults()) == 1
    shutil.rmtree(folder)
    folder.mkdir()
    assert copied.faults() == []
