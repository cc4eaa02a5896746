"""Each format, read by the reader that it is for, against the samples of the corpus."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Image, List, load_dataset
from exports import samples_of
from tiny_pairs import NETWORK
from training_shards import SQUARE, ShardMaker

from model.tokenizers.load import make_infinity_bsq
from pipelines.export.formats import FORMATS
from pipelines.export.job import export
from schemas.subsets import SUBSETS

IMAGES = {
    "t2i": {"image": "jpg"},
    "edit": {"source_image": "source.jpg", "image": "jpg"},
    "understand": {"image": "jpg"},
    "preference": {"chosen_image": "chosen.jpg", "rejected_image": "rejected.jpg"},
    "preference_edit": {
        "source_image": "source.jpg",
        "chosen_image": "chosen.jpg",
        "rejected_image": "rejected.jpg",
    },
}


def loaded(folder: Path, subset: str, cache: Path) -> Dataset:
    """Read a subset with `datasets`; its images as they are stored."""
    found = load_dataset(str(folder), subset, split="train", cache_dir=str(cache))
    for name, feature in found.features.items():
        if isinstance(feature, Image):
            found = found.cast_column(name, Image(decode=False))
    return found


@pytest.mark.parametrize("subset", ["t2i", "edit", "understand", "preference"])
def test_llama_factory_has_as_many_images_as_marks_and_in_their_order(
    subset: str, small_corpus: Path, tmp_path: Path
) -> None:
    export(str(small_corpus), FORMATS["llama-factory"], str(tmp_path), [subset])
    info = json.loads((tmp_path / "dataset_info.json").read_text())[f"vargpt_{subset}"]
    # LLaMA-Factory reads every file of the folder, and takes their type from their suffixes.
    files = sorted((tmp_path / info["file_name"]).iterdir())
    assert {file.suffix for file in files} == {".json"}
    records = [record for file in files for record in json.loads(file.read_text())]
    samples = samples_of(small_corpus, subset)
    assert [record["id"] for record in records] == [*samples]
    for record in records:
        members = samples[record["id"]]
        images = [(tmp_path / path).read_bytes() for path in record[info["columns"]["images"]]]
        messages = json.loads(members["json"])["messages"]
        assert record["licence"] == "CC0"
        if SUBSETS[subset].is_pairs:
            assert info["ranking"] is True
            assert images == [members["chosen.jpg"], members["rejected.jpg"]]
            turn = {"from": "gpt", "value": messages[1]["content"]}
            assert record["chosen"] == record["rejected"] == turn
            assert record["conversations"] == [{"from": "human", "value": messages[0]["content"]}]
        else:
            assert record["messages"] == messages
            text = "".join(message["content"] for message in messages)
            marks = sorted((text.find(mark), mark) for mark in ("<image>", "<image_gen>"))
            inputs = "source.jpg" if subset == "edit" else "jpg"
            members_of = {"<image>": inputs, "<image_gen>": "jpg"}
            assert images == [members[members_of[mark]] for place, mark in marks if place >= 0]


@pytest.mark.parametrize("subset", IMAGES)
def test_datasets_reads_every_subset_with_its_images_and_codes(
    subset: str, small_corpus: Path, tmp_path: Path
) -> None:
    to = tmp_path / "to"
    export(str(small_corpus), FORMATS["datasets"], str(to))
    decoded = load_dataset(str(to), subset, split="train", cache_dir=str(tmp_path / "cache"))
    for column in IMAGES[subset]:
        assert isinstance(decoded.features[column], Image)
        assert decoded[0][column].size == (64, 56)
    samples = samples_of(small_corpus, subset)
    rows = loaded(to, subset, tmp_path / "cache")
    assert [row["key"] for row in rows] == [*samples]
    for row in rows:
        members = samples[row["key"]]
        for column, member in IMAGES[subset].items():
            assert row[column]["bytes"] == members[member]
        check_fields_and_arrays(row, members)


@pytest.mark.parametrize("subset", IMAGES)
def test_parquet_has_images_as_bytes_and_arrays_as_lists(
    subset: str, small_corpus: Path, tmp_path: Path
) -> None:
    export(str(small_corpus), FORMATS["parquet"], str(tmp_path), [subset])
    samples = samples_of(small_corpus, subset)
    files = sorted((tmp_path / subset).iterdir())
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert [row["key"] for row in rows] == [*samples]
    for row in rows:
        members = samples[row["key"]]
        assert {c: row[c] for c in IMAGES[subset]} == {
            column: members[member] for column, member in IMAGES[subset].items()
        }
        check_fields_and_arrays(row, members)


def check_fields_and_arrays(row: dict, members: dict[str, bytes]) -> None:
    """Compare all fields of KEY.json and all arrays; fields that it lacks are null."""
    fields = json.loads(members["json"])
    assert {name: row[name] for name in fields} == fields
    arrays = [member for member in members if member.endswith(".npy")]
    for member in arrays:
        column = member.removesuffix(".npy").replace(".", "_")
        array = np.load(io.BytesIO(members[member]))
        found = np.array(row[column], array.dtype).reshape(row[f"{column}_shape"])
        np.testing.assert_array_equal(found, array)
    shapes = [name for name in row if name.endswith("_shape")]
    assert len(shapes) == len(arrays)


@pytest.mark.parametrize("subset", ["preference", "preference_edit"])
def test_trl_has_conversations_with_as_many_images_as_blocks(
    subset: str, small_corpus: Path, tmp_path: Path
) -> None:
    to = tmp_path / "to"
    export(str(small_corpus), FORMATS["trl"], str(to))
    samples = samples_of(small_corpus, subset)
    rows = loaded(to, subset, tmp_path / "cache")
    assert rows.features["images"] == List(Image())
    rows = rows.cast_column("images", List(Image(decode=False)))
    assert [row["key"] for row in rows] == [*samples]
    for row in rows:
        members = samples[row["key"]]
        user, answer = json.loads(members["json"])["messages"]
        assert words(row["prompt"]) == [("user", user["content"])]
        assert words(row["chosen"]) == words(row["rejected"]) == [("assistant", answer["content"])]
        turns = [*row["prompt"], *row["chosen"]]
        images = [b for turn in turns for b in turn["content"] if b["type"] == "image"]
        inputs = [members["source.jpg"]] if subset == "preference_edit" else []
        assert [image["bytes"] for image in row["images"]] == inputs
        assert len(images) == len(inputs)
        assert row["chosen_image"]["bytes"] == members["chosen.jpg"]
        assert row["rejected_image"]["bytes"] == members["rejected.jpg"]
        assert row["licence"] == "CC0"


def words(turns: list[dict]) -> list[tuple[str, str]]:
    """Return role and text of each turn, with marks for its images."""
    return [
        (turn["role"], "".join(block["text"] or "<image>" for block in turn["content"]))
        for turn in turns
    ]


def test_the_card_counts_the_samples_of_each_licence(small_corpus: Path, tmp_path: Path) -> None:
    export(str(small_corpus), FORMATS["datasets"], str(tmp_path))
    card = (tmp_path / "README.md").read_text()
    assert "| preference_edit | 2 | `CC0` |" in card
    assert "config_name: edit" in card


def test_held_out_samples_are_a_split_of_their_kind(tmp_path: Path) -> None:
    tokenizer = make_infinity_bsq(NETWORK, None).with_schedule(SQUARE[1.0])
    sizes = {"t2i": [2], "t2i_held_out": [1], "edit": [1]}
    corpus = ShardMaker(tokenizer=tokenizer).write(tmp_path / "corpus", sizes)
    to = tmp_path / "to"
    export(str(corpus), FORMATS["datasets"], str(to))
    found = load_dataset(str(to), "t2i", cache_dir=str(tmp_path / "cache"))
    assert {name: split.num_rows for name, split in found.items()} == {"train": 2, "held_out": 1}
    assert found["held_out"]["key"] == [*samples_of(corpus, "t2i_held_out")]
    assert [*load_dataset(str(to), "edit", cache_dir=str(tmp_path / "cache"))] == ["train"]
