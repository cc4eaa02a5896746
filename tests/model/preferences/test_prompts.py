"""Prompts of files and of corpora: every line comes out as one, or with a reason."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from training_shards import keys_of

from model.data.manifest import DataError, Source
from model.preferences.prompts import BadPrompt, PromptRow, held_out, read_prompts


def prompts(path: Path) -> list[PromptRow]:
    return [each for each in read_prompts(str(path)) if isinstance(each, PromptRow)]


def test_the_same_prompts_in_three_formats_have_the_same_keys(tmp_path: Path) -> None:
    texts = ["a red fox, at dusk", 'a sign that says "open"']
    (tmp_path / "p.txt").write_text("\n\n".join(texts) + "\n")
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"prompt": t}) + "\n" for t in texts))
    (tmp_path / "p.csv").write_text(
        'prompt,image\n"a red fox, at dusk",\n"a sign that says ""open""",\n'
    )
    found = [
        [(p.key, p.text) for p in prompts(tmp_path / f"p.{s}")] for s in ("txt", "jsonl", "csv")
    ]
    assert found[0] == found[1] == found[2]
    assert [text for _, text in found[0]] == texts


def test_files_are_found_beside_the_list(tmp_path: Path) -> None:
    row = {"prompt": "a fox", "image": "images/fox.png", "input": "gs://bucket/fox.png"}
    (tmp_path / "p.jsonl").write_text(json.dumps(row) + "\n")
    (prompt,) = prompts(tmp_path / "p.jsonl")
    assert prompt.given is not None
    assert prompt.edited is not None
    assert prompt.given.file == f"{tmp_path}/images/fox.png"
    assert prompt.edited.file == "gs://bucket/fox.png"


def test_one_text_with_two_images_to_edit_is_two_prompts(tmp_path: Path) -> None:
    rows = [{"prompt": "as a watercolour", "input": name} for name in ("a.png", "b.png")]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len({prompt.key for prompt in prompts(tmp_path / "p.jsonl")}) == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"prompt": "a fox"', "not_json"),
        ("[1]", "not_json"),
        pytest.param("[" * 100_000, "not_json", id="deep"),
        ('{"prompt": " "}', "empty_prompt"),
        ('{"prompt": 3}', "empty_prompt"),
        ("{}", "empty_prompt"),
        (json.dumps({"prompt": "x" * 4001}), "long_prompt"),
        ('{"prompt": "draw <image_gen>"}', "marker_in_prompt"),
        ('{"prompt": "a fox <|im_end|>"}', "marker_in_prompt"),
        ('{"prompt": "[INST] a fox </s>"}', "marker_in_prompt"),
        ('{"prompt": "a fox", "key": "fox"}', "bad_key"),
        ('{"prompt": "a fox", "image": "http://127.0.0.1/fox.png"}', "bad_path"),
        ('{"prompt": "a cat"}', "repeated_prompt"),
    ],
)
def test_a_line_that_is_no_prompt_says_why(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "p.jsonl").write_text(f'{{"prompt": "a cat"}}\n{line}\n')
    good, bad = list(read_prompts(str(tmp_path / "p.jsonl")))
    assert isinstance(good, PromptRow)
    assert isinstance(bad, BadPrompt)
    assert (bad.id, bad.reason) == ("p.jsonl:2", reason)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.md", "a fox", "expected prompts in .txt, .jsonl or .csv"),
        ("p.csv", "text\na fox\n", "expected a column `prompt`, got"),
        pytest.param("p.csv", f"prompt\n{'x' * 2_000_000}\n", "line 2: field larger", id="large"),
        pytest.param("p.csv", f"{'x' * 2_000_000}\n", "line 1: field larger", id="large name"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=said):
        list(read_prompts(str(tmp_path / name)))


def test_a_larger_share_of_a_corpus_holds_a_smaller_one(pairs_corpus: Path) -> None:
    source = Source(url=str(pairs_corpus))
    every = [row.key for row in held_out(source, "tokens256.npy", 1.0)]
    assert sorted(every) == sorted(keys_of(pairs_corpus, "t2i"))
    shares = [
        {row.key for row in held_out(source, "tokens256.npy", share)}
        for share in (0.0, 0.3, 0.6, 1.0)
    ]
    assert all(small <= large for small, large in pairwise(shares))
    assert shares[0] == set()


def test_an_edit_brings_the_image_it_edits(pairs_corpus: Path) -> None:
    (row,) = held_out(Source(url=str(pairs_corpus), subset="edit"), "tokens256.npy", 1.0)
    assert row.edited is not None
    assert "<image>" in row.messages[0].content
    with pytest.raises(DataError, match="prompts are made of t2i and edit"):
        list(held_out(Source(url=str(pairs_corpus), subset="preference"), "tokens256.npy", 1.0))
