"""Training reads buckets as builds do: it gets over faults, and says in a line what is for good."""

from collections.abc import Callable
from pathlib import Path

import pytest
from faulty_proxy import FaultyProxy
from object_stores import ObjectStore
from training_shards import ShardMaker

from model.tokenizers.load import load_tokenizer
from model.training.journal import read_steps
from pipelines.cli.main import main
from schemas.store.storage import Storage

SETS = ("resolution=256", "precision=fp32", "batch=2", "sample_every=0", "checkpointing=false")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random codes of the bundled BSQ tokenizer; tests must not change it."""
    maker = ShardMaker(tokenizer=load_tokenizer("infinity_bsq", preset="bundled"))
    return maker.write(tmp_path_factory.mktemp("corpora") / "square", {"t2i": [4, 4]})


def train(data: str, out: Path, *words: str) -> int:
    sets = [word for each in (*SETS, "log_every=1") for word in ("--set", each)]
    command = ["train", "sft256", "--data", data, "--out", str(out), "--size", "tiny"]
    return main([*command, "--steps", "6", "--threads", "1", "--device", "cpu", *sets, *words])


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in read_steps(out)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_training_from_a_bucket_gets_over_a_store_that_is_away(
    proxy: FaultyProxy,
    store: ObjectStore,
    local: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    bucket = store.make_bucket("trained")
    fs, root = Storage(f"{bucket}/corpus").locate("")
    fs.fs.put(f"{local}/", root, recursive=True)
    assert train(str(local), tmp_path / "local") == 0
    proxy.draw = away_once(proxy)  # type: ignore[method-assign]
    assert train(f"{bucket}/corpus", tmp_path / "far") == 0
    said = capsys.readouterr().err
    assert "answered 503" in said
    assert "try 1 of 4, again in 5 s" in said
    here, far = losses(tmp_path / "local"), losses(tmp_path / "far")
    assert len(here) == 6
    assert far == here


def away_once(proxy: FaultyProxy) -> Callable[[], str]:
    """Have the store go away for ten requests, once the manifest was read."""
    before = len(proxy.seen)
    waiting = iter(["503"] * 10)
    return lambda: next(waiting, "") if len(proxy.seen) > before + 2 else ""


def prompts(tmp_path: Path) -> str:
    (tmp_path / "prompts.txt").write_text("a fox\n")
    return str(tmp_path / "prompts.txt")


def commands(url: str, tmp_path: Path) -> dict[str, list[str]]:
    """Return a command of each kind that reads `url`."""
    out = ["--out", str(tmp_path / "out")]
    scorer = ["--scorer", "filters.none:none"]
    return {
        "train": ["train", "sft256", "--data", url, *out],
        "mix": ["mix", "sft256", "--data", url],
        "train-tokenizer": ["train-tokenizer", "infinity_bsq", "--data", url, *out],
        "preferences": ["preferences", "--model", url, "--prompts", prompts(tmp_path), *out],
        "compare": ["compare", url, url, "--prompts", prompts(tmp_path), *out, *scorer],
        "compare --aesthetic-head": [
            *("compare", url, url, "--prompts", prompts(tmp_path), *out),
            *("--scorer", "aesthetic", "--clip-weights", "openai"),
            *("--aesthetic-head", f"{url}/head.pth"),
        ],
        "export": ["export", url, "--format", "parquet", "--to", str(tmp_path / "to")],
    }


@pytest.mark.parametrize(
    ("place", "command"),
    [
        *((place, "train") for place in ("no bucket", "nothing there", "denied")),
        ("nothing there", "mix"),
        ("denied", "train-tokenizer"),
        ("no bucket", "preferences"),
        ("nothing there", "compare"),
        ("denied", "compare --aesthetic-head"),
        ("no bucket", "export"),
    ],
)
def test_a_place_that_cannot_be_read_is_said_in_a_line(
    command: str,
    place: str,
    proxy: FaultyProxy,
    store: ObjectStore,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    url = f"{store.protocol}://no-such-bucket/it"
    if place == "nothing there":
        url = f"{store.make_bucket('empty')}/it"
    if place == "denied":
        proxy.share, proxy.faults = 1.0, ["403"]
    assert main(commands(url, tmp_path)[command]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("vargpt-corpus: ")
    assert url in said
    if place == "denied":
        assert "the store denies access" in said
