"""Edits that are made of another source's images: exact, there and back, the same on every run."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny import Tiny, draw_images

from pipelines.build import build
from pipelines.engines.engine import Engine
from pipelines.verify.job import verify
from schemas.recipe_file import RecipeError, load_recipe
from schemas.store.storage import Storage

Sample = dict[str, bytes]


def source(folder: Path, **parts: Any) -> dict[str, Any]:
    of = {"name": "pics", "kind": "folder", "path": str(folder / "images")}
    return {"name": "edited", "kind": "edits", "of": of, "types": ["hue", "blur", "flip"], **parts}


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    tiny = Tiny(folder=tmp_path_factory.mktemp("edited"))
    draw_images(tiny.folder / "images", range(5))
    tiny.build(tiny.recipe(sources=[source(tiny.folder)]))
    return tiny


def samples(tiny: Tiny) -> dict[str, Sample]:
    """Read the members of each edit, by the URL of its image."""
    found: dict[str, Sample] = {}
    for path in sorted((tiny.out / "shards").glob("edit-*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, name = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                found.setdefault(key, {})[name] = file.read()
    return {json.loads(members["json"])["url"]: members for members in found.values()}


def told(sample: Sample) -> dict[str, Any]:
    return json.loads(sample["json"])


def test_every_image_has_an_edit_and_its_way_back(edited: Tiny) -> None:
    found = samples(edited)
    assert sorted(found) == sorted(
        f"{n}.png#{end}" for n in range(5) for end in ("edit", "inverse")
    )
    for number in range(5):
        there, back = found[f"{number}.png#edit"], found[f"{number}.png#inverse"]
        assert there["jpg"] == back["source.jpg"]
        assert there["source.jpg"] == back["jpg"]
        assert told(there)["sha256"] == told(back)["source_sha256"]
        assert told(there)["edit_type"] == told(back)["edit_type"]


def test_the_sample_says_what_was_made_and_its_words_ask_for_it(edited: Tiny) -> None:
    for sample in samples(edited).values():
        made = told(sample)
        how = json.loads(made["listed"])
        assert how["edit"] == made["edit_type"]
        assert how["edit"] in ("hue", "blur", "flip")
        assert how["parameters"]
        assert made["caption"]
        assert made["caption"] in made["messages"][0]["content"]
        assert made["text"].startswith("a drawing of thing")


def test_the_source_of_an_edit_is_the_image(edited: Tiny) -> None:
    sample = samples(edited)["0.png#edit"]
    with (
        Image.open(io.BytesIO(sample["source.jpg"])) as image,
        Image.open(edited.folder / "images/0.png") as drawn,
    ):
        assert image.size == drawn.size
        assert (
            max(
                abs(a - b)
                for a, b in zip(image.getpixel((9, 9)), drawn.getpixel((9, 9)), strict=True)
            )
            < 16
        )


@pytest.mark.slow
def test_verify_makes_the_edits_again(edited: Tiny) -> None:
    assert verify(Storage(str(edited.out)), deep=True) == []


@pytest.mark.slow
def test_another_run_with_more_processes_gives_the_same_bytes(edited: Tiny) -> None:
    recipe = edited.recipe(sources=[source(edited.folder)])
    other = edited.folder / "again"
    build(recipe, str(other), Engine(processes=2))
    tars = sorted((edited.out / "shards").glob("*.tar"))
    assert tars
    for tar in tars:
        assert tar.read_bytes() == (other / "shards" / tar.name).read_bytes()


def test_a_share_of_the_images_is_edited_and_the_others_are_counted(tmp_path: Path) -> None:
    tiny = Tiny(folder=tmp_path)
    draw_images(tmp_path / "images", range(8))
    manifest = tiny.build(tiny.recipe(sources=[source(tmp_path, share=0.5, inverse=False)]))
    made = manifest["subsets"]["edit"]["samples"]
    assert 0 < made < 8
    assert manifest["passed_over"] == {"edited": {"image not drawn": 8 - made}}


def test_an_image_that_no_type_fits_is_dropped_with_the_reason(tmp_path: Path) -> None:
    tiny = Tiny(folder=tmp_path)
    draw_images(tmp_path / "images", range(2))
    Image.new("RGB", (80, 80), (120, 120, 120)).save(tmp_path / "images/grey.png")
    manifest = tiny.build(tiny.recipe(sources=[source(tmp_path, types=["hue"])]))
    crawl = next(line for line in manifest["funnel"] if line["stage"] == "crawl")
    assert crawl["dropped"] == {"edit_not_fitting": 2}


def test_paths_of_the_other_source_start_at_the_recipe(tmp_path: Path) -> None:
    file = Tiny(folder=tmp_path).write_recipe(
        sources=[source(tmp_path, of={"name": "a", "kind": "folder", "path": "images"})]
    )
    [resolved] = load_recipe(file).sources
    assert resolved.path == str(tmp_path / "images")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"subset": "t2i"}, "edits are of subset edit"),
        ({"of": {"name": "a", "kind": "list", "path": "a.csv"}}, "of"),
        (
            {"of": {"name": "a", "kind": "huggingface", "path": "a", "image": ""}},
            "images that are crawled cannot be edited",
        ),
    ],
)
def test_a_source_that_edits_cannot_be_made_of_is_refused(
    tmp_path: Path, changes: dict[str, Any], what: str
) -> None:
    with pytest.raises(RecipeError, match=what):
        Tiny(folder=tmp_path).recipe(sources=[source(tmp_path, **changes)])


def test_an_unknown_type_is_named_with_those_there_are(tmp_path: Path) -> None:
    tiny = Tiny(folder=tmp_path)
    draw_images(tmp_path / "images", range(1))
    with pytest.raises(RecipeError, match="types: hu: unknown edit; did you mean hue"):
        tiny.build(tiny.recipe(sources=[source(tmp_path, types=["hu"])]))
