"""Loading of a trained model from a saved model folder or a training's latest checkpoint."""

from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError

from model.training.checkpoint import (
    STATE,
    TrainingState,
    checkpoints,
    find,
    identity,
    load,
    model_tensors,
    read_state,
)
from model.training.parallel import Processes
from model.training.recipe import Recipe, parse
from model.training.start import text_tokenizer
from model.vargpt.config import VargptConfig
from model.vargpt.folder import (
    ImageTokenizer,
    Trained,
    empty_model,
    folder_sha256,
    load_folder,
    read_images,
    save_folder,
)
from schemas.store.checkpoint import CheckpointError

_CONFIG = TypeAdapter(VargptConfig)


def load_trained(url: str, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Trained:
    """Load a model, in evaluation mode.

    Args:
        url: a folder that `save_folder` wrote, a path or any fsspec URL; or, on this machine, the
            DIR of a training or one of its checkpoints.
        device: torch's name of the device.
        dtype: of the weights.

    Raises:
        UserError: `url` is none of these, is damaged, or its files do not fit each other.
    """
    if not _is_training(url):
        return load_folder(url, device=device, dtype=dtype)
    place, state = _read(url)
    model = empty_model(_config(state), device, dtype)
    load(place, model_tensors(model), Processes())
    return Trained(
        model=model.eval(),
        images=_images(state),
        text=text_tokenizer(_recipe(state)),
        sha256=trained_sha256(url),
    )


def trained_images(url: str) -> ImageTokenizer:
    """Return the image tokenizer of a model, without loading its weights.

    Raises:
        UserError: as `load_trained`.
    """
    return _images(_read(url)[1]) if _is_training(url) else read_images(url)


def trained_sha256(url: str) -> str:
    """Return the identity of a model, 64 hex digits.

    It is the hash of config and weights, or the identity of a checkpoint.

    Raises:
        UserError: as `load_trained`.
    """
    if not _is_training(url):
        return folder_sha256(url)
    return identity(_read(url)[0])


def save_trained(url: str, folder: Path) -> None:
    """Write a training's latest weights as a model folder that can be used elsewhere.

    Raises:
        UserError: as `load_trained`.
    """
    trained = load_trained(url)
    save_folder(folder, trained.model, trained.images, trained.text)


def _is_training(url: str) -> bool:
    return "://" not in url and ((Path(url) / STATE).exists() or bool(checkpoints(Path(url))))


def _read(url: str) -> tuple[Path, TrainingState]:
    place = find(Path(url))
    return place, read_state(place)


def _images(state: TrainingState) -> ImageTokenizer:
    recipe, config = _recipe(state), _config(state)
    return ImageTokenizer(
        tokenizer="infinity_bsq" if config.codes.choices == 2 else "var_vqvae",
        preset=recipe.tokenizer_preset,
        checkpoint=recipe.tokenizer_checkpoint,
        resolution=recipe.resolution,
    )


def _recipe(state: TrainingState) -> Recipe:
    return parse(state.recipe, "of the checkpoint")


def _config(state: TrainingState) -> VargptConfig:
    try:
        return _CONFIG.validate_python(state.model)
    except ValidationError as error:
        raise CheckpointError(f"the checkpoint's model: {error}") from error
