"""From a training to pairs of its images, to a training on those, by the commands as users type."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from training_shards import ShardMaker

from model.tokenizers.load import load_tokenizer
from pipelines.cli.main import main

TINY = ["--size", "tiny", "--set", "precision=fp32", "--set", "checkpointing=false"]
SHORT = ["--set", "batch=2", "--set", "sample_every=0", "--set", "log_every=1", "--threads", "1"]
DRAWN = ["--tau", "1", "--cfg", "1", "--processes", "1"]
JUDGED = {"scored": ["--scorer", "simple_scorers:brightness", "--samples", "2"], "paper": []}


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.parametrize("pairs", JUDGED)
def test_a_training_prefers_among_its_own_images(tmp_path: Path, pairs: str, capsys) -> None:
    tokenizer = load_tokenizer("infinity_bsq", preset="bundled")
    maker = ShardMaker(tokenizer=tokenizer, schedules={1.0: tokenizer.schedule})
    corpus = maker.write(tmp_path / "corpus", {"t2i": [4]})
    sft, out, dpo = tmp_path / "sft", tmp_path / "pairs", tmp_path / "dpo"
    trained = ["train", "sft256", "--data", str(corpus), "--out", str(sft), "--steps", "2"]
    assert main([*trained, *TINY, *SHORT]) == 0
    asked = ["--corpus", str(corpus), "--held-out", "1", "--pairs", pairs]
    judged = [*JUDGED[pairs], *DRAWN]
    assert main(["preferences", "--model", str(sft), "--out", str(out), *asked, *judged]) == 0
    kept = json.loads((out / "manifest.json").read_text())["subsets"]["preference"]["samples"]
    assert kept >= 1
    learnt = ["train", "dpo256", "--data", str(out), "--init", str(sft), "--out", str(dpo)]
    fast = ["--steps", "3", "--set", "lr=0.001", "--set", "warmup_ratio=0"]
    assert main([*learnt, *TINY, *SHORT, *fast]) == 0
    margins = [
        json.loads(line)["margin"] for line in (dpo / "steps.jsonl").read_text().splitlines()
    ]
    assert margins[0] == pytest.approx(0.0, abs=1e-2)
    assert margins[-1] > margins[0]
    exported = ["export", str(out), "--format", "llama-factory", "--to", str(tmp_path / "x")]
    assert main(exported) == 0
    assert f"preference: {kept} sample" in capsys.readouterr().out


@pytest.mark.slow
def test_two_models_are_compared_on_the_same_prompts_and_random_numbers(
    tmp_path: Path, capsys
) -> None:
    tokenizer = load_tokenizer("infinity_bsq", preset="bundled")
    maker = ShardMaker(tokenizer=tokenizer, schedules={1.0: tokenizer.schedule})
    corpus = maker.write(tmp_path / "corpus", {"t2i": [4]})
    models = [tmp_path / "zero", tmp_path / "one"]
    for seed, out in enumerate(models):
        trained = ["train", "sft256", "--data", str(corpus), "--out", str(out), "--steps", "1"]
        assert main([*trained, *TINY, *SHORT, "--set", f"seed={seed}"]) == 0
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red apple\na blue fish\na blue fish\n")
    found = []
    for name, after in zip(("itself", "another"), models, strict=True):
        out = tmp_path / name
        judged = ["--scorer", "simple_scorers:brightness", "--samples", "2", "--tau", "1"]
        command = ["compare", str(models[0]), str(after), "--prompts", str(prompts)]
        assert main([*command, "--out", str(out), *judged]) == 0
        scores = pq.read_table(out / "scores.parquet").to_pylist()
        found.append(json.loads((out / "comparison.json").read_text()))
        assert {row["text"] for row in scores} == {"a red apple", "a blue fish"}
        for side in ("before", "after"):
            of_all = [score for row in scores for score in row[side]]
            assert found[-1][side] == pytest.approx(sum(of_all) / 4)
        assert Image.open(out / "images.png").width == 4 * 256
    same, other = found
    assert same["difference"] == same["low"] == same["high"] == 0.0
    assert other["before"] == same["before"]
    assert other["low"] <= other["difference"] <= other["high"]
    assert other["difference"] != 0.0
    said = capsys.readouterr()
    assert "prompts.txt: 1 left out, repeated_prompt" in said.err
    assert "simple_scorers:brightness, 2 prompts: " in said.out
