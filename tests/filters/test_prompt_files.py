"""Prompts are read from the layouts in which benchmarks are published."""

import hashlib
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.prompt_files import prompts_sha256, read_prompts
from schemas.store.errors import CorpusError

FIRST, SECOND = "a fox, in the snow", "two red bowls"


def lay_out(folder: Path, layout: str) -> Path:
    """Write FIRST and SECOND as a benchmark publishes them."""
    path = folder / layout
    rows = [{"prompt": FIRST, "tag": "x"}, {"prompt": SECOND, "tag": "y"}]
    if layout == "geneval.jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    elif layout == "dpg":
        path.mkdir()
        (path / "0.txt").write_text(f"{FIRST}\n")
        (path / "1.txt").write_text(SECOND)
        (path / "README.md").write_text("no prompt")
    elif layout == "dpg_bench.csv":  # a line a question
        lines = [f'{n},"{text}",q' for n, text in enumerate((FIRST, FIRST, SECOND))]
        path.write_text("\n".join(["item_id,text,question_natural_language", *lines]))
    elif layout == "compbench.txt":
        path.write_text(f"{FIRST}\n{SECOND}\n")
    elif layout == "hps.json":
        path.write_text(json.dumps([FIRST, SECOND]))
    elif layout == "mine.parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif layout == "parti.tsv":
        path.write_text(f"prompt\tCategory\n{FIRST}\tA\n{SECOND}\tB\n")
    return path


@pytest.mark.parametrize(
    "layout",
    [
        "geneval.jsonl",
        "dpg",
        "dpg_bench.csv",
        "compbench.txt",
        "hps.json",
        "mine.parquet",
        "parti.tsv",
    ],
)
def test_each_layout_gives_its_prompts_once_in_order(layout: str, tmp_path: Path):
    path = str(lay_out(tmp_path, layout))
    assert read_prompts(path) == [FIRST, SECOND]
    assert read_prompts(path, sha256=prompts_sha256(path)) == [FIRST, SECOND]


def test_the_hash_of_a_folder_is_that_of_the_lines_of_sha256sum(tmp_path: Path):
    path = lay_out(tmp_path, "dpg")
    names = ("0.txt", "1.txt")
    lines = [f"{hashlib.sha256((path / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
    assert prompts_sha256(str(path)) == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_another_column_can_be_named(tmp_path: Path):
    path = str(lay_out(tmp_path, "geneval.jsonl"))
    assert read_prompts(path, "tag") == ["x", "y"]
    with pytest.raises(CorpusError, match="row 1: has no column url, but prompt, tag"):
        read_prompts(path, "url")


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("a.txt", b"\xff\xfe", "not readable"),
        ("a.txt", b"\n \n", "expected prompts, found none"),
        ("a.json", b'{"prompt": "x"}', "expected a list, found dict"),
        ("a.json", b"[1]", "row 1: expected a text or an object, found 1"),
        ("a.jsonl", b'{"prompt": 3}', "row 1: expected a text, found 3"),
        ("a.jsonl", b"{", "not readable"),
        ("a.json", b"[" * 100_000, "not readable: nested too deep"),
        ("a.jsonl", b"[" * 100_000, "not readable: nested too deep"),
        ("a.parquet", b"PAR1", "not readable"),
        ("a.pdf", b"%PDF", "expected prompts in .txt, .json"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_that_names_it(
    name: str, body: bytes, said: str, tmp_path: Path
):
    path = tmp_path / name
    path.write_bytes(body)
    with pytest.raises(CorpusError, match=said) as raised:
        read_prompts(str(path))
    assert str(path) in str(raised.value)


def test_a_damaged_page_of_parquet_is_an_error_that_names_the_file(tmp_path: Path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"prompt": [FIRST]}), path, compression="none", use_dictionary=False)
    body = path.read_bytes()
    length = len(FIRST).to_bytes(4, "little")  # before the text
    assert body.count(length + FIRST.encode()) == 1
    path.write_bytes(body.replace(length + FIRST.encode(), b"\xff" * 4 + FIRST.encode()))
    with pytest.raises(CorpusError, match=r"a\.parquet: not readable"):
        read_prompts(str(path))


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_lone_surrogates_are_removed(name: str, tmp_path: Path):
    path = tmp_path / name
    prompt = r'"a fox \ud800in \ud83d\ude00 snow"'
    path.write_text(f"[{prompt}]" if name == "a.json" else f'{{"prompt": {prompt}}}\n')
    assert read_prompts(str(path)) == ["a fox in \U0001f600 snow"]


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(CorpusError, match=r"a\.txt: a pipe or a device, expected a file"):
        read_prompts(str(tmp_path / "a.txt"))


def test_a_missing_file_and_another_hash_are_errors(tmp_path: Path):
    with pytest.raises(CorpusError, match="no such file"):
        read_prompts(str(tmp_path / "none.txt"))
    path = str(lay_out(tmp_path, "compbench.txt"))
    with pytest.raises(CorpusError, match="the recipe says 000"):
        read_prompts(path, sha256="0" * 64)
