"""Captions by engines: what is asked once is never asked again, and a refusal goes on."""

import json
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import simple_captioners
import tiny_captioners
from tiny import Tiny, draw_images

from filters.captioner import Asked, EngineError, Unanswered
from filters.captions.custom import CustomCaptioner
from pipelines.captions.cosines import Cosines, clip_of
from pipelines.verify.job import verify
from schemas.score_config import ClipModel
from schemas.store.storage import CorpusError, Storage

IMAGES = 6
CLIP = ClipModel(model="bundled")


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    tiny = Tiny(folder=tmp_path)
    draw_images(tmp_path / "images", range(IMAGES))
    simple_captioners.SEEN.clear()
    return tiny


def engine(name: str) -> dict[str, Any]:
    return {"engine": "custom", "name": name, "callable": f"simple_captioners:{name}"}


def captions(tiny: Tiny) -> dict[str, dict[str, Any]]:
    """Map each key to its row."""
    paths = sorted((tiny.out / "captions").glob("0*.parquet"))
    return {row["key"]: row for path in paths for row in pq.read_table(path).to_pylist()}


def samples(tiny: Tiny) -> list[dict[str, Any]]:
    """Read the JSON of every sample."""
    found: list[dict[str, Any]] = []
    for path in sorted((tiny.out / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            for name in tar.getnames():
                if name.endswith(".json"):
                    file = tar.extractfile(name)
                    assert file is not None
                    found.append(json.loads(file.read()))
    return found


def test_an_engine_writes_captions_and_is_asked_once(tiny: Tiny) -> None:
    caption = {
        "styles": [{"style": "sentence"}],
        "engines": [engine("colours")],
        "gates": {"languages": ["en"]},
    }
    recipe = tiny.recipe(caption=caption)
    tiny.build(recipe)
    assert f"<p>By language: en ({IMAGES}).</p>" in (tiny.out / "report.html").read_text()
    rows = captions(tiny)
    assert len(rows) == len(simple_captioners.SEEN) == IMAGES
    for row in rows.values():
        assert row["caption"].startswith("Waves around the colour")
        assert (row["caption_origin"], row["caption_style"]) == ("colours", "sentence")
        assert row["written"][0]["text"].startswith("The image shows waves")
    assert not verify(Storage(str(tiny.out)), deep=True)
    files = tiny.files()
    for path in (tiny.out / "captions").iterdir():
        path.unlink()
    tiny.build(recipe)
    assert len(simple_captioners.SEEN) == IMAGES  # answered from answers/
    assert tiny.files() == files
    other = {**caption, "styles": [{"style": "sentence"}, {"style": "source"}]}
    tiny.build(tiny.recipe(caption=other))
    styles = {row["caption_style"] for row in captions(tiny).values()}
    assert styles == {"sentence", "source"}
    tiny.build(tiny.recipe(caption={**other, "per_row": 2, "all": True}))
    for sample in samples(tiny):
        first, second = sample["captions"]
        assert {first["style"], second["style"]} == styles
        chosen = {name: sample[name] for name in ("caption", "caption_origin", "caption_style")}
        said = (first["caption"], first["origin"], first["style"])
        assert tuple(chosen.values()) == said
    assert not verify(Storage(str(tiny.out)))
    assert len(simple_captioners.SEEN) == IMAGES


def test_a_refusal_goes_to_the_next_engine_style_and_to_the_source(tiny: Tiny) -> None:
    style = {"style": "sentence"}
    engines = [engine("refusals"), engine("colours")]
    tiny.build(tiny.recipe(caption={"styles": [style], "engines": engines}), until="caption")
    for row in captions(tiny).values():
        assert [each["reason"] for each in row["written"]] == ["refusal", ""]
        assert row["caption_origin"] == "colours"
    refused = {"styles": [style], "engines": [engine("refusals")]}
    tiny.build(tiny.recipe(caption=refused), until="caption")
    assert {row["caption_origin"] for row in captions(tiny).values()} == {"text"}
    tiny.build(tiny.recipe(caption=refused))
    page = (tiny.out / "report.html").read_text()
    assert f'<th scope="row"><code>refusal</code></th><td class="number">{IMAGES}</td>' in page
    assert "I&#39;m sorry, but I cannot help with that." in page
    assert not verify(Storage(str(tiny.out)))
    tiny.build(tiny.recipe(caption={**refused, "otherwise": "drop"}), until="caption")
    paths = (tiny.out / "dead_letters/caption").iterdir()
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    assert {(row["reason"], row["outcome"]) for row in rows} == {("not_captioned", "dropped")}
    assert len(rows) == IMAGES
    assert "refusals in style sentence: refusal" in rows[0]["detail"]


def test_an_engine_that_cannot_answer_ends_the_build_and_pays_for_nothing_twice(
    tiny: Tiny,
) -> None:
    caption = {"styles": [{"style": "sentence"}], "engines": [engine("wrong")]}
    with pytest.raises((EngineError, CorpusError), match="expected 2 texts"):
        tiny.build(tiny.recipe(caption=caption))
    with pytest.raises((EngineError, CorpusError), match="returned NoneType, expected 2 texts"):
        tiny.build(tiny.recipe(caption={**caption, "engines": [engine("nothing")]}))
    with pytest.raises((EngineError, CorpusError), match="simple_captioners:leaves: SystemExit"):
        tiny.build(tiny.recipe(caption={**caption, "engines": [engine("leaves")]}))
    missing = "caption engine simple_captioners:nobody: AttributeError"
    with pytest.raises((EngineError, CorpusError), match=missing):
        tiny.build(tiny.recipe(caption={**caption, "engines": [engine("nobody")]}))


def test_a_generated_caption_and_the_source_s_words_become_one(tiny: Tiny) -> None:
    caption = {
        "styles": [{"style": "sentence"}],
        "engines": [engine("colours"), engine("fuses")],
        "fuse": {"engine": "fuses"},
        "all": True,
    }
    tiny.build(tiny.recipe(caption=caption))
    for sample in samples(tiny):
        first, second = sample["captions"]
        assert (first["style"], second["style"]) == ("fused", "sentence")
        assert sample["caption_origin"] == "fuses"
        assert sample["caption"] == f"{sample['text']} and {second['caption']}"
    assert len(simple_captioners.SEEN) == 2 * IMAGES
    assert not verify(Storage(str(tiny.out)))
    refused = {**caption, "fuse": {"engine": "fuses", "min_tokens": 500, "max_tokens": 900}}
    tiny.build(tiny.recipe(caption=refused), until="caption")
    assert {row["caption_style"] for row in captions(tiny).values()} == {"sentence"}
    assert {row["written"][1]["reason"] for row in captions(tiny).values()} == {"too_short"}


def test_rows_of_one_image_share_an_answer(tiny: Tiny) -> None:
    shutil.copy(tiny.folder / "images/0.png", tiny.folder / "images/copy.png")
    (tiny.folder / "images/copy.txt").write_text("another text for the same picture")
    dedup = {"phash_distance": None, "same_bytes": False}
    caption = {"styles": [{"style": "sentence"}], "engines": [engine("colours")]}
    recipe = tiny.recipe(caption=caption, dedup=dedup, rows_per_shard=IMAGES + 1)
    tiny.build(recipe, until="caption")
    assert len(captions(tiny)) == IMAGES + 1
    assert len(simple_captioners.SEEN) == IMAGES


@pytest.mark.slow
def test_the_caption_that_agrees_best_is_chosen_and_a_rule_may_ask_for_agreement(
    tiny: Tiny,
) -> None:
    clip = {"score": "clip", "clip": {"model": "bundled"}, "embedding": True}
    caption = {
        "styles": [{"style": "sentence"}, {"style": "source"}],
        "engines": [engine("colours")],
        "per_row": 2,
        "choose": "best",
    }
    parts = {"score": {"scorers": [clip]}, "caption": caption}
    tiny.build(tiny.recipe(**parts))
    shards = [path.stem for path in sorted((tiny.out / "captions").glob("0*.parquet"))]
    for shard in shards:
        recipe = tiny.recipe(**parts)
        cosines = Cosines(store=Storage(str(tiny.out)), shard=int(shard), scorer="clip", clip=CLIP)
        for row in pq.read_table(tiny.out / f"captions/{shard}.parquet").to_pylist():
            found = {each["caption"]: cosines(row, each["caption"]) for each in row["written"]}
            assert len(found) == 2
            assert row["caption"] == max(found, key=lambda caption: found[caption] or -2)
        assert clip_of(recipe, "clip") == CLIP
    assert not verify(Storage(str(tiny.out)))
    gates = {**caption, "gates": {"min_clip": 0.99}}
    tiny.build(tiny.recipe(**{**parts, "caption": gates}), until="caption")
    assert {row["caption_style"] for row in captions(tiny).values()} == {"source"}


def test_questions_are_flags_and_a_forbidden_one_drops(tiny: Tiny) -> None:
    questions = [{"name": name, "question": f"Is it a {name}?"} for name in ("collage", "frame")]
    caption = {
        "styles": [{"style": "sentence"}],
        "engines": [engine("flagged")],
        "questions": questions,
    }
    tiny.build(tiny.recipe(caption=caption), until="caption")
    flags = {
        key: {flag["name"]: flag["value"] for flag in row["flags"]}
        for key, row in captions(tiny).items()
    }
    collages = {key for key, said in flags.items() if said["collage"]}
    assert len(flags) == IMAGES
    assert 0 < len(collages) < IMAGES
    assert not any(said["frame"] for said in flags.values())
    manifest = tiny.build(tiny.recipe(caption={**caption, "forbid": ["collage"]}))
    assert captions(tiny).keys() == flags.keys() - collages
    # Those for rows that were dropped, too.
    [line] = manifest["answers"]
    assert (line["engine"], line["answers"]) == ("flagged", 2 * IMAGES)
    assert len(simple_captioners.SEEN) == 2 * IMAGES
    assert not verify(Storage(str(tiny.out)))


def test_a_row_that_was_not_answered_is_tried_again_when_asked(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    caption = {"styles": [{"style": "sentence"}], "engines": [engine("colours")]}
    answers = CustomCaptioner.answers

    def first_lost(self: CustomCaptioner, requests: Iterable[Asked]) -> Iterator[Any]:
        lost, *others = requests
        yield Unanswered(digest=lost.digest, detail="timed out 6 times")
        yield from answers(self, others)

    monkeypatch.setattr(CustomCaptioner, "answers", first_lost)
    recipe = tiny.recipe(caption=caption, rows_per_shard=IMAGES, max_failed_fraction={"caption": 1})
    tiny.build(recipe, until="caption")
    assert len(captions(tiny)) == IMAGES - 1
    monkeypatch.undo()
    tiny.build(recipe, until="caption")
    assert len(captions(tiny)) == IMAGES - 1
    tiny.build(recipe, until="caption", retry_failed=("caption",))
    assert len(captions(tiny)) == IMAGES
    assert len(simple_captioners.SEEN) == IMAGES


def test_an_engine_with_nothing_to_answer_is_not_asked_at_all(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    caption = {"styles": [{"style": "sentence"}], "engines": [engine("colours")]}
    tiny.build(tiny.recipe(caption=caption), until="caption")
    for path in (tiny.out / "captions").iterdir():
        path.unlink()

    def asked(self: CustomCaptioner, requests: Iterable[Asked]) -> Iterator[Any]:
        raise AssertionError("a server would have been started")

    monkeypatch.setattr(CustomCaptioner, "answers", asked)
    # Nor is the GPU missed, which this machine does not have.
    tiny.build(tiny.recipe(caption={**caption, "gpu": {"type": "nvidia-l4"}}), until="caption")
    assert len(captions(tiny)) == IMAGES


def test_verify_finds_captions_that_no_answer_stands_behind(tiny: Tiny) -> None:
    caption = {"styles": [{"style": "sentence"}], "engines": [engine("colours")]}
    tiny.build(tiny.recipe(caption=caption))
    for path in (tiny.out / "answers/00000").iterdir():
        path.unlink()
    found = [str(fault) for fault in verify(Storage(str(tiny.out)))]
    assert any("no answer to" in line for line in found)


@pytest.mark.slow
def test_a_model_of_transformers_writes_the_same_captions_in_batches_of_any_size(
    tiny: Tiny,
) -> None:
    folder = tiny_captioners.qwen2_vl(tiny.folder / "model")
    prompt = {"style": "noise", "prompt": "What is it?", "max_new_tokens": 6}
    found: list[dict[str, Any]] = []
    for batch_size in (1, 4):
        model = {"engine": "transformers", "name": "vlm", "model": str(folder)}
        engines = [{**model, "batch_size": batch_size, "temperature": 1.0}]
        # Of random weights, so no gate that looks at words.
        gates = {"truncated": False, "loop": None, "special_tokens": False, "refusal": False}
        caption = {"styles": [prompt], "engines": engines, "gates": gates}
        tiny.build(tiny.recipe(caption=caption), until="caption")
        found.append(captions(tiny))
        for name in ("answers", "captions"):
            shutil.rmtree(tiny.out / name)
    one, other = found
    assert one == other
    assert len({row["written"][0]["text"] for row in one.values()}) == IMAGES
    assert {row["caption_origin"] for row in one.values()} == {"vlm"}
