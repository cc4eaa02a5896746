"""The strict reader takes every tar of our own writer, and no other byte."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.shards.tar_reader import StrictTar
from pipelines.shards.tar_writer import TarWriter
from schemas.store.errors import CorpusError

MEMBERS = st.lists(
    st.tuples(st.from_regex(r"[a-z0-9]{1,90}\.jpg", fullmatch=True), st.binary(max_size=2000)),
    max_size=30,
)


def written(path: Path, members: list[tuple[str, bytes]]) -> bytes:
    with TarWriter(path) as tar:
        for name, data in members:
            tar.add(name, data)
    return path.read_bytes()


def read(data: bytes) -> list[tuple[str, int, bytes]]:
    return [tuple(member) for member in StrictTar(io.BytesIO(data), 1 << 20).members()]


@given(MEMBERS)
def test_what_the_writer_wrote_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, bytes]]
) -> None:
    data = written(tmp_path_factory.getbasetemp() / "some.tar", members)
    tar = StrictTar(io.BytesIO(data), 1 << 20)
    found = list(tar.members())
    assert [(member.name, member.data) for member in found] == members
    for member in found:
        assert data[member.offset : member.offset + len(member.data)] == member.data
    assert (tar.bytes, tar.sha256) == (len(data), hashlib.sha256(data).hexdigest())


@given(st.integers(0, 10239), st.integers(0, 7))
def test_no_bit_beside_the_data_may_differ(
    tmp_path_factory: pytest.TempPathFactory, at: int, bit: int
) -> None:
    data = bytearray(
        written(tmp_path_factory.getbasetemp() / "one.tar", [("a.jpg", b"x" * 700), ("b.jpg", b"")])
    )
    assert len(data) == 10240
    data[at] ^= 1 << bit
    if 512 <= at < 1212:
        assert len(read(bytes(data))) == 2
    else:
        with pytest.raises(CorpusError):
            read(bytes(data))


@pytest.mark.parametrize("change", ["end", "again", "cut", "none", "pax", "gnu"])
def test_other_tars_are_refused(change: str, tmp_path: Path) -> None:
    data = written(tmp_path / "some.tar", [("a.jpg", b"image")])
    other = {"end": data + b"\0", "again": data + data, "cut": data[:-1], "none": b""}.get(change)
    if other is None:
        out = io.BytesIO()
        kind = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT}[change]
        with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
            member = tarfile.TarInfo("a.jpg")
            member.size, member.mtime = 5, 1.5
            tar.addfile(member, io.BytesIO(b"image"))
        other = out.getvalue()
    with pytest.raises(CorpusError):
        read(other)


def test_a_size_that_no_member_has_is_not_allocated(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="not a tar header"):
        list(StrictTar(io.BytesIO(written(tmp_path / "a.tar", [("a", bytes(99))])), 98).members())
