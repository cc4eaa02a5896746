"""Reading of model weights from any file system, with errors that list what does not fit."""

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from schemas.store.errors import UserError
from schemas.store.retries import open_fs

SHOWN: Final = 20
"""Number of keys in an error message."""


class CheckpointError(UserError, ValueError):
    """A checkpoint that cannot be read, or does not fit the model."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Checkpoint:
    """The tensors of one file, on the CPU, with its name and hash."""

    name: str  # last part of the path
    sha256: str  # of the file's bytes, 64 hex digits
    tensors: Mapping[str, Tensor]


@contextmanager
def loading(what: str, place: str) -> Iterator[None]:
    """Turn errors of `transformers` for a folder or name into CheckpointError.

    Raises:
        CheckpointError: loading failed; says what and why.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{what} {place}: {' '.join(str(error).split())}") from error


def read_checkpoint(url: str, sha256: str = "") -> Checkpoint:
    """Read a `.safetensors` file, or a torch `.pth` or `.pt` one without running its pickle.

    The whole file and its tensors are in memory at the same time.

    Args:
        url: a local path or any fsspec URL.
        sha256: expected of the file's bytes; not checked if empty.

    Raises:
        CheckpointError: the file is missing, damaged, has another suffix or another sha256, or is
            no flat dict of tensors.
        StoreError: the store cannot be reached.
    """
    try:
        fs, path = open_fs(url)
        content: bytes = fs.cat_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{url}: no such checkpoint") from error
    found = hashlib.sha256(content).hexdigest()
    if sha256 and found != sha256:
        raise CheckpointError(f"{url}: sha256 is {found}, expected {sha256}")
    name = PurePosixPath(url).name
    return Checkpoint(name=name, sha256=found, tensors=_parse(content, name))


def _parse(content: bytes, name: str) -> dict[str, Tensor]:
    suffix = PurePosixPath(name).suffix
    if suffix == ".safetensors":
        return _parse_safetensors(content, name)
    if suffix in (".pth", ".pt"):
        return _parse_torch(content, name)
    raise CheckpointError(f"{name}: expected .safetensors, .pth or .pt, not {suffix!r}")


def _parse_safetensors(content: bytes, name: str) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(content)
    except SafetensorError as error:
        raise CheckpointError(f"{name}: damaged or truncated: {error}") from error


def _parse_torch(content: bytes, name: str) -> dict[str, Tensor]:
    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles raise nearly every class, struct.error included
        raise CheckpointError(f"{name}: damaged, truncated or unsafe: {error}") from error
    # Infinity's checkpoints have the tokenizer under "vae", and also its moving average.
    if isinstance(loaded, dict) and isinstance(loaded.get("vae"), dict):
        loaded = loaded["vae"]
    if not isinstance(loaded, dict) or not all(isinstance(x, Tensor) for x in loaded.values()):
        raise CheckpointError(f"{name}: expected a flat dict of tensors, or one under 'vae'")
    return loaded


def check_fit(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], name: str) -> None:
    """Check that a checkpoint has exactly the expected keys and shapes, and finite values.

    Raises:
        CheckpointError: keys are missing, unexpected, of another shape or not finite; gives the
            number of each and lists the first.
    """
    common = sorted(tensors.keys() & expected.keys())
    problems = {
        "missing": sorted(expected.keys() - tensors.keys()),
        "unexpected": sorted(tensors.keys() - expected.keys()),
        "of the wrong shape": [
            f"{key} {list(tensors[key].shape)} instead of {list(expected[key].shape)}"
            for key in common
            if tensors[key].shape != expected[key].shape
        ],
        "not finite": [key for key in common if not torch.isfinite(tensors[key]).all()],
    }
    found = [_summary(what, keys) for what, keys in problems.items() if keys]
    if found:
        raise CheckpointError(f"{name} does not fit the model: {'; '.join(found)}")


def _summary(what: str, keys: Iterable[str]) -> str:
    listed = list(keys)
    more = ", ..." if len(listed) > SHOWN else ""
    return f"{len(listed)} {what} ({', '.join(listed[:SHOWN])}{more})"
