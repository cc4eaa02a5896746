import pytest

from model.training.recipe import Recipe, changed, stage_recipe, stages
from schemas.recipe_file import RecipeError

# arXiv 2504.02949, table 1: batch, learning rate, steps; and the resolution of section 5.
PAPER = {
    "pretrain": (1024, 1e-3, 2000, 256),
    "understand": (256, 5e-5, 3100, 256),
    "sft256": (1024, 5e-5, 40_000, 256),
    "dpo256": (384, 1e-6, 5000, 256),
    "sft512": (512, 5e-5, 30_000, 512),
    "dpo512": (384, 1e-6, 3000, 512),
    "edit": (512, 5e-5, 2000, 512),
}


@pytest.mark.parametrize("stage", stages())
def test_a_stage_is_as_the_paper_has_it(stage: str) -> None:
    recipe = stage_recipe(stage)
    assert (recipe.batch, recipe.lr, recipe.steps, recipe.resolution) == PAPER[stage]
    assert (recipe.schedule, recipe.warmup_ratio, recipe.weight_decay) == ("cosine", 0.1, 0.0)
    assert (recipe.stage, recipe.trainable, recipe.size) == (stage, stage, "v1_1")
    assert recipe.objective == ("preferences" if stage.startswith("dpo") else "likelihood")


def test_the_table_is_of_all_stages() -> None:
    assert list(PAPER) == stages()


def test_values_are_set() -> None:
    recipe = stage_recipe("understand", ["batch=8", "mix.t2i=7", "prompts=[a cat]", "qwen=here"])
    assert (recipe.batch, recipe.prompts, recipe.qwen) == (8, ("a cat",), "here")
    assert recipe.mix == {"understand": 1173, "t2i": 7}


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ("learning_rate=1", "learning_rate: unknown key; Allowed: stage, "),
        ("prompts=[a <image_gen>]", "prompts: 'a <image_gen>' contains an image mark"),
        ("bacth=1", r"bacth: unknown key; did you mean batch\? Allowed: stage, objective, "),
        ("batch=0", "batch: expected a number of 1 or more, got 0"),
        ("size=huge", "size: expected 'tiny', 'mini', 'small' or 'v1_1', got 'huge'"),
        ("mix.t2i=0", "mix.t2i: expected a positive share, got 0"),
        ("mix.video=1", "mix.video"),
        ("mix.understand=1", "mix.understand: its samples have no image to generate"),
        ("micro_batch=3", "batch 1024: expected a multiple of micro_batch 3"),
        ("batch", "expected dotted.path=value"),
    ],
)
def test_what_is_wrong_is_said(item: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        stage_recipe("sft256", [item])


@pytest.mark.parametrize("item", ["qwen=q", "infinity=i", "choices=own"])
def test_released_weights_go_with_no_others_and_bring_their_choices(item: str) -> None:
    assert stage_recipe("sft256", ["released=r"]).choices == "released"
    with pytest.raises(RecipeError, match="released r holds all weights"):
        stage_recipe("sft256", ["released=r", item])


def test_a_key_that_an_earlier_release_did_not_have_has_its_default_there() -> None:
    now = stage_recipe("sft256").model_dump(mode="json")
    before = {key: value for key, value in now.items() if key not in ("tokens", "betas")}
    assert changed(before, now) == []
    told = changed(before, now | {"tokens": "var"})
    assert told == ["tokens: 'tokens' in the checkpoint, 'var' here"]


def test_an_unknown_stage_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"did you mean sft256\? Allowed: pretrain, understand"):
        stage_recipe("sft-256")


def test_both_sides_of_a_change_are_named() -> None:
    one = stage_recipe("edit").model_dump(mode="json")
    other = stage_recipe("edit", ["lr=1", "keep=9", "prompts=[x]"]).model_dump(mode="json")
    assert changed(one, other) == ["lr: 5e-05 in the checkpoint, 1.0 here"]
    assert Recipe.model_validate(one) == stage_recipe("edit")


def test_codes_go_by_the_name_that_the_corpus_gives_them() -> None:
    assert stage_recipe("sft512").member == "tokens512.npy"
    assert stage_recipe("sft512", ["tokens=var"]).member == "var512.npy"
