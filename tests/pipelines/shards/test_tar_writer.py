import io
import tarfile
from pathlib import Path

import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.shards.tar_writer import TarWriter

NAMES = st.text(st.sampled_from("abc.-_"), min_size=1, max_size=100)


def write(path: Path, members: dict[str, bytes]) -> dict[str, tuple[int, int]]:
    with TarWriter(path) as tar:
        return {name: tar.add(name, body) for name, body in members.items()}


@settings(max_examples=50, deadline=None)
@given(members=st.dictionaries(NAMES, st.binary(max_size=1500), max_size=5))
def test_members_lie_where_the_writer_says(
    members: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    places = write(path, members)
    body = path.read_bytes()
    assert {name: body[at : at + size] for name, (at, size) in places.items()} == members
    with tarfile.open(path) as tar:
        assert {m.name: (m.offset_data, m.size) for m in tar.getmembers()} == places


def test_headers_hold_nothing_of_the_machine_or_the_moment(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", {"k.jpg": b"x"})
    with tarfile.open(tmp_path / "a.tar") as tar:
        (member,) = tar.getmembers()
    assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
    assert (member.uname, member.gname) == ("", "")
    header = (tmp_path / "a.tar").read_bytes()[:512]
    assert header[257:265] == b"ustar\x0000"


def test_the_same_members_make_the_same_bytes(tmp_path: Path) -> None:
    members = {"b.jpg": b"x" * 700, "a.json": b"{}"}
    for name in ("1.tar", "2.tar"):
        write(tmp_path / name, members)
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()


def test_webdataset_reads_the_samples(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", {"k1.jpg": b"one", "k1.json": b"{}", "k2.jpg": b"two"})
    samples = list(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False))
    assert [(sample["__key__"], sample["jpg"]) for sample in samples] == [
        ("k1", b"one"),
        ("k2", b"two"),
    ]


@pytest.mark.parametrize("name", ["a" * 101, "a/b.jpg", "caf\u00e9.jpg"])
def test_a_name_that_ustar_would_change_is_refused(name: str, tmp_path: Path) -> None:
    with TarWriter(tmp_path / "a.tar") as tar, pytest.raises(ValueError, match="member name"):
        tar.add(name, b"")


def test_an_empty_tar_is_a_tar(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", {})
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "a.tar").read_bytes())) as tar:
        assert tar.getnames() == []
