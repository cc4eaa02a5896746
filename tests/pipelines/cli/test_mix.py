"""What `mix` prints and refuses, by the command line but in this process."""

import json
from pathlib import Path

import fsspec
import pytest
from training_shards import ShardMaker

from model.tokenizers.load import load_tokenizer
from pipelines.cli.main import main


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    maker = ShardMaker(tokenizer=load_tokenizer("infinity_bsq", preset="bundled"))
    folder = tmp_path_factory.mktemp("corpora") / "built"
    return maker.write(folder, {"t2i": [5, 3], "understand": [4]})


def cells(line: str) -> list[str]:
    """Return the cells of a line of a table."""
    return [cell for cell in line.split("  ") if cell]


def printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """Run the command, and return the cells of its lines."""
    assert main(["mix", *words]) == 0
    return [[cell.strip() for cell in cells(line)] for line in capsys.readouterr().out.splitlines()]


def test_a_table_of_built_corpora(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = ["--set", "steps=100", "--set", "mix={understand: 3, t2i: 1}"]
    lines = printed(["understand", "--data", str(corpus), *sets], capsys)
    assert lines[:5] == [
        ["understand: 100 steps x 256 = 25,600 samples, tokens256.npy"],
        ["corpus", "subset", "samples", "share", "drawn", "epochs", "codes"],
        [str(corpus), "understand", "4", "75.00%", "19,200", "4,800.00", "0"],
        [str(corpus), "t2i", "8", "25.00%", "6,400", "800.00", "134,400"],
        ["all", "12", "100.00%", "25,600", "134,400"],
    ]
    assert lines[-1][0].startswith("codes: of the images to generate")


def test_both_numbers_of_the_paper_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(["dpo256"], capsys)
    assert "100,000 or 180,000" in lines[2]
    assert "19.20 or 10.67" in lines[2]
    assert lines[2][-2:] == ["section 3.2.2 or section 4.2", "vargpt-v1.1-preferred"]
    assert lines[3][0].startswith("note: 100,000 prompts in section 3.2.2, 180,000")


@pytest.mark.parametrize("words", [[], ["all"], ["pretrain", "all", "pretrain"]])
def test_all_stages_are_printed_once_in_their_order_and_added_up(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(words, capsys)
    stages = [line[0].split(":")[0] for line in lines if line and " steps x " in line[0]]
    assert stages == ["pretrain", "understand", "sft256", "dpo256", "sft512", "dpo512", "edit"]
    assert lines[-2] == ["7 stages: 63,257,600 samples, 71,537,159,845 codes"]


def test_json_has_the_figures_as_numbers(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["mix", "sft256", "--data", str(corpus), "--set", "steps=1", "--json"]
    assert main(words) == 0
    [stage] = json.loads(capsys.readouterr().out)["stages"]
    [part] = stage["parts"]
    assert (stage["drawn"], stage["codes"]) == (1024, [1024 * 21, 1024 * 21])
    assert (part["samples"], part["share"], part["epochs"]) == ([8], 1.0, [128.0])


def test_corpora_lie_on_any_file_system(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fsspec.open("memory://bucket/out/manifest.json", "wb") as file:
        file.write((corpus / "manifest.json").read_bytes())
    lines = printed(["sft256", "--data", "memory://bucket/out:2"], capsys)
    assert lines[2][:4] == ["memory://bucket/out", "t2i", "8", "100.00%"]


def test_stages_that_the_corpora_do_not_fit_are_named_after_the_others(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mix", "--data", str(corpus)]) == 1
    out, err = capsys.readouterr()
    printed = [line.split(":")[0] for line in out.splitlines() if " steps x " in line]
    assert printed == ["pretrain", "understand", "sft256"]
    lines = err.removeprefix("vargpt-corpus: ").splitlines()
    assert [line.split(" trains on ")[0] for line in lines] == [
        "stage dpo256",
        f"stage sft512: {corpus}: no codes 'tokens512.npy', only: tokens256.npy",
        "stage dpo512",
        "stage edit",
    ]
    assert lines[0].endswith(f"'preference' samples; {corpus} has t2i, understand")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sft256", "--data", "nowhere"], "nowhere: no manifest.json; expected the folder of a"),
        (["sft256", "--data", "x:0"], "--data x:0: expected a positive weight, not 0"),
        (["sft256", "--data", "x:inf"], "--data x:inf: expected a positive weight, not inf"),
        (["sft256", "--set", "stpes=1"], "stpes: unknown key; did you mean steps?"),
        (["sft256", "--set", "mix.t2i=.inf"], "mix.t2i: expected a positive share, got inf"),
    ],
)
def test_an_error_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mix", *words]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


def test_an_unknown_stage_is_refused_with_what_was_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["mix", "sft-256"])
    assert "invalid choice: 'sft-256'" in (said := capsys.readouterr().err)
    assert "did you mean sft256?" in said
