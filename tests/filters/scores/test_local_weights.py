import hashlib
import os
from pathlib import Path

import fsspec
import pytest

from filters.scorer import ScorerError
from filters.scores.local_weights import local_weights

REMOTE = "memory://weights/a.pt"


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder that the system's temporary files are in."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fsspec.filesystem("memory").pipe_file("/weights/a.pt", b"one")
    return tmp_path


def test_a_local_file_is_read_in_place(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"one")
    assert local_weights(str(path), hashlib.sha256(b"one").hexdigest()) == path


def test_a_remote_file_is_copied_once_and_again_when_it_changed() -> None:
    copy = local_weights(REMOTE)
    assert copy.read_bytes() == b"one"
    assert copy.suffix == ".pt"
    written = copy.stat().st_mtime_ns
    assert local_weights(REMOTE) == copy
    assert copy.stat().st_mtime_ns == written
    fsspec.filesystem("memory").pipe_file("/weights/a.pt", b"another")
    assert local_weights(REMOTE).read_bytes() == b"another"


def test_the_folder_of_copies_is_the_user_s_alone(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = local_weights(REMOTE).parent
    assert folder.parent == temporary
    assert folder.stat().st_mode & 0o077 == 0
    other = os.getuid() + 1
    folder.rename(temporary / f"vargpt-corpus-{other}")
    monkeypatch.setattr(os, "getuid", lambda: other)
    with pytest.raises(ScorerError, match="belongs to another user"):
        local_weights(REMOTE)


def test_a_copy_that_is_not_what_the_recipe_says_is_refused() -> None:
    with pytest.raises(ScorerError, match=rf"{REMOTE}: sha256 is"):
        local_weights(REMOTE, "0" * 64)


@pytest.mark.parametrize("url", ["memory://weights/gone.pt", "gone/a.pt"])
def test_a_missing_file_is_named(url: str) -> None:
    with pytest.raises(ScorerError, match=f"{url}: no such file"):
        local_weights(url, "0" * 64)
