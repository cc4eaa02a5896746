"""The recipe of a training stage: one YAML file per stage, checked key by key."""

import math
import os.path
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from model.data.plan import SelfCorrection
from model.training.published import Published
from model.vargpt.loss import ScaleWeights
from model.vargpt.trainable import Stage, trains_language
from schemas.plain_words import explained
from schemas.recipe_faults import meant, suggest
from schemas.recipe_file import RecipeError, override
from schemas.sample import IMAGE, IMAGE_GEN
from schemas.strict_yaml import load_yaml
from schemas.subsets import SUBSETS, SubsetName

RECIPES: Final = Path(__file__).parent / "recipes"

Size = Literal["tiny", "mini", "small", "v1_1"]

PROMPTS: Final = (
    "a red apple",
    "a yellow flower",
    "a blue fish",
    "a green tree",
    "a small house",
    "a black cat",
    "a smiling sun",
    "a white cloud",
)


class Recipe(BaseModel):
    """The settings of a stage; values that the paper does not give have defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str  # one of VARGPT's, or another name
    objective: Literal["likelihood", "preferences"] = "likelihood"  # preferences: DPO
    trainable: Stage  # the stage whose weights are trained; see model/vargpt/trainable.py
    size: Size  # of the model, a preset of model/vargpt/config.py
    mix: dict[SubsetName, float] = Field(min_length=1)  # shares of the samples, by subset
    published: Published = Published()  # what the paper trained on; for the command `mix` alone
    resolution: Literal[128, 256, 512]  # px; of the codes trained on
    tokens: str = "tokens"  # name of these codes in the corpus
    batch: int = Field(ge=1)  # samples per step, of all processes
    steps: int = Field(ge=1)  # of the optimizer
    lr: float = Field(gt=0)  # at its highest
    schedule: Literal["cosine", "constant"] = "cosine"  # after the warm-up
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)  # of the steps
    weight_decay: float = Field(default=0.0, ge=0)  # of AdamW
    betas: tuple[float, float] = (0.9, 0.999)  # of AdamW
    clip: float = Field(default=1.0, gt=0)  # norm of the gradient
    seed: int = 0  # of initial weights, order and all random numbers

    # Initial weights and tokenizers.
    text_tokenizer: str = "bundled"  # or a folder or repository of a Qwen2-VL tokenizer
    qwen: str | None = None  # folder or repository of a Qwen2-VL
    infinity: str | None = None  # an Infinity-2B for the visual decoder, any fsspec URL
    released: str | None = None  # folder of a released VARGPT-v1.1, any fsspec URL: all weights
    # How the model differs from the released code; see docs/reference/vargpt.md.
    choices: Literal["own", "released"] = "own"
    tokenizer_preset: str = "bundled"  # size of the image tokenizer that made the codes
    tokenizer_checkpoint: str | None = None  # weights of the image tokenizer, any fsspec URL

    # The loss.
    image_weight: float = Field(default=3.0, ge=0)  # the weight of text is 1
    scales: ScaleWeights = "infinity"  # weights of the scales in the image loss
    text_loss: Literal["answers", "published"] = "answers"  # published: prompts and padding too
    without_context: float = Field(default=0.1, ge=0, le=1)  # share of images, for guidance
    self_correction: SelfCorrection | None = None  # None: the best that the shards allow
    # For preferences; see dpo.py.
    beta: float = Field(default=0.1, gt=0)  # of DPO
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)  # of DPO
    sft: float = Field(default=0.0, ge=0)  # weight of the chosen image's own loss in DPO
    max_length: int = Field(default=8192, ge=16)  # tokens; longer samples are bad samples
    max_bad_share: float = Field(default=0.001, ge=0, le=1)  # of the samples read; stops above it

    # Computation.
    precision: Literal["bf16", "fp32"] = "bf16"  # of activations; weights are float32
    micro_batch: int = Field(default=1, ge=1)  # samples per pass
    streams: int = Field(default=0, ge=0)  # parallel orders of samples; 0: one per process
    checkpointing: bool = False  # recompute activations instead of keeping them
    compile: bool = False  # every block, by torch.compile
    workers: int = Field(default=0, ge=0)  # reading processes per training process
    peak_tflops: float | None = Field(default=None, gt=0)  # of a device; None: see speed.py

    # Output during training.
    log_every: int = Field(default=10, ge=1)  # steps
    save_every: int = Field(default=500, ge=1)  # steps
    keep: int = Field(default=2, ge=1)  # checkpoints
    sample_every: int = Field(default=500, ge=0)  # steps; 0 for never
    prompts: tuple[str, ...] = Field(default=PROMPTS, min_length=1)  # of the samples
    remark: str = ""  # after the label of the samples
    guidance: float = Field(default=3.0, ge=0)  # of the samples
    temperature: float = Field(default=0.5, ge=0)  # of the samples

    @field_validator("text_tokenizer", "qwen", "infinity", "released", "tokenizer_checkpoint")
    @classmethod
    def _at_home(cls, path: str | None) -> str | None:
        return os.path.expanduser(path) if path else path

    @model_validator(mode="before")
    @classmethod
    def _as_released(cls, fields: Any) -> Any:
        """Set `choices: released` for released weights."""
        if isinstance(fields, dict) and fields.get("released"):
            return {"choices": "released", **fields}
        return fields

    @model_validator(mode="after")
    def _fits(self) -> "Recipe":
        for subset, share in self.mix.items():
            if not 0 < share < math.inf:
                raise ValueError(f"mix.{subset}: expected a positive share, got {share}")
        silent = [subset for subset in self.mix if not SUBSETS[subset].generated]
        if silent and not trains_language(self.trainable):
            raise ValueError(
                f"mix.{silent[0]}: its samples have no image to generate, and trainable "
                f"{self.trainable} trains only weights that draw images"
            )
        for prompt in self.prompts:
            if IMAGE in prompt or IMAGE_GEN in prompt:
                raise ValueError(f"prompts: {prompt!r} contains an image mark")
        if self.released and (self.qwen or self.infinity or self.choices != "released"):
            raise ValueError(
                f"released {self.released} holds all weights: expected no qwen (got {self.qwen}), "
                f"no infinity (got {self.infinity}) and choices: released (got {self.choices})"
            )
        if self.batch % self.micro_batch:
            raise ValueError(
                f"batch {self.batch}: expected a multiple of micro_batch {self.micro_batch}"
            )
        return self

    @property
    def member(self) -> str:
        """The member of a sample that holds the codes."""
        return f"{self.tokens}{self.resolution}.npy"

    @property
    def mixes_kinds(self) -> bool:
        """Whether some samples lack a generated image or an input image that others have."""
        return len(self.mix) > 1


PASSING: Final = frozenset(
    {"checkpointing", "compile", "workers", "peak_tflops", "log_every", "save_every", "keep"}
    | {"max_bad_share", "published"}
    | {"sample_every", "prompts", "remark", "guidance", "temperature"}
)
"""Keys that may change when a training resumes; the losses do not depend on them."""


DEFAULTS: Final = Recipe.model_construct().model_dump(mode="json", warnings=False)
"""Default values by key."""


def stage_recipe(stage: str, overrides: Iterable[str] = ()) -> Recipe:
    """Read the recipe of a stage that ships with the package.

    Args:
        stage: name of the stage.
        overrides: `key=value` items, values in YAML; `mix.t2i=2` sets a part of a value.

    Raises:
        RecipeError: an unknown stage or key; names the allowed ones. Or a value out of range.
    """
    path = RECIPES / f"{stage}.yaml"
    if stage not in recipe_names():
        raise RecipeError(f"stage {stage!r}: unknown; {suggest(stage, recipe_names())}")
    fields: dict[str, Any] = load_yaml(path.read_text())
    for item in overrides:
        override(fields, item)
    return parse(fields, stage)


def stages() -> list[str]:
    """List VARGPT's stages in their order."""
    return list(get_args(Stage))


def recipe_names() -> list[str]:
    """List the recipes that ship with the package, VARGPT's stages first."""
    others = {path.stem for path in RECIPES.glob("*.yaml")} - set(stages())
    return [*stages(), *sorted(others)]


def parse(fields: dict[str, Any], name: str) -> Recipe:
    """Validate a recipe.

    Raises:
        RecipeError: the recipe has errors; one line per error.
    """
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        lines = (_explain(dict(fault)) for fault in error.errors())
        raise RecipeError("\n".join(f"recipe {name}: {line}" for line in lines)) from error


def _explain(fault: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown key; {suggest(where, Recipe.model_fields)}"
    shown = f"{explained(fault)}{meant(fault)}"
    return f"{where}: {shown}" if where else fault["msg"].removeprefix("Value error, ")


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """List the differences between two dumps of recipes, without keys that may change.

    A key that an older dump lacks counts as its default.
    """
    before = {**DEFAULTS, **before}
    return [
        f"{key}: {before.get(key)!r} in the checkpoint, {after.get(key)!r} here"
        for key in sorted({*before, *after} - PASSING)
        if before.get(key) != after.get(key)
    ]
