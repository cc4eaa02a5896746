"""What goes wrong around a build is said clearly, and costs nothing that was committed."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from corpus import ROOT, Corpus
from safetensors.numpy import save_file

from pipelines.cli.main import main
from pipelines.stage_table import STAGES, sidecar_stages
from schemas.store.storage import CorpusError
from schemas.store.whole_file import TEMPORARY_PREFIX

Cli = Callable[..., tuple[int, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Return a function that runs a command in this process: its exit code, and what it printed."""

    def run(*words: str) -> tuple[int, str]:
        code = main([*words])
        return code, "".join(capsys.readouterr())

    return run


def test_help_needs_nothing_heavy_and_explains_each_stage() -> None:
    probe = (
        "import sys; from pipelines.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'apache_beam', 'torch', 'pyarrow', 'PIL', 'pydantic'} & set(sys.modules)))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True
    ).stdout
    assert printed.splitlines()[-1] == "[]"
    for stage in STAGES[:-2]:
        assert f"  {stage}  " in printed


def test_an_unknown_recipe_key_is_named_with_the_allowed_ones(tmp_path: Path, cli: Cli) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: x\nsources: [{name: a, kind: list, path: a.csv, pth: b}]\n")
    code, printed = cli("build", str(recipe), "--out", str(tmp_path / "out"))
    assert code == 1
    assert "sources.0.pth: unknown key; did you mean path?" in printed


def test_a_missing_list_is_named(tmp_path: Path, cli: Cli) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: x\nsources: [{name: a, kind: list, path: none.csv}]\n")
    code, printed = cli("build", str(recipe), "--out", str(tmp_path / "out"))
    assert code == 1
    assert f"{tmp_path}/none.csv" in printed


def test_a_missing_recipe_is_named(tmp_path: Path, cli: Cli) -> None:
    code, printed = cli("build", "none.yaml", "--out", str(tmp_path))
    assert (code, "none.yaml: no such recipe" in printed) == (1, True)


def test_an_output_that_cannot_be_written_is_named(
    make_corpus: Callable[..., Corpus], tmp_path: Path, cli: Cli
) -> None:
    (tmp_path / "file").write_text("in the way")
    corpus = make_corpus(out=tmp_path / "file" / "corpus")
    code, printed = cli(*corpus.command(processes=1)[3:])
    assert code == 1
    assert str(tmp_path / "file") in printed


@pytest.mark.slow
def test_a_second_build_into_one_folder_is_refused(copied: Corpus) -> None:
    running = subprocess.Popen(
        copied.command("crawl.max_bytes=5_000_001", processes=1),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: "ingest" in running.stderr.readline())
    printed = copied.build(expect=1, processes=1)
    running.kill()
    running.wait()
    assert "another build holds" in printed
    assert "Traceback" not in printed


def wait_until(true: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB; mounting one needs root."""
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(mount)]).returncode:
        pytest.skip("cannot mount a small file system here; needs root")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


@pytest.mark.slow
def test_a_full_disk_stops_the_build_with_what_is_committed_intact(
    make_corpus: Callable[..., Corpus], built: Corpus, small_disk: Path
) -> None:
    corpus = make_corpus(out=small_disk / "corpus")
    with pytest.raises(OSError, match="No space left on device"):
        corpus.rebuild()
    assert not list(corpus.out.rglob(f"{TEMPORARY_PREFIX}*"))
    kept = [path for folder in sidecar_stages() for path in corpus.files(f"{folder}/*.parquet")]
    before = {path: path.stat().st_mtime_ns for path in kept}
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    corpus.rebuild()
    assert corpus.shard_sha256 == built.shard_sha256
    assert {path: path.stat().st_mtime_ns for path in kept} == before


def test_a_corrupt_raw_tar_is_named_and_can_be_fetched_again(copied: Corpus, built: Corpus) -> None:
    tar = copied.files("raw/*.tar")[0]
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 0x01
    tar.write_bytes(data)
    (copied.out / "signals/00000.parquet").unlink()
    with pytest.raises(CorpusError, match=r"raw/00000-\w+\.tar.*not what was fetched"):
        copied.rebuild()
    (copied.out / "raw/00000.parquet").unlink()
    copied.rebuild()
    assert copied.shard_sha256 == built.shard_sha256


def test_too_many_dead_rows_fail_loudly(copied: Corpus) -> None:
    with pytest.raises(CorpusError, match=r"crawl: 5 of .* max_failed_fraction\.crawl is 0\.01"):
        copied.rebuild("max_failed_fraction.crawl=0.01")


def test_a_rule_about_nothing_measured_is_refused_before_any_work(
    make_corpus: Callable[..., Corpus], tmp_path: Path, cli: Cli
) -> None:
    corpus = make_corpus(out=tmp_path / "corpus")
    code, printed = cli(*corpus.command("select.beauty.min=5", processes=1)[3:])
    assert code == 1
    assert "beauty" in printed
    assert "short_side" in printed  # one of the allowed names
    assert not (tmp_path / "corpus" / "raw").exists()


def test_a_checkpoint_of_another_tokenizer_is_refused(copied: Corpus, tmp_path: Path) -> None:
    checkpoint = tmp_path / "other.safetensors"
    save_file({"encoder.wrong": np.zeros(3, np.float32)}, checkpoint)
    with pytest.raises(CorpusError, match=r"other\.safetensors.*encoder\.wrong"):
        copied.rebuild(f"vq_tokens.tokenizers.0.checkpoint={checkpoint}")
