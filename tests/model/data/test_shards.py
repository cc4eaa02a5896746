"""Bytes of members, from local files and from what is not local."""

import shutil
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import webdataset
from fsspec.implementations.memory import MemoryFileSystem

from model.data.manifest import DataError, ShardFile, Source, read_manifest
from model.data.shards import REMOTE_GAP, ShardReader, read_index, read_ranges

MEMBERS = ("json", "tokens256.npy")


def shards_of(corpus: Path | str) -> tuple[ShardFile, ...]:
    return read_manifest(str(corpus)).subsets["t2i"].shards


@pytest.fixture
def copy(square: Path, tmp_path: Path) -> Path:
    """A corpus that a test may change."""
    return Path(shutil.copytree(square, tmp_path / "copy"))


@pytest.fixture
def in_memory(square: Path):
    """The URL of a corpus on a file system that has no local paths."""
    fs = fsspec.filesystem("memory")
    fs.put(str(square), "/corpus", recursive=True)
    yield "memory://corpus"
    fs.rm("/corpus", recursive=True)


def test_every_member_is_what_webdataset_reads(square: Path, in_memory: str) -> None:
    for url in (str(square), in_memory):
        reader = ShardReader(Source(url=url), shards_of(url), MEMBERS, keep=2)
        for number, shard in enumerate(shards_of(url)):
            tar = webdataset.WebDataset(str(square / shard.path), shardshuffle=False)
            expected = [(s["__key__"], {member: s[member] for member in MEMBERS}) for s in tar]
            rows = list(range(shard.samples))
            assert list(reader.read(number, rows)) == expected
            assert list(reader.read(number, rows[::-2])) == expected[::-2]


def test_a_member_that_the_file_ends_in_comes_out_short(copy: Path) -> None:
    shard = shards_of(copy)[0]
    tar = copy / shard.path
    index = read_index(Source(url=str(copy)), shard, MEMBERS)
    cut = int(index.offsets_nm[3, 1]) + 10
    tar.write_bytes(tar.read_bytes()[:cut])
    found = dict(ShardReader(Source(url=str(copy)), [shard], MEMBERS, keep=1).read(0, range(5)))
    sizes = [[len(body) for body in members.values()] for members in found.values()]
    whole = index.lengths_nm.tolist()
    assert sizes == [*whole[:3], [whole[3][0], 10], [0, 0]]


def test_a_missing_shard_is_named(copy: Path, in_memory: str) -> None:
    for url in (str(copy), in_memory):
        fs, path = fsspec.url_to_fs(f"{url}/{shards_of(url)[1].path}")
        fs.rm(path)
        with pytest.raises(DataError, match=r"t2i-000001\.tar: a shard that the manifest lists"):
            list(ShardReader(Source(url=url), shards_of(url), MEMBERS, keep=1).read(1, [0]))


def test_close_ranges_are_read_at_once_and_far_ones_are_not() -> None:
    fs = fsspec.filesystem("memory")
    body = bytes(range(256)) * (3 * REMOTE_GAP // 256)
    fs.pipe_file("/far", body)
    wanted = [(5, 9), (100, 300), (2 * REMOTE_GAP, 2 * REMOTE_GAP + 7), (20, 20)]
    assert read_ranges("memory://far", wanted) == [body[low:high] for low, high in wanted]


class Refusing(MemoryFileSystem):
    """Answers a range past the end with an error, as object stores do."""

    protocol = "refusing"

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("refusing://"))

    def cat_file(self, path, start=None, end=None, **kwargs):
        if end is not None and end > self.size(path):
            raise OSError("416 Range Not Satisfiable")
        return super().cat_file(path, start, end, **kwargs)


def test_a_store_that_refuses_ranges_past_the_end_gives_what_there_is() -> None:
    fsspec.register_implementation("refusing", Refusing, clobber=True)
    fsspec.filesystem("refusing").pipe_file("/short", b"0123456789")
    assert read_ranges("refusing://short", [(2, 4), (8, 14)]) == [b"23", b"89"]
    assert read_ranges("refusing://short", [(20, 24)]) == [b""]


def test_indexes_are_kept_up_to_a_number(copy: Path) -> None:
    reader = ShardReader(Source(url=str(copy)), shards_of(copy), MEMBERS, keep=2)
    for number in (0, 1, 2):
        list(reader.read(number, [0]))
    for path in copy.glob("shards/*.parquet"):
        path.unlink()
    for number in (1, 2):
        assert len(list(reader.read(number, [0]))) == 1
    with pytest.raises(DataError, match=r"t2i-000000\.parquet: the shard's index is missing"):
        list(reader.read(0, [0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.slice(4), "4 samples have json, the manifest counts 5"),
        (
            lambda table: table.filter(pc.field("member") != "tokens256.npy"),
            r"0 samples have tokens256\.npy, the manifest counts 5",
        ),
    ],
)
def test_an_index_that_does_not_fit_the_manifest_is_refused(copy: Path, change, message) -> None:
    path = copy / "shards/t2i-000000.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(DataError, match=message):
        read_index(Source(url=str(copy)), shards_of(copy)[0], MEMBERS)


def test_a_damaged_index_is_refused(copy: Path) -> None:
    (copy / "shards/t2i-000000.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="the shard's index is damaged"):
        read_index(Source(url=str(copy)), shards_of(copy)[0], MEMBERS)
    assert issubclass(pa.ArrowInvalid, ValueError)
