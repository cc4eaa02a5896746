"""The verifier finds what is put into a sound corpus."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from corpus import Corpus

from pipelines.sidecar import make_origin, read_origin, read_table, write_sidecar
from pipelines.storage import Storage


def flip_a_byte(path: Path, at: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 0x40
    path.write_bytes(data)


def rewrite(path: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> None:
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]
    change(members)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def first_tar(corpus: Corpus) -> Path:
    return corpus.files("shards/*.tar")[0]


def flipped_image(corpus: Corpus) -> str:
    flip_a_byte(first_tar(corpus))
    return "sha256 is not the manifest's"


def flipped_raw(corpus: Corpus) -> str:
    flip_a_byte(corpus.files("raw/*.tar")[0], at=0.3)
    return "are not what was fetched"


def flipped_codes(corpus: Corpus) -> str:
    flip_a_byte(corpus.files("tokens/*.npy")[0])
    return "tokens/00000.tokens256.npy"


def flipped_sidecar(corpus: Corpus) -> str:
    flip_a_byte(corpus.files("signals/*.parquet")[0], at=0.1)
    return "signals/00000.parquet"


def missing_member(corpus: Corpus) -> str:
    rewrite(first_tar(corpus), lambda members: members.pop(1))
    return "expected ['jpg', 'json', 'tokens256.npy']"


def truncated_tar(corpus: Corpus) -> str:
    path = first_tar(corpus)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 100])
    return "bytes, the manifest says"


def duplicated_key(corpus: Corpus) -> str:
    rewrite(first_tar(corpus), lambda members: members.extend(members[:3]))
    return "a second sample of this key"


def missing_shard(corpus: Corpus) -> str:
    first_tar(corpus).unlink()
    return "missing"


def moved_sample(corpus: Corpus) -> str:
    with tarfile.open(corpus.files("shards/*.tar")[1]) as tar:
        stranger = [(member, tar.extractfile(member).read()) for member in tar][:3]
    rewrite(first_tar(corpus), lambda members: members.extend(stranger))
    return "does not belong into this shard"


def wrong_json_type(corpus: Corpus) -> str:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        sample = json.loads(members[1][1])
        sample["signals"]["sharpness"] = 1
        members[1] = (members[1][0], json.dumps(sample).encode())

    rewrite(first_tar(corpus), change)
    return "signal sharpness is 1, expected"


def sidecar_of_another_recipe(corpus: Corpus) -> str:
    store = Storage(str(corpus.out))
    path = "captions/00000.parquet"
    table, origin = read_table(store, path), read_origin(store, path)
    assert origin is not None
    write_sidecar(store, path, table, make_origin("caption", "0" * 32, table, origin.counts))
    return "captions/00000.parquet: made by another recipe"


def lost_row(corpus: Corpus) -> str:
    store = Storage(str(corpus.out))
    path = "captions/00001.parquet"
    table, origin = read_table(store, path).slice(1), read_origin(store, path)
    assert origin is not None
    same = make_origin("caption", origin.fingerprint, table, origin.counts)
    write_sidecar(store, path, table, same)
    return "captions/00001.parquet: 1 rows lost"


def missing_dead_letters(corpus: Corpus) -> str:
    corpus.files("dead_letters/crawl/*.parquet")[0].unlink()
    return "its stage counted"


def missing_sidecar(corpus: Corpus) -> str:
    corpus.files("pairs/*.parquet")[2].unlink()
    return "pairs/00002.parquet: missing"


def another_recipe_beside_it(corpus: Corpus) -> str:
    recipe = corpus.out / "recipe.yaml"
    text = recipe.read_text()
    assert "jpeg_quality: 95" in text
    recipe.write_text(text.replace("jpeg_quality: 95", "jpeg_quality: 94"))
    return "manifest.json: recipe is"


def cut_manifest(corpus: Corpus) -> str:
    (corpus.out / "manifest.json").write_text('{"contract": 1')
    return "manifest or plan is damaged"


def no_manifest(corpus: Corpus) -> str:
    (corpus.out / "manifest.json").unlink()
    return "no finished build lies here"


FAULTS = [
    flipped_image,
    flipped_raw,
    flipped_codes,
    flipped_sidecar,
    missing_member,
    truncated_tar,
    duplicated_key,
    missing_shard,
    moved_sample,
    wrong_json_type,
    sidecar_of_another_recipe,
    lost_row,
    missing_dead_letters,
    missing_sidecar,
    another_recipe_beside_it,
    cut_manifest,
    no_manifest,
]


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda spoil: spoil.__name__)
def test_a_fault_is_found_and_named(spoil: Callable[[Corpus], str], copied: Corpus) -> None:
    expected = spoil(copied)
    faults = copied.faults()
    assert any(expected in fault for fault in faults), faults


def test_the_command_names_the_fault_and_fails(copied: Corpus) -> None:
    missing_shard(copied)
    code, printed = copied.verify()
    assert code == 1
    assert "shards/t2i-000000.tar: missing" in printed


def test_a_repaired_corpus_is_what_it_was(copied: Corpus) -> None:
    before = copied.shard_sha256
    (copied.out / "shards/t2i-000000.tar").unlink()
    (copied.out / "pairs/00001.parquet").unlink()
    copied.rebuild()
    assert copied.shard_sha256 == before
    assert not copied.faults()
    assert pq.read_table(copied.files("shards/*.parquet")[0]).num_rows
