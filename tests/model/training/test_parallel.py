"""Two processes that share the weights come to what one does."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from model.training.checkpoint import checkpoints
from model.training.journal import read_steps

ROOT = Path(__file__).parents[3]
TRAIN = ("--size", "tiny", "--threads", "1", "--device", "cpu")
SETS = (
    "resolution=256",
    "batch=4",
    "streams=2",
    "precision=fp32",
    "lr=0.003",
    "steps=4",
    "log_every=1",
)
DRAW = ("save_every=2", "sample_every=2", "prompts=[a cat]")


def train(
    out: Path, data: Path, stage: str, *sets: str, processes: int = 1, given: Sequence[str] = ()
) -> list[float]:
    """Train by the command line; return the losses."""
    python = [sys.executable, "-m"]
    if processes > 1:
        python += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    words = [word for each in (*SETS, *DRAW, *sets) for word in ("--set", each)]
    places = [f"--data={data}", f"--out={out}", *given]
    done = subprocess.run(
        [*python, "pipelines", "train", stage, *places, *TRAIN, *words],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [line["loss"] for line in read_steps(out)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "sets"),
    [
        ("edit", ["checkpointing=true"]),
        ("understand", ["mix={understand: 1, t2i: 1}", "checkpointing=false", "seed=3"]),
    ],
)
def test_two_processes_have_the_losses_and_pictures_of_one(
    corpus: Path, tmp_path: Path, stage: str, sets: list[str]
) -> None:
    """The second stage has micro-batches of different kinds, in one process and the other."""
    alone = train(tmp_path / "one", corpus, stage, *sets)
    assert train(tmp_path / "two", corpus, stage, *sets, processes=2) == pytest.approx(alone, 1e-4)
    shards = [path.name for path in checkpoints(tmp_path / "two")[-1].glob("*.safetensors")]
    assert len(shards) == 2
    pictures = [(tmp_path / of / "samples/step-00000002.png") for of in ("one", "two")]
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


@pytest.mark.slow
def test_one_process_goes_on_from_what_two_have_saved(corpus: Path, tmp_path: Path) -> None:
    unbroken = train(tmp_path / "one", corpus, "sft256")
    train(tmp_path / "two", corpus, "sft256", processes=2)
    last = checkpoints(tmp_path / "two")[-1]
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    resumed = train(tmp_path / "two", corpus, "sft256")
    assert resumed == pytest.approx(unbroken, 1e-4)
    state = json.loads((last / "state.json").read_text())
    assert [each.endswith("00001-of-00001.safetensors") for each in state["files"]] == [True]


@pytest.fixture(scope="module")
def init(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Tell a round of preferences to begin as a training that is there."""
    out = tmp_path_factory.mktemp("trainings") / "sft"
    train(out, corpus, "sft256")
    return f"--init={out}"


@pytest.mark.slow
def test_two_processes_have_the_preferences_of_one(init: str, pairs: Path, tmp_path: Path) -> None:
    """Each asks the reference about its own pairs, and spreads the policy afterwards."""
    alone = train(tmp_path / "one", pairs, "dpo256", given=[init])
    both = train(tmp_path / "two", pairs, "dpo256", given=[init], processes=2)
    assert alone[0] == pytest.approx(math.log(2), abs=1e-6)
    assert both == pytest.approx(alone, 1e-4)
    assert len(list((tmp_path / "two/reference").glob("*.parquet"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_in_bf16_too_the_margin_begins_near_0(
    init: str, pairs: Path, tmp_path: Path, processes: int
) -> None:
    sets = ("precision=bf16", "steps=1")
    losses = train(tmp_path, pairs, "dpo256", *sets, given=[init], processes=processes)
    assert losses[0] == pytest.approx(math.log(2), abs=0.01)
