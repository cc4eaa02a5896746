"""A local file is whole under its name, or not there."""

from pathlib import Path

import pytest

from schemas.store.whole_file import is_temporary, publish, published


def test_a_file_is_replaced_and_nothing_lies_beside_it(tmp_path: Path):
    for body in (b"one", b"two"):
        publish(tmp_path / "a", body)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"two")]


def test_a_writer_that_fails_leaves_the_file_before(tmp_path: Path):
    def write() -> None:
        with published(tmp_path / "a") as partial:
            partial.write_bytes(b"t")
            assert is_temporary(partial.name)
            raise KeyboardInterrupt

    publish(tmp_path / "a", b"one")
    with pytest.raises(KeyboardInterrupt):
        write()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"one")]
