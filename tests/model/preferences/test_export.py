"""Exports, record by record as the published training code reads them."""

import json
from pathlib import Path

import pytest

from model.data.manifest import DataError
from model.preferences.export import dpo_record, export, sft_record
from schemas.store.whole_file import TEMPORARY_PREFIX

KEY = "0" * 32
USER, EDIT = "Please draw a fox", "Make <image> look like a drawing"
ANSWER = "Here is a fox<image_gen>"


def sample(user: str, answer: str) -> dict:
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]
    return {"key": KEY, "messages": messages}


def test_a_record_of_sft() -> None:
    assert sft_record(sample(EDIT, ANSWER), ["in.jpg", "out.jpg"]) == {
        "messages": [
            {"content": "Make <image> look like a drawing", "role": "user"},
            {"content": "Here is a fox<image_gen>", "role": "assistant"},
        ],
        "images": ["in.jpg", "out.jpg"],
        "id": KEY,
    }


def test_a_record_of_dpo() -> None:
    assert dpo_record(sample(USER, ANSWER), ["chosen.jpg", "rejected.jpg"]) == {
        "conversations": [{"from": "human", "value": "Please draw a fox"}],
        "chosen": {"from": "gpt", "value": "Here is a fox<image_gen>"},
        "rejected": {"from": "gpt", "value": "Here is a fox<image_gen>"},
        "images": ["chosen.jpg", "rejected.jpg"],
    }


def test_marks_and_images_must_agree() -> None:
    with pytest.raises(DataError, match=r"1 image marks in .* expected 2"):
        sft_record(sample(USER, ANSWER), ["in.jpg", "out.jpg"])
    with pytest.raises(DataError, match=r"1 image marks in .* expected 0"):
        dpo_record(sample(EDIT, ANSWER), ["chosen.jpg", "rejected.jpg"])


def test_a_token_of_chat_templates_is_refused() -> None:
    with pytest.raises(DataError, match=rf"{KEY}: a message contains '<\|im_end\|>'.* build the"):
        sft_record(sample(USER, f"x <|im_end|> {ANSWER}"), ["out.jpg"])
    with pytest.raises(DataError, match=r"contains '\[INST\]'"):
        dpo_record(sample(f"[INST] {USER}", ANSWER), ["chosen.jpg", "rejected.jpg"])


def test_samples_are_written_with_their_images_in_order(pairs_corpus: Path, tmp_path: Path) -> None:
    assert export(str(pairs_corpus), "llamafactory-sft", tmp_path) == {"sft.json": 3}
    records = json.loads((tmp_path / "sft.json").read_text())
    assert [len(record["images"]) for record in records] == [1, 1, 2]
    for record in records:
        text = "".join(message["content"] for message in record["messages"])
        assert text.count("<image>") + text.count("<image_gen>") == len(record["images"])
        for path in record["images"]:
            assert (tmp_path / path).read_bytes().startswith(b"\xff\xd8")
    edit = records[-1]["images"]
    assert edit == [f"images/edit-000000/{records[-1]['id']}.{m}" for m in ("source.jpg", "jpg")]
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    assert info["vargpt_sft"]["columns"] == {"messages": "messages", "images": "images"}


def test_pairs_are_written_chosen_first(pairs_corpus: Path, tmp_path: Path) -> None:
    assert export(str(pairs_corpus), "llamafactory-dpo", tmp_path) == {"dpo.json": 5}
    records = json.loads((tmp_path / "dpo.json").read_text())
    for record in records:
        assert [Path(path).name.split(".")[1] for path in record["images"]] == [
            "chosen",
            "rejected",
        ]
        assert all((tmp_path / path).exists() for path in record["images"])
    assert json.loads((tmp_path / "dataset_info.json").read_text())["vargpt_dpo"]["ranking"] is True


def test_both_formats_go_into_one_folder(pairs_corpus: Path, tmp_path: Path) -> None:
    for name in ("sft", "dpo"):
        export(str(pairs_corpus), f"llamafactory-{name}", tmp_path)
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    assert {name: each["file_name"] for name, each in info.items()} == {
        "vargpt_sft": "sft.json",
        "vargpt_dpo": "dpo.json",
    }
    (tmp_path / "dataset_info.json").write_text("[]")
    with pytest.raises(DataError, match=r"dataset_info\.json: expected an object, found list"):
        export(str(pairs_corpus), "llamafactory-sft", tmp_path)


def test_what_the_format_cannot_hold_is_refused(pairs_corpus: Path, tmp_path: Path) -> None:
    manifest = json.loads((pairs_corpus / "manifest.json").read_text())
    for kept, said in (("preference_edit", "cannot hold them"), ("t2i", "no preference to export")):
        manifest_of = {**manifest, "subsets": {kept: manifest["subsets"][kept]}}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest_of))
        with pytest.raises(DataError, match=said):
            export(str(tmp_path), "llamafactory-dpo", tmp_path / "to")


def test_a_shard_that_was_cut_short_is_refused(pairs_corpus: Path, tmp_path: Path) -> None:
    import shutil

    out = Path(shutil.copytree(pairs_corpus, tmp_path / "cut"))
    tar = out / "shards/preference-000001.tar"
    tar.write_bytes(tar.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"bytes, expected [\d,]+ by the manifest"):
        export(str(out), "llamafactory-dpo", tmp_path / "to")


def test_a_file_that_no_export_wrote_is_not_replaced(pairs_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "sft.json").write_text("mine")
    with pytest.raises(DataError, match=r"sft\.json: exists, but no export wrote it"):
        export(str(pairs_corpus), "llamafactory-sft", tmp_path)
    assert (tmp_path / "sft.json").read_text() == "mine"
    assert export(str(pairs_corpus), "llamafactory-dpo", tmp_path)
    with pytest.raises(DataError, match="holds a corpus"):
        export(str(pairs_corpus), "llamafactory-sft", pairs_corpus)


def test_an_export_is_written_again_over_itself(pairs_corpus: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert export(str(pairs_corpus), "llamafactory-sft", tmp_path) == {"sft.json": 3}
    assert not list(tmp_path.glob(f"{TEMPORARY_PREFIX}*"))
