"""Pairs through the loader: chosen first, then rejected, with labels that do not change."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from training_shards import keys_of

from model.data.loader import Loader
from model.data.manifest import DataError, Source
from model.data.plan import LoadPlan
from model.data.text import TextEncoder
from model.data.text_tokenizer import bundled_text_tokenizer
from model.tokenizers.infinity_bsq import InfinityBsq
from model.vargpt.vargpt import Vargpt


def test_every_pair_comes_once_chosen_before_rejected(
    load_pairs: Callable[..., Loader], pairs_corpus: Path
) -> None:
    keys: list[str] = []
    for batch in load_pairs():
        half = len(batch.keys) // 2
        assert batch.keys[:half] == batch.keys[half:]
        assert torch.equal(batch.input_ids_BS[:half], batch.input_ids_BS[half:])
        assert not torch.equal(batch.targets_NLK[:half], batch.targets_NLK[half:])
        keys += batch.keys[:half]
    assert sorted(keys) == sorted(keys_of(pairs_corpus, "preference"))


def test_flipped_bits_of_a_pair_are_the_same_in_every_epoch(load_pairs) -> None:
    both = list(load_pairs(batch=5, epochs=2, self_correction="approximate"))
    by_key = [dict(zip(batch.keys[:5], batch.inputs_NLD[:5], strict=True)) for batch in both]
    clean = next(iter(load_pairs(batch=5)))
    clean_by_key = dict(zip(clean.keys[:5], clean.inputs_NLD[:5], strict=True))
    for key, inputs in by_key[0].items():
        assert torch.equal(inputs, by_key[1][key])
    assert any(not torch.equal(each, clean_by_key[key]) for key, each in by_key[0].items())


def test_a_prompt_may_have_an_image(
    load_pairs: Callable[..., Loader], make_policy: Callable[..., Vargpt]
) -> None:
    batch = next(iter(load_pairs("preference_edit")))
    assert batch.image_grid_thw is not None
    assert len(batch.image_grid_thw) == 4
    assert torch.equal(*batch.image_grid_thw.chunk(2))
    assert make_policy()(batch).image_logits_NLU.shape[0] == 4


def test_pairs_are_not_mixed_with_other_samples(
    pairs_corpus: Path, pairs_tokenizer: InfinityBsq
) -> None:
    sources = tuple(Source(url=str(pairs_corpus), subset=name) for name in ("preference", "t2i"))
    text = TextEncoder(bundled_text_tokenizer())
    with pytest.raises(DataError, match="pairs cannot be mixed"):
        Loader(LoadPlan(sources=sources, batch=1), text=text, tokenizer=pairs_tokenizer)
