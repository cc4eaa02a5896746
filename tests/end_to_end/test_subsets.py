"""One build makes images to generate, edits, conversations and preferences."""

import io
import json
import re
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pair_sources
import pytest
from PIL import Image
from tiny import Tiny, draw_images

from pipelines.report.summary import MOST
from pipelines.verify.job import verify
from schemas.recipe_file import RecipeError
from schemas.store.storage import Storage

Samples = dict[str, dict[str, bytes]]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A corpus of all subsets."""
    tiny = Tiny(folder=tmp_path_factory.mktemp("mixed"))
    draw_images(tiny.folder / "images", range(3))
    tiny.build(tiny.recipe(sources=sources(tiny.folder)))
    return tiny


def sources(folder: Path) -> list[dict[str, Any]]:
    data = folder / "data"
    return [
        {"name": "pics", "kind": "folder", "path": str(folder / "images")},
        pair_sources.instruct_pix2pix(data),
        pair_sources.hq_edit(data),
        pair_sources.seed_multi_turn(data),
        pair_sources.llava(data),
        pair_sources.pick_a_pic(data),
    ]


def samples(tiny: Tiny, subset: str) -> Samples:
    """Read the members of each sample of a subset, by key."""
    found: Samples = {}
    for path in sorted((tiny.out / "shards").glob(f"{subset}-*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, name = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                found.setdefault(key, {})[name] = file.read()
    return found


def texts(tiny: Tiny, subset: str) -> list[dict[str, Any]]:
    return [json.loads(members["json"]) for members in samples(tiny, subset).values()]


def letters(tiny: Tiny) -> Counter[str]:
    manifest = json.loads((tiny.out / "manifest.json").read_text())
    return Counter(
        {
            reason: count
            for line in manifest["funnel"]
            for outcome in ("dropped", "failed")
            for reason, count in line[outcome].items()
        }
    )


def test_every_row_is_a_sample_or_has_a_reason(mixed: Tiny) -> None:
    manifest = json.loads((mixed.out / "manifest.json").read_text())
    made = {name: subset["samples"] for name, subset in manifest["subsets"].items()}
    assert made == {"t2i": 3, "edit": 3 + 4 + 5, "understand": 3, "preference": 2}
    assert letters(mixed) == {
        "same_images": 1,  # of InstructPix2Pix
        "missing_file": 1,  # of SEED
        "no_image": 1,  # LLaVA's text
        "tie": 1,
    }


@pytest.mark.slow
def test_verify_finds_no_fault_and_a_second_build_has_nothing_to_do(mixed: Tiny) -> None:
    assert verify(Storage(str(mixed.out)), deep=True) == []
    before = mixed.files()
    mixed.build(mixed.recipe(sources=_known_sources(mixed)))
    assert mixed.files() == before


def _known_sources(tiny: Tiny) -> list[dict[str, Any]]:
    import yaml

    return yaml.safe_load((tiny.out / "recipe.yaml").read_text())["sources"]


def test_an_edit_has_both_images_and_codes_of_the_edited_one(mixed: Tiny) -> None:
    edits = samples(mixed, "edit")
    assert {tuple(members) for members in edits.values()} == {
        ("source.jpg", "jpg", "json", "tokens128.npy")
    }
    [inverted] = [
        members for members in edits.values() if b"Invert the colours of thing 0" in members["json"]
    ]
    before, after = (
        Image.open(io.BytesIO(inverted[name])).convert("RGB").getpixel((40, 40))
        for name in ("source.jpg", "jpg")
    )
    assert all(abs(a + b - 255) < 24 for a, b in zip(before, after, strict=True))
    told = json.loads(inverted["json"])
    assert json.loads(told["listed"])["original_prompt"] == "a drawing of thing 0"
    assert told["messages"][0]["content"].count("<image>") == 1
    assert "Invert the colours of thing 0" in told["messages"][0]["content"]
    assert told["messages"][1]["content"].endswith("<image_gen>")


def test_an_inverse_edit_is_a_sample_with_the_images_exchanged(mixed: Tiny) -> None:
    by_text = {json.loads(m["json"])["text"]: m for m in samples(mixed, "edit").values()}
    there, back = by_text["Mirror thing 0"], by_text["Mirror thing 0 back"]
    assert there["jpg"] == back["source.jpg"]
    assert there["source.jpg"] == back["jpg"]
    assert json.loads(there["json"])["licence"] == "CC-BY-NC-4.0"


def test_each_of_several_edits_starts_from_the_image_before(mixed: Tiny) -> None:
    by_text = {json.loads(m["json"])["text"]: m for m in samples(mixed, "edit").values()}
    steps = [by_text[f"Do step {turn} with thing 0"] for turn in (1, 2, 3)]
    assert steps[0]["jpg"] == steps[1]["source.jpg"]
    assert steps[1]["jpg"] == steps[2]["source.jpg"]


def test_the_report_shows_pairs_of_images_and_how_varied_the_words_are(mixed: Tiny) -> None:
    page = (mixed.out / "report.html").read_text()
    pairs = page[page.index('<section id="pairs">') : page.index('<section id="failed">')]
    notes = Counter(re.findall(r'<figcaption class="small">([^<]*)<', pairs))
    assert notes == {
        "source": MOST["pair"],
        "edited": MOST["pair"],
        "chosen, score 1": 2,
        "rejected, score 0": 2,
    }
    assert pairs.count("data:image/webp;base64,") == sum(notes.values()) + 3 + 3
    assert "no picture" not in pairs
    rows = re.findall(r'<tr><th scope="row">(\w+)</th><td class="number">(\d+)</td>', pairs)
    assert rows == [("t2i", "3"), ("edit", "12"), ("understand", "3"), ("preference", "2")]


def test_a_conversation_keeps_its_turns_and_has_no_codes(mixed: Tiny) -> None:
    found = samples(mixed, "understand")
    assert {tuple(members) for members in found.values()} == {("jpg", "json")}
    told = texts(mixed, "understand")[0]
    assert [message["role"] for message in told["messages"]] == ["user", "assistant"] * 2
    assert told["messages"][0]["content"] == "<image>\nWhat is this?"


def test_a_preference_has_the_better_image_first_and_codes_of_both(mixed: Tiny) -> None:
    found = samples(mixed, "preference")
    names = ("jpg", "tokens128.npy")
    expected = (
        "chosen.jpg",
        "rejected.jpg",
        "json",
        *(f"{of}.{names[1]}" for of in ("chosen", "rejected")),
    )
    assert {tuple(members) for members in found.values()} == {expected}
    told = [json.loads(members["json"]) for members in found.values()]
    assert {(each["chosen_score"], each["rejected_score"]) for each in told} == {(1.0, 0.0)}
    assert {each["pairs"] for each in told} == {"listed"}


def test_a_licence_that_forbids_commercial_use_needs_a_word_in_the_recipe(tmp_path: Path) -> None:
    tiny = Tiny(folder=tmp_path)
    draw_images(tmp_path / "images", range(1))
    source = pair_sources.hq_edit(tmp_path / "data") | {"allow_non_commercial": False}
    pics = {"name": "pics", "kind": "folder", "path": str(tmp_path / "images")}
    manifest = tiny.build(tiny.recipe(sources=[pics, source]))
    assert manifest["subsets"]["edit"]["samples"] == 0
    assert manifest["funnel"][0]["dropped"] == {"restricted_licence": 4}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"columns": {"input": "a"}}, "columns.input is not of subset t2i"),
        ({"subset": "edit"}, "subset edit needs columns: input"),
        ({"subset": "preference", "columns": {"scores": ["a"]}}, "needs columns: rejected or"),
        ({"subset": "edit", "columns": {"input": "a", "edited": ["b"]}}, "belong together"),
        ({"subset": "edit", "columns": {"input": "a"}, "kind": "webdataset"}, "has one image"),
        ({"subset": "edit", "columns": {"input": "a"}, "kind": "folder"}, "needs a list"),
    ],
)
def test_roles_that_do_not_fit_the_subset_are_refused(
    tmp_path: Path, changes: dict[str, Any], what: str
) -> None:
    source = {"name": "x", "kind": "list", "path": "x.csv", **changes}
    with pytest.raises(RecipeError, match=what):
        Tiny(folder=tmp_path).recipe(sources=[source])
