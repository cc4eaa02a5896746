import hashlib
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.runtime.images import BATCH_BYTES, read_samples
from pipelines.runtime.stage import ShardResult
from pipelines.sources.raw_shard import RawShard, wrong_size
from schemas.store.storage import CorpusError, Storage
from schemas.tables import RAW

PNG = b"\x89PNG\r\n\x1a\n"


def shard_of(scratch: Path, bodies: dict[str, bytes]) -> ShardResult:
    raw = RawShard(7, scratch)
    for key, body in bodies.items():
        raw.store(key, body, status=200, content_type="image/png")
    return raw.finish(len(bodies))


@settings(max_examples=40, deadline=None)
@given(
    bodies=st.dictionaries(st.text("abc", min_size=1, max_size=5), st.binary(max_size=900)),
    data=st.data(),
)
def test_the_order_of_arrival_leaves_no_trace(
    bodies: dict[str, bytes], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = dict(data.draw(st.permutations(list(bodies.items()))))
    folders = [tmp_path_factory.mktemp("scratch") for _ in range(2)]
    one, two = (shard_of(f, each) for f, each in zip(folders, (bodies, other), strict=True))
    assert one.table.equals(two.table)
    assert {name: file.read_bytes() for name, file in one.files.items()} == {
        name: file.read_bytes() for name, file in two.files.items()
    }


def test_rows_say_where_the_bytes_lie_in_the_tar(tmp_path: Path) -> None:
    bodies = {"b" * 32: PNG + b"b", "a" * 32: b"\xff\xd8\xff", "c" * 32: b"what?"}
    outcome = shard_of(tmp_path, bodies)
    assert outcome.table.schema.equals(RAW)
    (name,) = outcome.files
    tar = outcome.files[name].read_bytes()
    assert name == f"raw/00007-{hashlib.sha256(tar).hexdigest()[:12]}.tar"
    for row in outcome.table.to_pylist():
        body = tar[row["offset"] : row["offset"] + row["length"]]
        assert body == bodies[row["key"]]
        assert row["sha256"] == hashlib.sha256(body).hexdigest()
        assert (row["file"], row["status"], row["content_type"]) == (name, 200, "image/png")
    with tarfile.open(outcome.files[name]) as opened:
        assert opened.getnames() == ["a" * 32 + ".jpeg", "b" * 32 + ".png", "c" * 32 + ".bin"]


def test_stored_and_referred_rows_stand_together_in_key_order(tmp_path: Path) -> None:
    raw = RawShard(0, tmp_path)
    raw.refer("c", "file:///x.tar", 512, 9, "ab")
    raw.store("b", b"body")
    raw.reject("d", "http_404", "gone")
    raw.reject("e", "opted_out", "noai", dropped=True)
    raw.refer("a", "file:///y.png", 0, 3, "cd")
    outcome = raw.finish(5)
    rows = outcome.table.to_pylist()
    assert [(row["key"], row["file"], row["offset"], row["status"]) for row in rows] == [
        ("a", "file:///y.png", 0, 0),
        ("b", *outcome.files, 512, 0),
        ("c", "file:///x.tar", 512, 0),
    ]
    counts = outcome.counts()
    assert counts.conserved
    assert (counts.kept, counts.dropped, counts.failed) == (3, {"opted_out": 1}, {"http_404": 1})


def test_a_shard_without_stored_bytes_has_no_tar_and_leaves_no_spool(tmp_path: Path) -> None:
    outcome = RawShard(0, tmp_path).finish(0)
    assert not outcome.files
    assert outcome.table.num_rows == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("length", "reason"), [(0, "empty_file"), (1, None), (10, None), (11, "too_large")]
)
def test_only_sizes_from_one_byte_to_the_limit_are_taken(length: int, reason: str | None) -> None:
    why = wrong_size(length, 10, "x.png")
    assert (why[0] if why else None) == reason


def row_of(file: Path, key: str, offset: int, length: int) -> dict:
    body = file.read_bytes()[offset : offset + length]
    digest = hashlib.sha256(body).hexdigest()
    place = {"file": str(file), "offset": offset, "length": length}
    return {"key": key, **place, "sha256": digest, "images": []}


def test_images_are_read_back_in_the_order_given_and_in_bounded_batches(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(range(250)))
    rows = [row_of(tmp_path / "f", str(at), at, 10) for at in (200, 0, 50, 10, 240)]
    batches = list(read_samples(rows, Storage(str(tmp_path)), 2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert [(row["key"], body[0]) for batch in batches for row, [body] in batch] == [
        (row["key"], row["offset"]) for row in rows
    ]


def test_a_batch_holds_no_more_bytes_than_the_bound_unless_one_image_does(tmp_path: Path) -> None:
    with open(tmp_path / "f", "wb") as file:
        file.truncate(BATCH_BYTES + 1)
    large = row_of(tmp_path / "f", "large", 0, BATCH_BYTES + 1)
    small = [row_of(tmp_path / "f", str(n), n, 1) for n in range(2)]
    batches = read_samples([small[0], large, small[1]], Storage(str(tmp_path)), 10)
    assert [[row["key"] for row, _ in batch] for batch in batches] == [["0"], ["large"], ["1"]]


def test_bytes_that_changed_or_went_stop_the_build(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    row, store = row_of(tmp_path / "f", "k", 2, 5), Storage(str(tmp_path))
    (tmp_path / "f").write_bytes(b"0123x56789")
    with pytest.raises(CorpusError, match=r"bytes of k .* are not what was fetched"):
        list(read_samples([row], store, 1))
    (tmp_path / "f").write_bytes(b"0123")
    with pytest.raises(CorpusError, match="ends before byte 7"):
        list(read_samples([row], store, 1))
    (tmp_path / "f").unlink()
    with pytest.raises(CorpusError, match="is gone"):
        list(read_samples([row], store, 1))
