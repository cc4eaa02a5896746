"""Words after `--`: what Beam would drop without a word is refused."""

import pytest

from pipelines.cli.beam_options import check_beam_options
from pipelines.cli.main import main
from schemas.store.errors import CorpusError

OURS = {"--dry-run", "--out", "--help"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--no_such_beam=1"], "--no_such_beam is no option of Beam"),
        (["--direct_num_worker=1"], "did you mean --direct_num_workers?"),
        (["--direct_num_workers=2", "positional"], "'positional' is no option; Beam's are written"),
        (["--dry-run"], "--dry-run is an option of this command; write it before --"),
        (["--out=x"], "--out is an option of this command"),
        (["--help"], "--help is an option of this command"),
        (["--crawl.no_such=1"], "--no_such is no option of Beam"),
        (["--crwal.num_workers=1"], "unknown job crwal"),
        (["--direct_num_workers=many"], "invalid int value: 'many'"),
    ],
)
def test_a_word_that_beam_does_not_know_is_refused(words: list[str], said: str):
    with pytest.raises(CorpusError) as caught:
        check_beam_options(words, "", OURS)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        ["--direct_num_workers=2", "--direct_running_mode", "multi_processing"],
        ["--crawl.num_workers=2", "--gpu.experiments", "a", "--streaming"],
        ["--runner=FlinkRunner", "--checkpointing_interval=3", "--object_reuse", "true"],
    ],
)
def test_options_of_beam_and_of_its_runners_pass(words: list[str]):
    check_beam_options(words, "", OURS)


@pytest.mark.parametrize("words", [["--dry-run"], ["--parallel=2", "stray"]])
def test_a_runner_with_options_of_its_own_still_takes_none_of_ours_and_no_stray_word(
    words: list[str],
):
    with pytest.raises(CorpusError):
        check_beam_options(words, "SparkRunner", OURS)


def test_nothing_is_read_before_the_words_are_known(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        main(["build", "no-such.yaml", "--out", "x", "--", "--no_such_beam=1"])
    assert "after --: --no_such_beam is no option of Beam" in capsys.readouterr().err
