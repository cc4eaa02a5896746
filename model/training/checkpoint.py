"""Checkpoints: weights and moments in safetensors, and a page of JSON that says what they are.

    DIR/checkpoints/step-00000500/shard-*.safetensors   one a process
                                  state.json            step, recipe, loaders, sizes of the files

A checkpoint is written beside its place and renamed when it is whole. Any number of processes reads
what any other number wrote.
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
"""Files of a checkpoint that is being written."""
FORMAT: Final = 1
_MEND: Final = "; remove this checkpoint to go on from the one before"
TIED: Final = "backbone.qwen.lm_head.weight"  # the embedding by another name, where it is tied


class TrainingState(BaseModel):
    """Everything of a checkpoint but its tensors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    step: int  # steps done
    seconds: float  # that they took
    recipe: dict[str, Any]
    model: dict[str, Any]  # sizes, codes and marks
    streams: tuple[dict[str, Any], ...]  # state of each stream's loader
    files: dict[str, int] = {}  # name: bytes


def save(
    out: Path,
    state: TrainingState,
    tensors: Mapping[str, Tensor],
    processes: Processes,
    *,
    keep: int,
) -> Path:
    """Write a checkpoint whole or not at all, and remove the oldest past `keep`."""
    path = out / FOLDER / f"step-{state.step:08}"
    partial = path.with_name(f"{path.name}.part")
    if processes.is_first:
        _remove(partial, UNFINISHED)
        partial.mkdir(parents=True)
    processes.wait()
    with _alone_is_fine():
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
            with suppress(OSError):  # of a folder that holds files of others, which stays
                _remove(old, _written(old))
    processes.wait()
    return path


def _written(path: Path) -> list[str]:
    """Name the files of a checkpoint, as its own page does; none if that cannot be read."""
    try:
        state = TrainingState.model_validate_json((path / STATE).read_bytes())
    except (OSError, ValidationError):
        return []
    return [*state.files, STATE]


def _remove(path: Path, names: Iterable[str]) -> None:
    """Remove a checkpoint's files, which are named or match a pattern, and its folder if empty.

    Raises:
        OSError: if anything else lies there.
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
    """Return the checkpoint at a path, or the latest of the training there.

    Raises:
        StateError: there is none.
    """
    if (path / STATE).exists():
        return path
    if found := checkpoints(path):
        return found[-1]
    raise StateError(f"{path}: no checkpoint; expected the DIR of a training, or one of its steps")


def read_state(path: Path) -> TrainingState:
    """Read what a checkpoint says of itself, and check that its files are whole.

    Raises:
        StateError: it is damaged, or of another format.
    """
    try:
        state = TrainingState.model_validate_json((path / STATE).read_bytes())
    except (FileNotFoundError, ValidationError, json.JSONDecodeError) as error:
        raise StateError(f"{path / STATE}: damaged or missing: {error}{_MEND}") from error
    if state.format != FORMAT:
        raise StateError(f"{path}: a checkpoint of format {state.format}, this reads {FORMAT}")
    for name, size in state.files.items():
        file = path / name
        found = file.stat().st_size if file.exists() else None
        if found != size:
            there = "missing" if found is None else f"{found:,} bytes"
            raise StateError(f"{file}: {there}, written were {size:,} bytes{_MEND}")
    return state


def load(path: Path, tensors: Mapping[str, Tensor], processes: Processes) -> None:
    """Fill tensors in place from a checkpoint.

    Raises:
        StateError: names or shapes that the checkpoint does not have; shows both sides.
    """
    reader = HuggingFaceStorageReader(str(path))
    try:
        found = {name: tuple(of.size) for name, of in _metadata(reader).items()}
    except Exception as error:  # safetensors raises a class of its own for damaged files
        raise StateError(f"{path}: damaged: {error}{_MEND}") from error
    for name, tensor in tensors.items():
        if found.get(name) != tuple(tensor.shape):
            raise StateError(
                f"{path}: {name} is {found.get(name, 'missing')} there, "
                f"{tuple(tensor.shape)} in this model"
            )
    with _alone_is_fine():
        state_dict_loader.load(dict(tensors), storage_reader=reader, no_dist=processes.count == 1)


@contextmanager
def _alone_is_fine() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable")
        yield


def _metadata(reader: HuggingFaceStorageReader) -> dict[str, Any]:
    return dict(reader.read_metadata().state_dict_metadata)


def model_tensors(model: Vargpt) -> dict[str, Tensor]:
    """Return a model's weights by name, each once."""
    tied = model.config.backbone.tied
    state = model.state_dict()
    return {name: x for name, x in state.items() if not (tied and name == TIED)}


def facts(config: VargptConfig) -> dict[str, Any]:
    """Return sizes, codes and marks as JSON holds them, all that weights hang on."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    for passing in ("drop_path", "attention"):
        del found["decoder"][passing]
    return found


def differing(there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Say where two models differ, both sides named.

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
    """Return what a checkpoint is known by, 64 hex digits.

    Its page stands for its weights: it has the recipe, the step and the samples they come of.
    """
    return hashlib.sha256((place / STATE).read_bytes()).hexdigest()


def load_weights(path: Path, model: Vargpt, processes: Processes) -> None:
    """Fill a model with the weights of another training's checkpoint.

    Raises:
        StateError: there is none, it is damaged, or of another model; names both sides.
    """
    place = find(path)
    if found := differing(read_state(place).model, facts(model.config)):
        raise StateError(f"{place}: not the model of this training: {'; '.join(found)}")
    load(place, model_tensors(model), processes)
