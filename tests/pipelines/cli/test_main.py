"""Words of the command line: what is refused, with what was probably meant."""

import subprocess
import sys

import pytest

from pipelines.cli import build as build_command
from pipelines.cli.main import main

BUILD = ["build", "r.yaml", "--out", "x"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["biuld", "r.yaml"], "invalid choice: 'biuld'.*did you mean build?"),
        (["trian-tokenizer"], "did you mean train-tokenizer?"),
        (["build", "r.yaml", "--ouy", "x"], "unknown option --ouy; did you mean --out?"),
        ([*BUILD, "--enigne=spark"], "unknown option --enigne; did you mean --engine?"),
        (["--verson"], "unknown option --verson; did you mean --version?"),
        ([*BUILD, "--until", "slect"], "did you mean select?"),
        ([*BUILD, "--retry-failed", "crawll"], "did you mean crawl?"),
        (["export", "x", "--to", "y", "--format", "lama-factory"], "did you mean llama-factory?"),
        (["build", "r.yaml", "--out="], "argument --out: expected a path or a URL"),
        (["build", "r.yaml", "--out", "  "], "argument --out: expected a path or a URL"),
        (["build", "", "--out", "x"], "expected a path or a URL, got an empty text"),
        (["build", "r.yaml", "--out"], "--out: expected one argument"),
        ([*BUILD, "--processes", "0"], "--processes: expected 1 or more, got 0"),
        ([*BUILD, "--processes", "-2"], "--processes: expected 1 or more, got -2"),
        ([*BUILD, "--processes", "1.5"], "--processes: expected a whole number, got '1.5'"),
        ([*BUILD, "--processes="], "--processes: expected a whole number, got ''"),
        (["preferences", "--model", "m", "--prompts", "p", "--out", ""], "expected a path"),
        (["preferences", "--model", "m", "--prompts", "p", "--out", "o", "--processes", "0"],
         "expected 1 or more"),
        (["train", "demo", "--data", "d", "--out", ""], "expected a path or a URL"),
        (["train", "demo", "--data", "d", "--out", "o", "--steps", "0"], "expected 1 or more"),
        (["train-tokenizer", "var_vqvae", "--data", "d", "--out", ""], "expected a path or a URL"),
        (["compare", "a", "b", "--prompts", "p", "--scorer", "clip", "--out="], "expected a path"),
        (["export", "x", "--format", "parquet", "--to="], "expected a path"),
        ([*BUILD, "--engine", "sprak"], "did you mean spark?"),
        (["train", "prtrain", "--data", "d", "--out", "o"], "did you mean pretrain?"),
        ([*BUILD, "extra"], "usage: vargpt-corpus build.*unknown argument 'extra'"),
        ([*BUILD, "-dry-run"], "usage: vargpt-corpus build.*did you mean --dry-run?"),
        (["verify", "x", "y"], "usage: vargpt-corpus verify.*unknown argument 'y'"),
        ([*BUILD, "-q", "-v"], "not allowed with argument"),
    ],
)  # fmt: skip
def test_a_wrong_word_exits_with_2_and_says_what_was_meant(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    error = capsys.readouterr().err
    first, _, last = said.partition(".*")
    assert first in error
    assert last in error


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("sources.openclipart.kind=foldr", "unknown kind 'foldr'; did you mean folder?"),
        ("vq_tokens.tokenizers.0.tokenizer=infinty_bsq", "did you mean infinity_bsq?"),
        ("vq_tokens.tokenizers.0.preset=bundld", "did you mean bundled?"),
        ("vq_tokens.aspects=Sqare", "did you mean square?"),
        ("vq_tokens.precision=bf61", "did you mean bf16?"),
        ("caption.otherwise=sorce", "did you mean source?"),
        ("sources.opencliprt.quota=3", "did you mean openclipart?"),
        ("crawl={retries: 1, retries: 2}", "retries is given twice"),
    ],
)
def test_a_wrong_value_of_a_recipe_exits_with_1_and_a_suggestion(
    change: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recipe", "pipelines/recipes/demo.yaml", "--set", change]) == 1
    assert said in capsys.readouterr().err


def test_an_engine_that_is_misspelt(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["build", "pipelines/recipes/demo.yaml", "--out", "/nowhere/x", "--engine", "sprk"]
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "did you mean spark?" in capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"vargpt-corpus {version('vargpt-corpus')}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_complete_commands_and_options(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--print-completion", shell])
    script = capsys.readouterr().out
    assert "train-tokenizer" in script
    assert "--allow-shrink" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_help_and_completion_import_nothing_heavy() -> None:
    probe = (
        "import sys; from pipelines.cli.main import main\n"
        "for words in (['--version'], ['build', '--help'], ['--print-completion', 'bash']):\n"
        "    try: main(words)\n"
        "    except SystemExit: pass\n"
        "heavy = {'apache_beam', 'torch', 'pyarrow', 'PIL', 'pydantic', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_the_names_that_can_be_completed_are_those_there_are() -> None:
    from model.training.recipe import recipe_names
    from pipelines.cli.train import STAGES as TRAINED
    from pipelines.engines.profile import engine_names

    assert engine_names() == build_command.ENGINES
    assert {*recipe_names()} == {*TRAINED}


def test_a_flag_of_an_earlier_release_is_read_and_its_new_name_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["build", "a.yaml", "--out", "x", "--retry-dead", "craw"])
    said = capsys.readouterr().err
    assert "--retry-dead is now called --retry-failed" in said
    stages = "crawl, measure, score, caption, vq_tokens"
    assert f"argument --retry-failed: expected one of {stages}, got 'craw'" in said
