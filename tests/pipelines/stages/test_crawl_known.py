"""Known images are dropped by crawl from every kind of source, and their bytes never stored."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serve import CorpusServer

from filters.pdq import pdq
from pipelines.runtime.sidecar import dead_letters_path, read_table, sidecar_path
from pipelines.runtime.stage import run_shard
from pipelines.sources.known_images import pinned_lists
from pipelines.sources.plan import make_plan
from pipelines.stages.crawl import Crawl
from pipelines.stages.ingest import Ingest
from schemas.list_config import KnownHashes
from schemas.recipe import Recipe
from schemas.recipe_file import RecipeError, parse_recipe
from schemas.store.storage import Storage

Picture = Callable[..., bytes]


def recipe_of(source: dict[str, Any], *lists: dict[str, Any] | str) -> Recipe:
    crawl = {"allow_private_addresses": True, "known_hashes": lists}
    recipe = parse_recipe({"name": "r", "sources": [{"name": "s", **source}], "crawl": crawl})
    known = pinned_lists(recipe.crawl)
    return recipe.model_copy(
        update={"crawl": recipe.crawl.model_copy(update={"known_hashes": known})}
    )


def crawled(recipe: Recipe, store: Storage) -> dict[str, str]:
    """Crawl a source of one shard; return {key: reason} of the dead letters."""
    make_plan(recipe, store)
    run_shard(Ingest(sources=recipe.sources, crawl=recipe.crawl), 0, store)
    run_shard(Crawl.from_recipe(recipe, "sources"), 0, store)
    path = dead_letters_path("crawl", 0)
    letters = read_table(store, path).to_pylist() if store.exists(path) else []
    assert all(letter["outcome"] == "dropped" for letter in letters)
    return {letter["id"]: letter["reason"] for letter in letters}


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def store(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "out"))


def hash_list(path: Path, *bodies: bytes, algorithm: str = "sha256") -> str:
    lines = [hashlib.new(algorithm, body).hexdigest() for body in bodies]
    path.write_text("\n".join(lines))
    return str(path)


def detailed() -> bytes:
    """Draw an image whose hash stays when it is shrunk."""
    x = np.linspace(0, 9, 320)[None, :, None] * np.linspace(0, 5, 240)[:, None, None]
    file = io.BytesIO()
    Image.fromarray(np.uint8(127 + 120 * np.sin(x + np.array([0.0, 0.3, 0.9])))).save(file, "PNG")
    return file.getvalue()


def smaller(body: bytes) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(body)).resize((160, 120)).save(file, "JPEG", quality=90)
    return file.getvalue()


def pdq_list(path: Path, body: bytes) -> dict[str, Any]:
    path.write_text(pdq(Image.open(io.BytesIO(body)).convert("RGB")))
    return {"path": str(path), "kind": "pdq"}


def source_of(kind: str, folder: Path, bodies: list[bytes]) -> dict[str, Any]:
    """Lay out a folder, a tar or a packed tar with images."""
    folder.mkdir()
    if kind == "folder":
        for number, body in enumerate(bodies):
            (folder / f"{number}.png").write_bytes(body)
        return {"kind": "folder", "path": str(folder), "columns": {"text": ""}}
    path = folder / ("images.tar.gz" if kind == "packed" else "images.tar")
    with tarfile.open(path, "w:gz" if kind == "packed" else "w") as tar:
        for number, body in enumerate(bodies):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return {"kind": "webdataset", "path": str(path), "columns": {"text": ""}}


@pytest.mark.parametrize("kind", ["folder", "tar", "packed"])
def test_files_and_pictures_on_a_list_are_dropped(
    kind: str, store: Storage, picture: Picture, tmp_path: Path
):
    bodies = [picture(number) for number in range(4)]
    bodies[2] = detailed()
    bodies.append(smaller(bodies[2]))
    lists = [hash_list(tmp_path / "illegal.txt", bodies[0], algorithm="md5")]
    recipe = recipe_of(
        source_of(kind, tmp_path / "in", bodies), *lists, pdq_list(tmp_path / "looks", bodies[2])
    )
    reasons = crawled(recipe, store)
    assert sorted(reasons.values()) == [
        "known_hash:illegal",
        "known_hash:looks",
        "known_hash:looks",
    ]
    rows = read_table(store, sidecar_path("raw", 0)).to_pylist()
    kept = {hashlib.sha256(body).hexdigest() for body in (bodies[1], bodies[3])}
    assert {row["sha256"] for row in rows} == kept
    stored = everything(tmp_path / "out")
    assert not any(body in stored for body in (bodies[0], bodies[2], bodies[4]))
    assert (bodies[1] in stored) == (kind == "packed")


def test_a_fetched_image_is_dropped_and_a_new_list_fetches_nothing_again(
    server: CorpusServer, store: Storage, tmp_path: Path
):
    urls = ["wild/icon.png", "wild/grey16.png", "wild/cmyk.jpg"]
    (tmp_path / "l.csv").write_text("\n".join(["url", *urls]))
    source = {"kind": "list", "path": str(tmp_path / "l.csv"), "base_url": server.base_url}
    source |= {"columns": {"text": ""}}
    icon, grey, _ = ((Path("tests/corpus") / url).read_bytes() for url in urls)
    first = recipe_of(source, hash_list(tmp_path / "one.txt", icon))
    assert list(crawled(first, store).values()) == ["known_hash:one"]
    assert icon not in everything(tmp_path / "out")
    assert grey in everything(tmp_path / "out")
    before = dict(server.hits)
    second = recipe_of(source, hash_list(tmp_path / "one.txt", icon, grey))
    assert list(crawled(second, store).values()) == ["known_hash:one"] * 2
    assert grey not in everything(tmp_path / "out")
    assert read_table(store, sidecar_path("raw", 0)).num_rows == 1
    # What an earlier list kept from being stored is fetched again, and nothing else.
    assert {path for path, hits in server.hits.items() if hits != before.get(path)} == {
        next(path for path in server.hits if path.endswith("icon.png"))
    }
    assert crawled(recipe_of(source), store) == {}
    assert read_table(store, sidecar_path("raw", 0)).num_rows == 3


def test_a_list_changes_no_fingerprint_of_a_crawl_without_one(store: Storage, picture, tmp_path):
    source = source_of("folder", tmp_path / "in", [picture(0)])
    recipe = recipe_of(source)
    crawled(recipe, store)
    plain = Crawl.from_recipe(recipe, "sources")
    listed = Crawl.from_recipe(recipe_of(source, hash_list(tmp_path / "a", b"x")), "sources")
    assert listed.settings(0, store)[:3] == plain.settings(0, store)
    assert not plain.is_isolated


def test_lists_of_one_name_are_refused(tmp_path: Path):
    lists = tuple(KnownHashes(path=f"{place}/csam.txt") for place in "ab")
    for place in "ab":
        (tmp_path / place).mkdir()
        hash_list(tmp_path / place / "csam.txt", b"x")
    lists = tuple(KnownHashes(path=str(tmp_path / place / "csam.txt")) for place in "ab")
    config = recipe_of({"kind": "folder", "path": "x"}).crawl
    with pytest.raises(RecipeError, match="more than one list is named csam"):
        pinned_lists(config.model_copy(update={"known_hashes": lists}))
