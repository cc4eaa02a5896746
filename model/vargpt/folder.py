"""A trained model as a folder: config, weights and text tokenizer.

config.json          sizes and choices, and the image tokenizer's name and checkpoint
model.safetensors    weights
text_tokenizer/      for `AutoTokenizer.from_pretrained`
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from fsspec.implementations.local import LocalFileSystem
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model

from filters.compute import Compute
from model.tokenizers.load import load_tokenizer
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.vargpt.check import check_vocabulary
from model.vargpt.config import VargptConfig
from model.vargpt.vargpt import Vargpt
from schemas.store.checkpoint import CheckpointError, loading
from schemas.store.retries import open_fs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
TEXT: Final = "text_tokenizer"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageTokenizer:
    """The image tokenizer of a model's codes, and where to load it from."""

    tokenizer: str  # infinity_bsq or var_vqvae
    preset: str
    checkpoint: str | None = None  # URL; None for the bundled or for random weights
    seed: int = 0  # of random weights
    resolution: int = 256  # px, side of the square image with the pixel budget

    def load(self, aspect: float = 1.0, compute: Compute | None = None) -> NetworkTokenizer:
        """Load the tokenizer for images of an aspect (height / width).

        Raises:
            SettingsError: the tokenizer is unknown, or has no schedule for the aspect.
            CheckpointError: the weights cannot be read or do not fit.
        """
        return load_tokenizer(
            self.tokenizer,
            preset=self.preset,
            checkpoint=self.checkpoint,
            seed=self.seed,
            resolution=self.resolution,
            aspect=aspect,
            compute=compute,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trained:
    """A loaded model with its tokenizers."""

    model: Vargpt  # in evaluation mode
    images: ImageTokenizer
    text: "PreTrainedTokenizerFast"
    sha256: str  # of config and weights, 64 hex digits


def save_folder(
    folder: Path, model: Vargpt, images: ImageTokenizer, text: "PreTrainedTokenizerFast"
) -> None:
    """Write a model folder, the weights last.

    Raises:
        SettingsError: the text tokenizer is not the model's.
    """
    check_vocabulary(model.config, text.get_vocab())
    folder.mkdir(parents=True, exist_ok=True)
    text.save_pretrained(folder / TEXT)
    described = {"model": _CONFIG.dump_python(model.config), "images": asdict(images)}
    (folder / CONFIG).write_text(json.dumps(described, indent=2) + "\n")
    save_model(model, str(folder / WEIGHTS))


def load_folder(url: str, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Trained:
    """Load a model folder.

    Args:
        url: a path or any fsspec URL; a remote folder is copied first.
        device: torch's name of the device.
        dtype: of the weights.

    Raises:
        CheckpointError: a file is missing or damaged, or weights and config do not fit.
        StoreError: the store cannot be reached.
    """
    from transformers import AutoTokenizer

    config, images = _parsed(_config_of(url), url)
    with _local(url) as folder:
        model = empty_model(config, device, dtype)
        try:
            load_model(model, str(folder / WEIGHTS), device=device)
        except (FileNotFoundError, SafetensorError, RuntimeError) as error:
            raise CheckpointError(f"{url}/{WEIGHTS}: {error}") from error
        with loading("the text tokenizer of", url):
            text = AutoTokenizer.from_pretrained(folder / TEXT)
        sha256 = folder_sha256(str(folder))
    check_vocabulary(config, text.get_vocab())
    return Trained(model=model.eval(), images=images, text=text, sha256=sha256)


def read_images(url: str) -> ImageTokenizer:
    """Read the image tokenizer of a model folder, without its weights.

    Raises:
        CheckpointError: the config is missing or damaged.
    """
    return _parsed(_config_of(url), url)[1]


def folder_sha256(url: str) -> str:
    """Hash config and weights, which decide a model's output; 64 hex digits.

    Raises:
        CheckpointError: config or weights are missing.
    """
    fs, path = open_fs(url)
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        try:
            with fs.open(f"{path}/{name}", "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except FileNotFoundError as error:
            raise CheckpointError(f"{url}: no {name}; expected the folder of a model") from error
    return digest.hexdigest()


def empty_model(config: VargptConfig, device: str, dtype: torch.dtype) -> Vargpt:
    """Build a model with weights to be overwritten."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return Vargpt(config)
    finally:
        torch.set_default_dtype(before)


def _config_of(url: str) -> bytes:
    fs, path = open_fs(url)
    try:
        return fs.cat_file(f"{path}/{CONFIG}")
    except FileNotFoundError as error:
        raise CheckpointError(f"{url}: no {CONFIG}; expected the folder of a model") from error


def _parsed(config: bytes, url: str) -> tuple[VargptConfig, ImageTokenizer]:
    try:
        data: Any = json.loads(config)
        return _CONFIG.validate_python(data["model"]), _IMAGES.validate_python(data["images"])
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{url}/{CONFIG}: {error}") from error


@contextmanager
def _local(url: str) -> Iterator[Path]:
    """Yield the folder as a local path; a remote folder is copied for the time of the block."""
    fs, path = open_fs(url)
    if isinstance(fs, LocalFileSystem):
        yield Path(path)
        return
    folder = path.rstrip("/")
    with tempfile.TemporaryDirectory() as name:
        for file in fs.find(folder):
            local = Path(name, file.removeprefix(folder).lstrip("/"))
            local.parent.mkdir(parents=True, exist_ok=True)
            fs.get_file(file, str(local))
        yield Path(name)


_CONFIG = TypeAdapter(VargptConfig)
_IMAGES = TypeAdapter(ImageTokenizer)
