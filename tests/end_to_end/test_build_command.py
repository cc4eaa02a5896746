"""What `build` and `recipe` say and refuse, by the command line but in this process."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny import Tiny, draw_images

from pipelines.cli.main import main
from pipelines.engines.engine import Engine
from pipelines.stage_table import STAGES
from pipelines.verify.job import verify
from schemas.store.storage import CorpusError, Storage

TODO = re.compile(r"^(\w+) +(\d+) of \d+ shards to do", re.MULTILINE)
DONE = re.compile(r"^(\w+) +(\d+) of \d+ shards", re.MULTILINE)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Four images in two shards, and a copy of all of it beside it."""
    tiny = Tiny(folder=tmp_path_factory.mktemp("tiny") / "four")
    draw_images(tiny.folder / "images", range(4))
    tiny.write_recipe()
    assert run(tiny) == 0
    tiny.keep()
    return tiny


@pytest.fixture
def tiny(built: Tiny) -> Tiny:
    """The same, to be changed: laid anew, so that all of it is fresh."""
    built.lay_anew()
    return built


def run(tiny: Tiny, *words: str) -> int:
    out = ["--out", str(tiny.out), "--processes", "1"]
    return main(["build", str(tiny.folder / "r.yaml"), *out, *words])


def more_images(tiny: Tiny) -> None:
    draw_images(tiny.folder / "images", range(4, 6))


CHANGES = {
    "nothing": ([], lambda tiny: None, set()),
    "a rule": (
        ["--set", "select.short_side.max=1000"],
        lambda tiny: None,
        {"select", "dedup", "caption", "pair", "vq_tokens", "shard", "report"},
    ),
    "a quota": (
        ["--set", "sources.0.quota=3"],
        lambda tiny: None,
        {"dedup", "caption", "pair", "vq_tokens", "shard", "report"},
    ),
    "templates": (
        ["--set", "shard.samples=9"],
        lambda tiny: None,
        {"shard", "report"},
    ),
    "a lost side-car": (
        [],
        lambda tiny: (tiny.out / "pairs/00000.parquet").unlink(),
        {"pair", "vq_tokens", "shard", "report"},
    ),
    "images": (
        [],
        more_images,
        {*STAGES},
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_dry_run_says_what_the_build_then_does(
    change: str, tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    words, prepare, expected = CHANGES[change]
    prepare(tiny)
    before = tiny.files()
    assert run(tiny, *words, "--dry-run") == 0
    said = dict(TODO.findall(capsys.readouterr().out))
    assert tiny.files() == before
    assert run(tiny, *words) == 0
    done = {stage: n for stage, n in DONE.findall(capsys.readouterr().err) if n != "0"}
    assert set(said) == expected
    # Behind a stage that has work, it says the most that there may be.
    assert done.keys() <= said.keys()
    assert all(int(number) <= int(said[stage]) for stage, number in done.items())


def test_a_dry_run_names_the_keys_and_what_would_be_removed(
    tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tiny, "--dry-run", "--set", "select.short_side.min=20") == 0
    said = capsys.readouterr().out
    assert "the recipe changed: select.short_side.min None -> 20.0" in said
    (tiny.folder / "images/3.png").unlink()
    (tiny.folder / "images/2.png").unlink()
    before = tiny.files()
    assert run(tiny, "--dry-run", "--set", "select.short_side.min=20") == 1
    printed = capsys.readouterr().out
    assert "would refuse: pics had 4 rows and has 2" in printed
    assert "would remove tokens/00001.tokens128.npy" in printed
    assert tiny.files() == before
    assert run(tiny, "--dry-run", "--allow-shrink") == 0
    assert "allowed: pics had 4 rows and has 2" in capsys.readouterr().out


def test_a_dry_run_of_a_new_corpus_makes_no_folder(
    tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tiny.folder / "new"
    assert main(["build", str(tiny.folder / "r.yaml"), "--out", str(out), "--dry-run"]) == 0
    assert "ingest     2 of 2 shards to do, 4 rows: missing" in capsys.readouterr().out
    assert not out.exists()
    (tiny.folder / "mine").mkdir()
    (tiny.folder / "mine/a").touch()
    words = ["--out", str(tiny.folder / "mine"), "--dry-run"]
    assert main(["build", str(tiny.folder / "r.yaml"), *words]) == 1
    assert "holds a, and is no corpus" in capsys.readouterr().err


def test_until_a_stage_and_then_on(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    whole = tiny.files()
    shutil.rmtree(tiny.out)
    for stage in ("crawl", "select"):
        assert run(tiny, "--until", stage) == 0
        out = capsys.readouterr().out
        assert f"4 rows left after {stage}" in out
        assert not (tiny.out / "captions").exists()
        assert not (tiny.out / "manifest.json").exists()
    assert run(tiny) == 0
    capsys.readouterr()
    assert tiny.files() == whole
    manifest = (tiny.out / "manifest.json").stat().st_mtime_ns
    assert run(tiny, "--until", "ingest", "-q") == 0
    assert (tiny.out / "manifest.json").stat().st_mtime_ns == manifest
    printed = capsys.readouterr()
    assert printed.out == f"{tiny.out}: 4 rows left after ingest\n"
    assert printed.err == ""


def test_seconds_are_of_this_build(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    log = tiny.out / "build_log.jsonl"
    lines = log.read_text().splitlines()
    old = [json.dumps({**json.loads(line), "seconds": 5000.0}) for line in lines]
    log.write_text("".join(f"{line}\n" for line in old))
    assert run(tiny) == 0
    assert "5000.0" not in capsys.readouterr().out
    assert len(log.read_text().splitlines()) == len(lines) + 1 + len(
        STAGES
    )  # the first says that it began


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that the names of jobs go into as they are run."""
    names: list[str] = []
    run_job = Engine.run

    def counted(engine: Engine, graph: Any, *, name: str, **options: Any) -> Any:
        names.append(name)
        return run_job(engine, graph, name=name, **options)

    monkeypatch.setattr(Engine, "run", counted)
    return names


def test_a_build_is_five_jobs_with_quotas_too(tiny: Tiny, jobs: list[str]) -> None:
    shutil.rmtree(tiny.out)
    assert run(tiny, "--set", "sources.0.quota=3") == 0
    assert jobs == ["ingest-to-select", "dedup", "caption-to-vq_tokens", "shard", "report"]
    manifest = json.loads((tiny.out / "manifest.json").read_bytes())
    assert manifest["subsets"]["t2i"]["samples"] == 3
    [dedup] = [line for line in manifest["funnel"] if line["stage"] == "dedup"]
    assert dedup["dropped"] == {"quota": 1}
    jobs.clear()
    assert run(tiny, "--set", "sources.0.quota=3") == 0
    assert jobs == []
    assert not verify(Storage(str(tiny.out)))


def test_a_build_that_drops_every_row_says_which_stage_took_them(
    tiny: Tiny, jobs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """And it does no work for none, and keeps the shards that there are."""
    shards = {name: data for name, data in tiny.files().items() if name.startswith("shards/")}
    assert run(tiny, "--set", "select.short_side.max=20") == 1
    assert jobs == ["ingest-to-select"]
    said = capsys.readouterr().err
    assert "no sample is left: 4 rows in; select dropped 4 (short_side_max 4)" in said
    assert {n: d for n, d in tiny.files().items() if n.startswith("shards/")} == shards
    assert main(["verify", str(tiny.out)]) == 1
    said = capsys.readouterr().out
    assert "no sample is left: 4 rows in; select dropped 4 (short_side_max 4); change the" in said
    assert "run build again" not in said


@pytest.mark.slow
def test_no_torch_and_no_job_for_rows_that_are_not_there(tmp_path: Path) -> None:
    """Every image fails to decode: what follows has no rows, but side-cars of none."""
    tiny = Tiny(folder=tmp_path)
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / f"images/{number}.png").write_bytes(b"\x89PNG\r\n\x1a\nno image")
        (tmp_path / f"images/{number}.txt").write_text("a drawing of something")
    recipe = tiny.write_recipe(max_failed_fraction={"measure": 1.0, "crawl": 1.0})
    probe = (
        "import sys; from pipelines.cli.main import main\n"
        f"code = main(['build', {recipe!r}, '--out', {str(tiny.out)!r}, '--processes', '1'])\n"
        "print(code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "1 False", done.stderr
    assert "no sample is left: 3 rows in; " in done.stderr
    assert "failed 3 (" in done.stderr
    for folder in ("scores", "selection", "duplicates", "captions", "pairs", "tokens"):
        assert len(list((tiny.out / folder).glob("*.parquet"))) == 2, folder


def test_a_folder_named_by_a_tilde_is_that_of_home(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tiny.folder))
    monkeypatch.chdir(tiny.folder)
    words = ["--processes", "1", "--set", "sources.pics.path=~/images"]
    assert main(["build", "~/r.yaml", "--out=~/out", *words]) == 0
    assert not Path("~").exists()
    assert main(["recipe", "~/r.yaml", "--set", "sources.pics.path=~/images"]) == 0
    assert f"path: {tiny.folder}/images" in capsys.readouterr().out
    assert not verify(Storage(str(tiny.out)))


def test_recipe_finds_every_fault_that_build_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = Tiny(folder=tmp_path)
    sources = [
        {"name": "a", "kind": "list", "path": "none.csv"},
        {"name": "b", "kind": "folder", "path": "none"},
        {"name": "c", "kind": "folder", "path": "r.yaml"},
        {"name": "d", "kind": "webdataset", "path": "none/*.tar"},
        {"name": "e", "kind": "folder", "path": ".", "list": "none.csv"},
    ]
    tokenizer = {"tokenizer": "infinity_bsq", "checkpoint": "none.safetensors"}
    path = tiny.write_recipe(
        sources=sources,
        measure={"signals": ["size", "sharpnes"]},
        select={"shortside": {"min": 3}},
        pair={"templates": "none.yaml"},
        vq_tokens={"tokenizers": [tokenizer]},
    )
    assert main(["recipe", path]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.removeprefix("vargpt-corpus: ").splitlines()
    for said in (
        "measure.signals.1: unknown signal 'sharpnes'; did you mean sharpness?",
        "select.shortside: not measured; did you mean short_side?",
        "none.yaml: no such file",
        "vq_tokens.tokenizers.tokens.checkpoint: ",
        "sources.a: ",
        "sources.b.path: ",
        "sources.c.path: ",
        "sources.d: ",
        "sources.e: ",
    ):
        assert any(line.startswith(f"{path}: ") and said in line for line in lines), said
    with pytest.raises(CorpusError, match="none"):
        tiny.build(tiny.recipe(sources=sources[:1]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "select: {aspect: {min: 1}}\nselect: {aspect: {max: 2}}",
            "select is given twice, in lines",
        ),
        ("crawl: {retries: 1, retries: 2}", "crawl.retries is given twice, in line "),
        ("measure: &m {signals: [size], signals: []}\ndedup: *m", "measure.signals is given twice"),
        ("crawl: {<<: {retries: 1}, <<: {retries: 2}}", "crawl.<< is given twice"),
        ("'crawl': {}\ncrawl: {}", "crawl is given twice"),
    ],
)
def test_a_key_given_twice_is_refused(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"name: x\nsources: [{{name: a, kind: folder, path: .}}]\n{text}\n")
    for words in (["recipe", str(path)], ["build", str(path), "--out", str(tmp_path / "out")]):
        assert main(words) == 1
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_merged_key_may_be_given_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "name: x\nsources:\n  - &a {name: a, kind: folder, path: .}\n  - {<<: *a, name: b}\n"
    )
    assert main(["recipe", str(path)]) == 0
    assert "name: b" in capsys.readouterr().out


def test_verify_after_a_build_that_did_not_finish_says_just_that(
    tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a finished corpus that such a build did not change is sound."""
    assert run(tiny, "-q", "--until", "select") == 0
    assert main(["verify", str(tiny.out)]) == 0
    assert run(tiny, "-q", "--until", "select", "--set", "select.short_side.min=9") == 0
    capsys.readouterr()
    assert main(["verify", str(tiny.out)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "build_log.jsonl: the last build stopped after select, or did not finish; run build again "
        "to finish it, then verify",
        f"{tiny.out}: 1 fault",
    ]
    assert run(tiny, "-q", "--set", "select.short_side.min=9") == 0
    assert main(["verify", str(tiny.out)]) == 0


def test_a_refused_build_leaves_nothing_behind(tiny: Tiny) -> None:
    out = tiny.folder / "new/corpus"
    build = ["build", str(tiny.folder / "r.yaml"), "--out", str(out), "--processes", "1"]
    nowhere = ["--set", f"sources.pics.path={tiny.folder}/no-such"]
    assert main([*build, *nowhere]) == 1
    assert not out.parent.exists()
    out.mkdir(parents=True)
    assert main([*build, *nowhere]) == 1
    assert not list(out.iterdir())


def test_a_few_rows_fewer_are_told(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    draw_images(tiny.folder / "images", range(4, 12))
    assert run(tiny, "-q", "--until", "ingest") == 0
    (tiny.folder / "images/11.png").unlink()
    assert run(tiny, "--until", "ingest") == 0
    assert "pics: 1 row fewer than before (12 -> 11)" in capsys.readouterr().err
