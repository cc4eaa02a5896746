"""What does not fit is said with both sides."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from training_shards import ShardMaker
from transformers import Qwen2VLForConditionalGeneration

from model.data.manifest import DataError, Source
from model.tokenizers.load import load_tokenizer, make_infinity_bsq
from model.tokenizers.sizes import BsqConfig
from model.training.recipe import stage_recipe
from model.training.sources import Corpus, sources_of, split_weight
from model.vargpt.backbone import qwen_config
from model.vargpt.config import TINY


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("out", ("out", 1.0)),
        ("out:2", ("out", 2.0)),
        ("gs://bucket/out", ("gs://bucket/out", 1.0)),
        ("gs://bucket/out:0.5", ("gs://bucket/out", 0.5)),
        ("http://127.0.0.1:80/out", ("http://127.0.0.1:80/out", 1.0)),
    ],
)
def test_a_weight_may_follow_a_url(text: str, expected: tuple[str, float]) -> None:
    assert split_weight(text) == expected


@pytest.mark.parametrize("weight", ["0", "-1", "nan"])
def test_a_weight_is_positive(weight: str) -> None:
    with pytest.raises(DataError, match=f"expected a positive weight, not {weight}"):
        split_weight(f"out:{weight}")


def test_a_mix_is_shared_out_over_the_corpora_that_have_it(corpus: Path, tmp_path: Path) -> None:
    maker = ShardMaker(tokenizer=load_tokenizer("infinity_bsq", preset="bundled"))
    other = maker.write(tmp_path / "other", {"t2i": [2]})
    recipe = stage_recipe("understand", ["mix={understand: 3, t2i: 1}"])
    corpora = [Corpus.open(f"{corpus}:1"), Corpus.open(f"{other}:3")]
    assert sources_of(recipe, corpora) == (
        Source(url=str(corpus), subset="understand", weight=3.0),
        Source(url=str(corpus), subset="t2i", weight=0.25),
        Source(url=str(other), subset="t2i", weight=0.75),
    )


def test_a_subset_that_no_corpus_has(corpus: Path) -> None:
    told = f"stage dpo256 trains on 'preference' samples; {corpus} has t2i, edit, understand"
    with pytest.raises(DataError, match=re.escape(told)):
        sources_of(stage_recipe("dpo256"), [Corpus.open(str(corpus))])


def test_shards_of_another_tokenizer(make, tmp_path: Path) -> None:
    random = make_infinity_bsq(BsqConfig(bits=8, ch=24, ch_mult=(1,) * 5, num_res_blocks=1), None)
    data = ShardMaker(tokenizer=random).write(tmp_path / "other", {"t2i": [3]})
    with pytest.raises(DataError) as error:
        make(tmp_path / "out", data=data).run()
    assert "bits 8 in the shards, 32 in the tokenizer" in str(error.value)


def test_a_schedule_that_the_tokenizer_cannot_do(make, tmp_path: Path) -> None:
    maker = ShardMaker(tokenizer=load_tokenizer("infinity_bsq", preset="bundled"))
    data = maker.write(tmp_path / "other", {"t2i": [3]})
    manifest = (data / "manifest.json").read_text()
    (data / "manifest.json").write_text(manifest.replace("1x1 2x2 4x4", "4x4 2x2 1x1"))
    with pytest.raises(ValueError, match=r"4x4 2x2 1x1"):
        make(tmp_path / "out", data=data).run()


def test_codes_of_another_resolution(make, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'tokens512.npy', only: tokens256.npy"):
        make(tmp_path, "resolution=512")


def test_a_language_model_of_another_vocabulary(make, tmp_path: Path) -> None:
    config = replace(TINY.backbone, vocab=4000)
    Qwen2VLForConditionalGeneration(qwen_config(config)).save_pretrained(tmp_path / "qwen")
    with pytest.raises(ValueError, match=r"4095, .* a vocabulary of 4000|4095, .* 4000 rows"):
        make(tmp_path / "out", f"qwen={tmp_path / 'qwen'}")


def test_preferences_say_what_is_missing(make, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"trains on 'preference' samples; .* has t2i"):
        make(tmp_path, stage="dpo256")
