"""Setup of a training: trainer, model, objective and streams, from a recipe and corpora."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from model.data.loader import Loader
from model.data.manifest import Source
from model.data.plan import LoadPlan
from model.data.text import TextEncoder, with_image_tokens
from model.data.text_tokenizer import bundled_text_tokenizer
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.training import checkpoint
from model.training.dpo import Dpo, DpoConfig
from model.training.loop import Stream, Trainer
from model.training.objective import Likelihood, Objective
from model.training.parallel import Processes
from model.training.recipe import Recipe
from model.training.reference import compute_reference, reference_made_of
from model.training.samples import SampleGrid
from model.training.sources import Corpus, sources_of, tokenizer_of
from model.vargpt.backbone import load_qwen
from model.vargpt.check import check_vocabulary
from model.vargpt.codes import head_of
from model.vargpt.config import PRESETS, VargptConfig, released, with_vocabulary
from model.vargpt.loss import LossConfig
from model.vargpt.released import load_infinity, load_released
from model.vargpt.sampling import Sampling
from model.vargpt.vargpt import Vargpt
from schemas.store.checkpoint import loading
from schemas.store.errors import SettingsError
from schemas.subsets import SUBSETS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

INPUT_IMAGE_PIXELS = 512 * 512  # most pixels of an input image, as in the published code


def make_trainer(
    recipe: Recipe,
    data: Sequence[str],
    out: Path,
    *,
    processes: Processes,
    init: Path | None = None,
) -> Trainer:
    """Load and build all parts of a training.

    Args:
        recipe: of the stage.
        data: corpora to train on, each `URL` or `URL:WEIGHT`.
        out: folder of the training.
        processes: this process and the number of processes.
        init: a training or checkpoint with the initial weights; None for those of the recipe.

    Raises:
        UserError: data, weights, tokenizers or settings do not fit; shows both sides. Or `init`
            has no complete checkpoint, or one of another model.
    """
    sources = sources_of(recipe, [Corpus.open(text) for text in data])
    tokenizer = tokenizer_of(recipe, sources, processes.device)
    words = text_tokenizer(recipe)
    config = model_config(recipe, tokenizer, words)
    text = TextEncoder(words, max_length=recipe.max_length, pad_multiple=config.pad_multiple)
    sampling = Sampling(guidance=recipe.guidance, temperature=recipe.temperature)
    sampler = None
    if tokenizer:
        sampler = SampleGrid(
            tokenizer=tokenizer, text=text, prompts=recipe.prompts, sampling=sampling
        )
    streams = _Streams(recipe, sources, text, tokenizer, config, processes.device)
    model = make_model(recipe, config, words)
    objective = make_objective(recipe, model, streams, out, processes, init)
    trainer = Trainer(
        recipe,
        model,
        objective,
        streams,
        out,
        processes=processes,
        sampler=sampler,
    )
    if init and not checkpoint.checkpoints(out):
        checkpoint.load_weights(init, trainer.model, processes)
    return trainer


def make_objective(
    recipe: Recipe,
    model: Vargpt,
    streams: "_Streams",
    out: Path,
    processes: Processes,
    init: Path | None,
) -> Objective:
    """Return the objective of a recipe; for preferences, compute the reference's values first.

    Args:
        recipe: of the stage.
        model: used to compute the reference's values; has the reference's weights afterwards.
        streams: makes the loader of the pairs.
        out: folder of the training.
        processes: this process and the number of processes.
        init: training whose weights are the reference; None for those that the recipe names.

    Raises:
        SettingsError: preferences without a reference.
        StateError: `init` has no complete checkpoint, or one of another model.
    """
    if recipe.objective == "likelihood":
        config = LossConfig(image=recipe.image_weight, scales=recipe.scales)
        return Likelihood(config, recipe.without_context)
    if init:
        checkpoint.load_weights(init, model, processes)
        identity = checkpoint.identity(checkpoint.find(init))
    elif recipe.released:
        identity = recipe.released
    else:
        raise SettingsError(
            f"stage {recipe.stage} learns from preferences and needs a reference, the model "
            "before this training: name its training, --init DIR"
        )
    model.to(processes.device)
    pairs = streams.open(processes.rank, processes.count, epochs=1)
    made_of = reference_made_of(identity, pairs)
    values = compute_reference(model, pairs, made_of, out, processes, recipe.precision)
    model.requires_grad_(True)
    dpo = DpoConfig(beta=recipe.beta, label_smoothing=recipe.label_smoothing, sft=recipe.sft)
    return Dpo(values, dpo)


def text_tokenizer(recipe: Recipe) -> "PreTrainedTokenizerFast":
    """Load the text tokenizer of a recipe, with VARGPT's tokens added.

    Raises:
        CheckpointError: the tokenizer cannot be loaded.
    """
    if recipe.text_tokenizer == "bundled":
        return bundled_text_tokenizer()
    from transformers import AutoTokenizer

    with loading("text_tokenizer", recipe.text_tokenizer):
        loaded = AutoTokenizer.from_pretrained(recipe.text_tokenizer)
    return with_image_tokens(loaded)


def model_config(
    recipe: Recipe, tokenizer: NetworkTokenizer | None, words: "PreTrainedTokenizerFast"
) -> VargptConfig:
    """Return the model config of a recipe, for its image tokenizer and text tokenizer."""
    config = PRESETS[recipe.size]
    if recipe.choices == "released":
        config = released(config)
    if tokenizer:
        config = replace(config, codes=head_of(tokenizer))
    if recipe.objective == "preferences":  # otherwise the model would differ from its reference
        config = replace(config, decoder=replace(config.decoder, drop_path=0.0))
    return with_vocabulary(config, words.get_vocab())


def make_model(recipe: Recipe, config: VargptConfig, words: "PreTrainedTokenizerFast") -> Vargpt:
    """Build a model, the same in every process, with the published weights of the recipe, if any.

    Raises:
        SettingsError: weights of another size or vocabulary.
        CheckpointError: weights cannot be loaded.
    """
    torch.manual_seed(recipe.seed)
    if recipe.qwen:
        with loading("qwen", recipe.qwen):
            qwen = load_qwen(recipe.qwen, torch.float32)
        model = Vargpt.around(qwen, config)
    else:
        model = Vargpt(config)
    check_vocabulary(model.config, words.get_vocab())
    if recipe.released:
        load_released(model, recipe.released)
    if recipe.infinity:
        load_infinity(model.decoder, recipe.infinity)
    return model


class _Streams:
    """Makes loaders, each for a part of the samples."""

    def __init__(
        self,
        recipe: Recipe,
        sources: tuple[Source, ...],
        text: TextEncoder,
        tokenizer: NetworkTokenizer | None,
        config: VargptConfig,
        device: str,
    ) -> None:
        self._recipe, self._sources, self._device = recipe, sources, device
        self._fixed: dict[str, Any] = {
            "text": text,
            "tokenizer": tokenizer,
            "image_processor": _image_processor(recipe) if _has_input_images(sources) else None,
            "vocabulary": config.backbone.vocab,
        }

    def __call__(self, number: int, count: int, state: Mapping[str, Any] | None) -> Stream:
        return self.open(number, count, state)

    def open(
        self,
        number: int,
        count: int,
        state: Mapping[str, Any] | None = None,
        epochs: int | None = None,
    ) -> Loader:
        """Return the loader of a part; `epochs=None` for no end."""
        recipe = self._recipe
        plan = LoadPlan(
            sources=self._sources,
            batch=recipe.micro_batch,
            member=recipe.member,
            self_correction=recipe.self_correction,
            loss=recipe.text_loss,
            seed=recipe.seed,
            epochs=epochs,
            max_bad_share=recipe.max_bad_share,
            node=number,
            nodes=count,
            workers=recipe.workers,
            device=self._device,
        )
        return Loader(plan, state=state, **self._fixed)


def _has_input_images(sources: Sequence[Source]) -> bool:
    return any(SUBSETS[each.subset].input_image for each in sources)


def _image_processor(recipe: Recipe) -> Any:
    from transformers import Qwen2VLImageProcessorPil

    pixels: dict[str, Any] = {"max_pixels": INPUT_IMAGE_PIXELS}
    if recipe.qwen:
        with loading("qwen", recipe.qwen):
            return Qwen2VLImageProcessorPil.from_pretrained(recipe.qwen, **pixels)
    return Qwen2VLImageProcessorPil(**pixels)
