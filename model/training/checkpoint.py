"""Checkpoints: weights and moments in safetensors, and a JSON file that describes them.

    DIR/checkpoints/step-00000500/shard-*.safetensors   one per process
                                  state.json            step, recipe, loaders, sizes of the files

A checkpoint is written under a temporary name and renamed when it is complete. A training with
another number of processes can read it.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)

from model.tokenizer_training.state import StateError
from model.training.parallel import Processes
from model.vargpt.config import VargptConfig
from model.vargpt.vargpt import Vargpt
from schemas.store.whole_file import TEMPORARY_PREFIX, publish

FOLDER: Final = "checkpoints"
STATE: Final = "state.json"
UNFINISHED: Final = ("*.safetensors", f"{STATE}*", "*.metadata", f"{TEMPORARY_PREFIX}*")
"""Files of an unfinished checkpoint."""
FORMAT: Final = 1
_REPAIR: Final = "; remove this checkpoint to resume from the one before"
TIED: Final = "backbone.qwen.lm_head.weight"  # with tied weights, a second name of the embedding


class TrainingState(BaseModel):
    """The content of a checkpoint without its tensors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    step: int  # steps done
    seconds: float  # duration of these steps
    recipe: dict[str, Any]
    model: dict[str, Any]  # sizes, codes and marks
    streams: tuple[dict[str, Any], ...]  # state of each stream's loader
    files: dict[str, int] = {}  # name: size in bytes


def save(
    out: Path,
    state: TrainingState,
    tensors: Mapping[str, Tensor],
    processes: Processes,
    *,
    keep: int,
) -> Path:
    """Write a checkpoint completely or not at all; keep the `keep` newest, remove older ones."""
    path = out / FOLDER / f"step-{state.step:08}"
    partial = path.with_name(f"{path.name}.part")
    if processes.is_first:
        _remove(partial, UNFINISHED)
        partial.mkdir(parents=True)
    processes.wait()
    with _no_warning_without_processes():
        state_dict_saver.save(
            dict(tensors),
            storage_writer=HuggingFaceStorageWriter(str(partial), save_distributed=True),
            no_dist=processes.count == 1,
        )
    processes.wait()
    if processes.is_first:
        files = {each.name: each.stat().st_size for each in sorted(partial.iterdir())}
        whole = state.model_copy(update={"files": files})
        publish(partial / STATE, whole.model_dump_json(indent=1).encode())
        _remove(path, _written(path))
        os.replace(partial, path)
        for old in checkpoints(out)[:-keep]:
            with suppress(OSError):  # a folder that holds other files stays
                _remove(old, _written(old))
    processes.wait()
    return path


def _written(path: Path) -> list[str]:
    """Return the file names that a checkpoint's state lists; none if the state is unreadable."""
    try:
        state = TrainingState.model_validate_json((path / STATE).read_bytes())
    except (OSError, ValidationError):
        return []
    return [*state.files, STATE]


def _remove(path: Path, names: Iterable[str]) -> None:
    """Remove a checkpoint's files, given by names or patterns, and its folder.

    Raises:
        OSError: the folder holds other files.
    """
    if not path.exists():
        return
    for name in names:
        for file in path.glob(name):
            file.unlink()
    path.rmdir()


def checkpoints(out: Path) -> list[Path]:
    """Return the checkpoints of a training, oldest first."""
    return sorted((out / FOLDER).glob("step-" + "[0-9]" * 8))


def find(path: Path) -> Path:
    """Return the checkpoint at a path, or the latest checkpoint of the training there.

    Raises:
        StateError: there is no checkpoint.
    """
    if (path / STATE).exists():
        return path
    if found := checkpoints(path):
        return found[-1]
    raise StateError(f"{path}: no checkpoint; expected the DIR of a training or a checkpoint in it")


def read_state(path: Path) -> TrainingState:
    """Read the state of a checkpoint, and check the sizes of its files.

    Raises:
        StateError: the checkpoint is damaged or has another format.
    """
    try:
        state = TrainingState.model_validate_json((path / STATE).read_bytes())
    except (FileNotFoundError, ValidationError, json.JSONDecodeError) as error:
        raise StateError(f"{path / STATE}: damaged or missing: {error}{_REPAIR}") from error
    if state.format != FORMAT:
        raise StateError(f"{path}: a checkpoint of format {state.format}, expected {FORMAT}")
    for name, size in state.files.items():
        file = path / name
        found = file.stat().st_size if file.exists() else None
        if found != size:
            actual = "missing" if found is None else f"{found:,} bytes"
            raise StateError(f"{file}: {actual}, expected {size:,} bytes{_REPAIR}")
    return state


def load(path: Path, tensors: Mapping[str, Tensor], processes: Processes) -> None:
    """Fill tensors in place from a checkpoint.

    Raises:
        StateError: the checkpoint lacks a name or has another shape; the message shows both sides.
    """
    reader = HuggingFaceStorageReader(str(path))
    try:
        found = {name: tuple(of.size) for name, of in _metadata(reader).items()}
    except Exception as error:  # safetensors raises a class of its own for damaged files
        raise StateError(f"{path}: damaged: {error}{_REPAIR}") from error
    for name, tensor in tensors.items():
        if found.get(name) != tuple(tensor.shape):
            raise StateError(
                f"{path}: {name} is {found.get(name, 'missing')} in the checkpoint, "
                f"{tuple(tensor.shape)} in this model"
            )
    with _no_warning_without_processes():
        state_dict_loader.load(dict(tensors), storage_reader=reader, no_dist=processes.count == 1)


@contextmanager
def _no_warning_without_processes() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable")
        yield


def _metadata(reader: HuggingFaceStorageReader) -> dict[str, Any]:
    return dict(reader.read_metadata().state_dict_metadata)


def model_tensors(model: Vargpt) -> dict[str, Tensor]:
    """Return a model's weights by name, tied weights once."""
    tied = model.config.backbone.tied
    state = model.state_dict()
    return {name: x for name, x in state.items() if not (tied and name == TIED)}


def facts(config: VargptConfig) -> dict[str, Any]:
    """Return the fields that the weights depend on, sizes, codes and marks, as JSON values."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    for independent in ("drop_path", "attention"):
        del found["decoder"][independent]
    return found


def differing(there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = "") -> list[str]:
    """List the differences between two models, with both values.

    >>> differing({"codes": {"tokenizer": "a"}}, {"codes": {"tokenizer": "b"}})
    ["model codes.tokenizer: 'a' in the checkpoint, 'b' here"]
    """
    found: list[str] = []
    for key in sorted({*there, *here}):
        one, other = there.get(key), here.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found += differing(one, other, f"{prefix}{key}.")
        elif one != other:
            found.append(f"model {prefix}{key}: {one!r} in the checkpoint, {other!r} here")
    return found


def identity(place: Path) -> str:
    """Return the identity of a checkpoint, 64 hex digits.

    It is the sha256 of its state, which holds recipe, step and the samples read, not of its
    weights.
    """
    return hashlib.sha256((place / STATE).read_bytes()).hexdigest()


def load_weights(path: Path, model: Vargpt, processes: Processes) -> None:
    """Fill a model with the weights of another training's checkpoint.

    Raises:
        StateError: no checkpoint, a damaged one, or another model; the message shows both sides.
    """
    place = find(path)
    if found := differing(read_state(place).model, facts(model.config)):
        raise StateError(f"{place}: not the model of this training: {'; '.join(found)}")
    load(place, model_tensors(model), processes)
