import hashlib
import pickle
from pathlib import Path

import fsspec
import pytest
import torch
from safetensors.torch import save, save_file
from torch import Tensor

from schemas.store.checkpoint import CheckpointError, check_fit, read_checkpoint

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


class Exploit:
    """A pickle that would run code when it is loaded."""

    def __reduce__(self) -> tuple:
        return (exec, ("raise SystemExit('the pickle ran')",))


@pytest.fixture(params=["safetensors", "pth"])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"weights.{request.param}"
    save_file(TENSORS, path) if request.param == "safetensors" else torch.save(TENSORS, path)
    return path


def test_both_formats_are_read_with_the_hash_of_the_file(saved: Path) -> None:
    checkpoint = read_checkpoint(str(saved))
    assert checkpoint.name == saved.name
    assert checkpoint.sha256 == hashlib.sha256(saved.read_bytes()).hexdigest()
    assert checkpoint.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(checkpoint.tensors[key], TENSORS[key]) for key in TENSORS)


def test_a_checkpoint_is_read_from_any_file_system() -> None:
    fsspec.filesystem("memory").pipe_file("/weights/v1.safetensors", save(TENSORS))
    checkpoint = read_checkpoint("memory://weights/v1.safetensors")
    assert checkpoint.name == "v1.safetensors"
    assert torch.equal(checkpoint.tensors["a.bias"], TENSORS["a.bias"])


def test_a_file_cut_anywhere_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    for length in [0, 1, 7, *range(8, len(whole), 41), len(whole) - 1]:
        saved.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="truncated"):
            read_checkpoint(str(saved))


def test_a_missing_file_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.pth: no such checkpoint"):
        read_checkpoint(str(tmp_path / "gone.pth"))


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"not '\.bin'"):
        read_checkpoint(str(path))


@pytest.mark.parametrize(
    "write", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x, 2))]
)
def test_a_pickle_that_runs_code_is_refused_unrun(write, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    write({"a": Exploit()}, path)
    with pytest.raises(CheckpointError, match="unsafe"):
        read_checkpoint(str(path))


@pytest.mark.parametrize(
    "content", [[torch.ones(1)], {"net": TENSORS}, {"vae": {"step": 3}}, {"step": 3}]
)
def test_what_is_not_a_flat_dict_of_tensors_is_refused(content: object, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="flat dict of tensors"):
        read_checkpoint(str(path))


def test_weights_that_fit_pass() -> None:
    check_fit(TENSORS, {key: tensor.to("meta") for key, tensor in TENSORS.items()}, "w.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a.bias": None}, r"1 missing \(a\.bias\)"),
        ({"b": torch.ones(1)}, r"1 unexpected \(b\)"),
        ({"a.bias": torch.ones(3)}, r"1 of the wrong shape \(a\.bias \[3\] instead of \[2\]\)"),
        ({"a.bias": torch.tensor([0, torch.nan])}, r"1 not finite \(a\.bias\)"),
        ({"a.bias": torch.tensor([0, torch.inf])}, r"1 not finite \(a\.bias\)"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Tensor | None], message: str) -> None:
    changed = {key: x for key, x in {**TENSORS, **change}.items() if x is not None}
    with pytest.raises(CheckpointError, match=rf"^w\.pth does not fit the model: {message}$"):
        check_fit(changed, TENSORS, "w.pth")


def test_many_problems_are_counted_and_the_first_few_named() -> None:
    many = {f"k{i:02}": torch.ones(1) for i in range(21)}
    named = ", ".join(list(many)[:20])
    with pytest.raises(CheckpointError, match=rf"21 missing \({named}, \.\.\.\); 2 unexpected"):
        check_fit(TENSORS, many, "w.pth")
