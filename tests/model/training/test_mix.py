"""What a stage draws: as the paper's numbers have it, and as a training does it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from corpus import ROOT
from training_shards import SHAPES, ShardMaker

from model.data.manifest import DataError
from model.tokenizers.load import load_tokenizer
from model.tokenizers.protocol import count_codes
from model.training.checkpoint import find, read_state
from model.training.mix import Mix, built_mix, published_mix
from model.training.recipe import recipe_names, stage_recipe, stages
from model.training.sources import Corpus

# Samples of a stage (steps x batch of table 1) and epochs of its corpora, by section 1.5's
# arithmetic: 8.3 M, 1.223 M, 100 K or 180 K, 11,325.
ARITHMETIC = {
    "pretrain": (2_048_000, (0.2467,)),
    "understand": (793_600, (0.6489,)),
    "sft256": (40_960_000, (4.935,)),
    "dpo256": (1_920_000, (19.2, 10.667)),
    "sft512": (15_360_000, (1.8506,)),
    "dpo512": (1_152_000, (11.52, 6.4)),
    "edit": (1_024_000, (90.42,)),
}
CODES = {256: 521, 512: 2521}  # of an image, Infinity's schedules


def mix_of(*data: str | Path, stage: str = "sft256", sets: Sequence[str] = ()) -> Mix:
    return built_mix(stage_recipe(stage, sets), [Corpus.open(str(each)) for each in data])


@pytest.fixture(scope="module")
def maker() -> ShardMaker:
    return ShardMaker(tokenizer=load_tokenizer("infinity_bsq", preset="bundled"))


@pytest.mark.parametrize("stage", stages())
def test_the_papers_numbers_come_to_these_epochs(stage: str) -> None:
    drawn, epochs = ARITHMETIC[stage]
    mix = published_mix(stage_recipe(stage))
    assert (mix.drawn, sum(part.drawn for part in mix.parts)) == (drawn, drawn)
    for part in mix.parts:
        assert part.epochs == pytest.approx(epochs, rel=1e-3)


@pytest.mark.parametrize("stage", stages())
def test_the_papers_codes_are_those_of_infinitys_squares(stage: str) -> None:
    recipe = stage_recipe(stage)
    images = {"t2i": 1, "edit": 1, "understand": 0, "preference": 2}
    for part in published_mix(recipe).parts:
        codes = images[part.subset] * CODES[recipe.resolution]
        assert part.codes_of_sample == (codes, codes)
        assert part.codes == (codes * part.drawn, codes * part.drawn)


@pytest.mark.parametrize("stage", stages())
def test_shares_of_a_mix_are_those_of_the_sizes_that_the_recipe_names(stage: str) -> None:
    recipe = stage_recipe(stage)
    sizes: dict[str, int] = {}
    for corpus in recipe.published.corpora:
        sizes[corpus.subset] = sizes.get(corpus.subset, 0) + corpus.samples[0]
    shares = {name: share / sum(recipe.mix.values()) for name, share in recipe.mix.items()}
    assert shares == {name: size / sum(sizes.values()) for name, size in sizes.items()}


def test_a_recipe_to_build_each_published_corpus_is_there() -> None:
    folder = ROOT / "pipelines/recipes"
    named = {each.build for stage in stages() for each in stage_recipe(stage).published.corpora}
    assert len(named) == 4
    assert {name for name in named if not (folder / f"{name}.yaml").is_file()} == set()


def test_a_stage_without_published_corpora_has_shares_and_no_epochs() -> None:
    for stage in set(recipe_names()) - set(stages()):
        recipe = stage_recipe(stage)
        mix = published_mix(recipe)
        assert [part.subset for part in mix.parts] == list(recipe.mix)
        assert {(part.corpus, part.samples, part.epochs) for part in mix.parts} == {("", (), ())}
        assert sum(part.drawn for part in mix.parts) == recipe.steps * recipe.batch


@pytest.mark.slow
def test_a_training_draws_what_the_mix_says(make, corpus: Path, tmp_path: Path) -> None:
    sets = ["steps=2", "mix={t2i: 3, edit: 1, understand: 2}", "batch=7", "micro_batch=7"]
    make(tmp_path / "out", *sets, stage="edit").run()
    [state] = read_state(find(tmp_path / "out")).streams
    told = mix_of(corpus, stage="edit", sets=[*sets, "resolution=256"])
    assert state["taken"] == [part.drawn for part in told.parts] == [7, 2, 5]
    assert [part.epochs for part in told.parts] == [(7 / 16,), (2 / 4,), (5 / 4,)]


def test_corpora_share_a_subset_by_their_weights(
    corpus: Path, maker: ShardMaker, tmp_path: Path
) -> None:
    other = maker.write(tmp_path / "other", {"t2i": [2]})
    sets = ["mix={t2i: 1, edit: 1}", "steps=100", "batch=8"]
    mix = mix_of(corpus, f"{other}:3", sets=sets)
    assert [(p.corpus, p.subset, p.samples, p.share, p.drawn) for p in mix.parts] == [
        (str(corpus), "t2i", (16,), 0.125, 100),
        (str(other), "t2i", (2,), 0.375, 300),
        (str(corpus), "edit", (4,), 0.5, 400),
    ]


def test_codes_are_between_those_of_the_least_and_of_the_largest_shape(
    maker: ShardMaker, tmp_path: Path
) -> None:
    shapes = ShardMaker(tokenizer=maker.tokenizer, schedules=SHAPES)
    data = shapes.write(tmp_path / "shapes", {"t2i": [3], "preference": [2]})
    counts = [count_codes(schedule) for schedule in SHAPES.values()]
    [part] = mix_of(data, sets=["steps=10", "batch=2"]).parts
    assert part.codes_of_sample == (min(counts), max(counts)) == (3, 21)
    assert part.codes == (60, 420)
    [pair] = mix_of(data, stage="dpo256").parts
    assert pair.codes_of_sample == (6, 42)


@pytest.mark.parametrize(
    ("stage", "sets", "told"),
    [
        ("dpo256", [], "stage dpo256 trains on 'preference' samples; .* has t2i, edit, understand"),
        ("sft512", [], r"no codes 'tokens512\.npy', only: tokens256\.npy"),
    ],
)
def test_a_corpus_that_a_training_refuses_is_refused(
    stage: str, sets: list[str], told: str, corpus: Path
) -> None:
    with pytest.raises(DataError, match=told):
        mix_of(corpus, stage=stage, sets=sets)


def test_pairs_are_not_mixed_with_other_samples(corpus: Path, pairs: Path) -> None:
    with pytest.raises(DataError, match="pairs cannot be mixed with other samples"):
        mix_of(corpus, pairs, sets=["mix={t2i: 1, preference: 1}"])
