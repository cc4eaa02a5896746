"""Values of the reference: equal to computed ones, resumed, asked once, and never of another."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.data.loader import Loader
from model.data.manifest import DataError
from model.data.plan import LoadPlan
from model.training.reference import (
    FOLDER,
    CachedReference,
    MadeOf,
    ModelReference,
    labels_of,
    precompute,
)
from model.vargpt.vargpt import Vargpt

MADE_OF = MadeOf(model="a" * 64, labels="tokens256.npy", pairs="c" * 64)


@pytest.fixture
def reference(make_policy: Callable[..., Vargpt]) -> Vargpt:
    return make_policy(2)


def test_cached_values_are_those_that_are_computed(
    reference: Vargpt, load_pairs: Callable[..., Loader], tmp_path: Path
) -> None:
    path = tmp_path / "reference.parquet"
    precompute(reference, load_pairs(), MADE_OF, path)
    cached = CachedReference(MADE_OF).load([path])
    assert len(cached) == 5
    for batch in load_pairs():
        assert torch.equal(cached(batch), ModelReference(reference)(batch))


def test_killed_it_goes_on_and_computes_nothing_twice(
    reference: Vargpt, load_pairs: Callable[..., Loader], tmp_path: Path
) -> None:
    path = tmp_path / "reference.parquet"
    batches = list(load_pairs())
    precompute(reference, batches[:2], MADE_OF, path)
    calls = []
    forward = reference.forward
    reference.forward = lambda *args: calls.append(1) or forward(*args)  # type: ignore[method-assign]
    precompute(reference, batches, MADE_OF, path)
    assert len(calls) == 1
    whole = tmp_path / "whole.parquet"
    precompute(reference, batches, MADE_OF, whole)
    assert path.read_bytes() == whole.read_bytes()


def test_values_of_another_reference_or_of_other_labels_are_refused(
    reference: Vargpt, load_pairs: Callable[..., Loader], tmp_path: Path
) -> None:
    path = tmp_path / "reference.parquet"
    batches = list(load_pairs())
    precompute(reference, batches[:1], MADE_OF, path)
    for other in ({"model": "b" * 64}, {"labels": ""}, {"pairs": "d" * 64}):
        with pytest.raises(DataError, match="made for"):
            CachedReference(replace(MADE_OF, **other)).load([path])
    with pytest.raises(DataError, match="no reference log-likelihood of 2 pairs"):
        CachedReference(MADE_OF).load([path])(batches[1])
    path.write_bytes(b"cut")
    with pytest.raises(DataError, match="no file of reference log-likelihoods"):
        CachedReference(MADE_OF).load([path])


def test_two_pairs_of_one_key_are_refused(
    reference: Vargpt, load_pairs: Callable[..., Loader], tmp_path: Path
) -> None:
    path = tmp_path / "reference.parquet"
    batches = list(load_pairs())
    key = min(batches[0].keys)
    with pytest.raises(DataError, match=f"two pairs have the key {key}"):
        precompute(reference, [*batches, batches[0]], MADE_OF, path)
    precompute(reference, batches, MADE_OF, path)
    with pytest.raises(DataError, match="two pairs have the key"):
        CachedReference(MADE_OF).load([path, path])


def test_labels_hang_on_the_seed_only_where_bits_are_flipped(pairs_corpus: Path) -> None:
    from model.data.manifest import Source

    plan = LoadPlan(sources=(Source(url=str(pairs_corpus)),), batch=1, seed=7)
    assert labels_of(plan, "off") == "tokens256.npy"
    assert labels_of(plan, "approximate") == "tokens256.npy, self-correction approximate, seed 7"


def figures(out: Path) -> list[dict]:
    return [json.loads(line) for line in next(out.glob("*.jsonl")).read_text().splitlines()]


def test_the_margin_of_its_own_pairs_rises_from_0(make, pairs: Path, tmp_path: Path) -> None:
    before, out = tmp_path / "sft", tmp_path / "dpo"
    make(before, "steps=1").run()
    sets = ("steps=4", "batch=4", "micro_batch=2", "warmup_ratio=0")
    make(out, *sets, stage="dpo256", data=pairs, init=before).run()
    margins = [line["margin"] for line in figures(out)]
    assert margins[0] == pytest.approx(0.0, abs=1e-3)  # order of a batch may move the last places
    assert margins[-1] > 0.01
    assert figures(out)[0]["loss"] == pytest.approx(0.6931, abs=1e-3)


def test_begun_again_it_asks_the_reference_for_nothing(
    make, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, out = tmp_path / "sft", tmp_path / "dpo"
    make(before, "steps=1").run()
    make(out, "steps=1", stage="dpo256", data=pairs, init=before)
    kept = sorted((out / FOLDER).glob("*.parquet"))
    assert [path.name for path in kept] == ["00000-of-00001.parquet"]
    monkeypatch.setattr(CachedReference, "add", lambda *_: pytest.fail("asked again"))
    make(out, "steps=1", stage="dpo256", data=pairs, init=before)


def test_without_a_reference_it_is_refused(make, pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a reference, the model before"):
        make(tmp_path / "dpo", stage="dpo256", data=pairs)
