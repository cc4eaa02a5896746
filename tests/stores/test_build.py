"""A corpus built straight into a bucket is the one that is built into a folder, byte for byte."""

import shutil
import tarfile
from pathlib import Path

import pytest
from corpus import ROOT, Corpus
from faulty_proxy import FaultyProxy
from object_stores import ObjectStore

from pipelines.build import build
from pipelines.engines.engine import Engine
from pipelines.stage_table import STAGES
from pipelines.verify.job import verify
from schemas.recipe_file import load_recipe
from schemas.store.storage import Storage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the fixtures build three corpora

IMAGES = 6


def test_a_bucket_holds_the_bytes_of_the_local_build(in_bucket: Corpus, built: Corpus):
    bucket, folder = in_bucket.contents(), built.contents()
    assert bucket.keys() == folder.keys()
    assert [name for name in folder if bucket[name] != folder[name]] == []
    assert in_bucket.shard_sha256 == built.shard_sha256


def test_verify_reads_a_bucket(in_bucket: Corpus):
    assert in_bucket.verify() == (0, f"{in_bucket.out}: verified, no fault\n")


def test_verify_says_what_is_wrong_in_a_bucket(in_bucket: Corpus):
    store, name = Storage(str(in_bucket.out)), min(in_bucket.shard_sha256)
    whole = store.read(name)
    store.commit_bytes(name, whole[:5000] + b"\0" + whole[5001:])
    code, printed = in_bucket.verify()
    store.commit_bytes(name, whole)
    assert code == 1
    assert f"{name}: sha256 differs from the manifest" in printed


def test_a_second_build_makes_nothing_again(in_bucket: Corpus):
    store = Storage(str(in_bucket.out))
    folders = ("sources", "raw", "signals", "tokens", "shards")
    before = {folder: store.listing(folder) for folder in folders}
    printed = in_bucket.build()
    assert {folder: store.listing(folder) for folder in folders} == before
    assert printed.count(" 5 fresh") == len(STAGES)


RECIPE = """
name: in-place
sources:
  - {{ name: s, kind: {kind}, path: {path} }}
dedup: {{ phash_distance: null }}
vq_tokens:
  tokenizers: [{{ tokenizer: infinity_bsq, preset: bundled }}]
"""


@pytest.mark.parametrize(("kind", "path"), [("folder", "images"), ("webdataset", "tars/*.tar")])
def test_images_in_a_bucket_are_read_in_place(
    kind: str, path: str, store: ObjectStore, proxy: FaultyProxy, tmp_path: Path
):
    lay_out_images(tmp_path)
    bucket = store.make_bucket(f"{kind}-source")
    fs, root = Storage(bucket).locate("")
    fs.fs.put(f"{tmp_path}/", root, recursive=True)

    def made_from(place: str) -> dict[str, bytes]:
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(RECIPE.format(kind=kind, path=f"{place}/{path}"))
        build(load_recipe(str(recipe)), f"{place}/out", Engine(processes=1))
        assert not [n for n in Storage(f"{place}/out").listing("raw") if n.endswith(".tar")]
        return images_and_tokens(Storage(f"{place}/out"))

    here, there = made_from(str(tmp_path)), made_from(bucket)
    assert len(here) == 2 * IMAGES
    assert there == here
    assert verify(Storage(f"{bucket}/out")) == []
    if kind == "webdataset":
        tar = [seen for seen in proxy.seen if seen.method == "GET" and "images.tar" in seen.path]
        bodies = [seen.status for seen in tar if not seen.path.startswith("/storage/v1/")]
        assert set(bodies) == {206}  # ranges, of a tar that is never fetched whole


def lay_out_images(folder: Path) -> None:
    """Lay the same images and texts out as files, and as a tar."""
    for name in ("images", "tars"):
        (folder / name).mkdir()
    files = sorted((ROOT / "tests/corpus/openclipart/animals").rglob("*.png"))[:IMAGES]
    with tarfile.open(folder / "tars/images.tar", "w") as tar:
        for number, file in enumerate(files):
            image, text = (folder / f"images/{number}{end}" for end in (".png", ".txt"))
            shutil.copy(file, image)
            text.write_text(f"a drawing of {file.stem.replace('_', ' ')}")
            for each in (image, text):
                tar.add(each, each.name)


def images_and_tokens(store: Storage) -> dict[str, bytes]:
    """Return the members of all shards but the records, which name their recipe."""
    found: dict[str, bytes] = {}
    for name in store.listing("shards"):
        if name.endswith(".tar"):
            with store.open(f"shards/{name}") as file, tarfile.open(fileobj=file) as tar:
                found |= {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    return {name: body for name, body in found.items() if not name.endswith(".json")}
