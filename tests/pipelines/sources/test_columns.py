"""Columns are found or refused, and whatever stands in one is a text or a reason."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.fetch.fetcher import FetchLimits
from pipelines.runtime.sidecar import Reject
from pipelines.sources.columns import ABSENT, look_up
from pipelines.sources.hub.reader import HubReader
from pipelines.sources.listing import Listed
from pipelines.sources.lists.reader import ListReader
from schemas.recipe_file import RecipeError, dump_recipe, load_recipe, parse_recipe
from schemas.source_config import Columns, HuggingFaceSource, ListSource
from schemas.store.storage import CorpusError, Storage
from schemas.subsets import DEFAULT_SUBSET, SourceSubset

URL = "http://a.org/1"
FORMATS = ("csv", "tsv", "jsonl", "json", "parquet", "arrow", "hub")
STORE = Storage("memory://columns")


def write(folder: Path, rows: list[dict[str, Any]], kind: str, name: str = "l") -> Path:
    """Write rows as a list of a kind and return its path."""
    path = folder / f"{name}.{'parquet' if kind == 'hub' else kind}"
    if kind in ("csv", "tsv"):
        mark = {"csv": ",", "tsv": "\t"}[kind]
        lines = [list(rows[0]), *(list(row.values()) for row in rows)]
        path.write_text("".join(mark.join(map(str, cells)) + "\n" for cells in lines))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "json":
        path.write_text(json.dumps(rows))
    elif kind == "arrow":
        table = pa.Table.from_pylist(rows)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def listed(
    path: Path | str, kind: str = "", subset: SourceSubset = DEFAULT_SUBSET, **columns: Any
) -> list[Listed | Reject]:
    mapped = Columns(**columns)
    of: Any = {"name": "s", "path": str(path), "subset": subset, "columns": mapped}
    if kind == "hub":
        pytest.importorskip("datasets")
        read: Any = HubReader(HuggingFaceSource(kind="huggingface", image="", **of), FetchLimits())
    else:
        read = ListReader(ListSource(kind="list", **of), FetchLimits())
    return [row for unit in read.plan(2, STORE).units for row in read.rows(unit)]


def texts(found: list[Listed | Reject]) -> list[str]:
    return [f"{row.reason}: {row.detail}" if isinstance(row, Reject) else row.text for row in found]


@pytest.mark.parametrize("kind", FORMATS)
def test_captions_under_another_name_are_refused_with_the_name(kind: str, tmp_path: Path) -> None:
    for name, wanted in {
        "TEXT": "TEXT",
        "caption": "caption",
        "alt_text": "alt_text",
        "texte": "texte",
        "zzz": "COLUMN",
    }.items():
        path = write(tmp_path, [{"url": URL, name: "a dog"}], kind)
        with pytest.raises(CorpusError) as caught:
            listed(path, kind)
        assert str(caught.value) == (
            f"column 'text' is in no file of source s; columns found: url, {name}; "
            f"name it in columns: {{text: {wanted}}}; "
            "for a source without captions, columns: {text: ''}"
        )


@pytest.mark.parametrize("kind", FORMATS)
def test_a_column_that_the_recipe_names_must_be_in_a_file(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, [{"url": URL, "text": "a dog", "Licence": "CC0"}], kind)
    for field in ("title", "tags", "licence", "author"):
        with pytest.raises(CorpusError, match=f"column '{field}' is in no file of source s"):
            listed(path, kind, **{field: field})
    with pytest.raises(CorpusError, match=r"name it in columns: \{licence: Licence\}"):
        listed(path, kind, licence="licence")
    with pytest.raises(CorpusError, match=r"no column 'link' among url, text, Licence"):
        listed(path, kind, url="link")
    assert texts(listed(path, kind)) == ["a dog"]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_source_has_no_captions_if_the_recipe_says_so(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, [{"url": URL, "TEXT": "a dog"}], kind)
    assert texts(listed(path, kind, text="")) == [""]
    path = write(tmp_path, [{"url": URL, "title": "a dog"}], kind)
    (row,) = listed(path, kind)
    assert isinstance(row, Listed)
    assert (row.text, row.title) == ("", "a dog")
    with pytest.raises(CorpusError, match="column 'text' is in no file"):
        listed(path, kind, text="text")


def test_a_column_may_be_in_one_of_the_files(tmp_path: Path) -> None:
    write(tmp_path, [{"url": URL, "text": "a dog"}], "csv", "a")
    write(tmp_path, [{"url": URL, "title": "a cat"}], "jsonl", "b")
    write(tmp_path, [{"url": URL, "text": "7", "author": "me"}], "parquet", "c")
    assert texts(listed(f"{tmp_path}/*", author="author")) == ["a dog", "", "7"]
    write(tmp_path, [{"link": URL}], "csv", "d")
    with pytest.raises(CorpusError, match=r"d\.csv: no column 'url' among link"):
        listed(f"{tmp_path}/*")


@pytest.mark.parametrize("explicit", [{}, {"text": "text"}])
def test_captions_under_another_name_in_one_of_the_files_are_refused(
    explicit: dict[str, str], tmp_path: Path
) -> None:
    write(tmp_path, [{"url": URL, "text": "a dog"}], "csv", "a")
    write(tmp_path, [{"url": URL, "TEXT": "a cat"}], "csv", "b")
    with pytest.raises(CorpusError, match=r"b\.csv: no column 'text' among url, TEXT, which .*a\."):
        listed(f"{tmp_path}/*", **explicit)
    assert texts(listed(f"{tmp_path}/*", text="")) == ["", ""]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "arrow"])
def test_a_message_names_a_column_so_that_it_can_be_written(kind: str, tmp_path: Path) -> None:
    blank = write(tmp_path, [{"url": URL, "text ": "a dog"}], kind)
    with pytest.raises(CorpusError, match=r"found: url, 'text '; .*\{text: 'text '\}"):
        listed(blank)
    assert texts(listed(blank, text="text ")) == ["a dog"]
    nested = write(tmp_path, [{"url": URL, "text": {"en": "a dog", "de": "Hund"}}], kind)
    with pytest.raises(CorpusError, match=r"found: url, text\.en, text\.de; .*\{text: text\.en\}"):
        listed(nested, text="text.b")


def test_a_key_that_only_late_json_rows_have_is_found(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"url": URL, "n": n} for n in range(3000)]
    write(tmp_path, [*rows, {"url": URL, "caption": {"en": "a dog"}}], "jsonl")
    assert texts(listed(tmp_path / "l.jsonl", text="caption.en"))[-1] == "a dog"
    with pytest.raises(CorpusError, match=r"column 'caption\.de' is in no file of source s"):
        listed(tmp_path / "l.jsonl", text="caption.de")


PATHS = {
    "a.b": "literal",
    "c.d": "deep",
    "list[0]": "one",
    "list[-1]": "two",
    "rows[1].raw": "second",
    "rows.raw": "first",  # of each, of which lists takes the first
    "deep.er[0].est": "end",
    "text": "JSON in text: no path",
    "json.en": "parsed",
    "json.list[1]": "y",
}
ROW = {
    "url": URL,
    "a.b": "literal",
    "a": {"b": "not this"},
    "c": {"d": "deep"},
    "list": ["one", "two"],
    "rows": [{"raw": "first"}, {"raw": "second"}],
    "deep.er": [{"est": "end"}],
    "text": "JSON in text: no path",
    "json": '{"en": "parsed", "list": ["x", "y"]}',
}


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "arrow", "hub"])
@pytest.mark.parametrize("path", PATHS)
def test_a_path_leads_into_a_column(path: str, kind: str, tmp_path: Path) -> None:
    assert texts(listed(write(tmp_path, [ROW], kind), kind, text=path)) == [PATHS[path]]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "hub"])
@pytest.mark.parametrize("path", ["c.x", "rows[0].x", "x.d", "[0]", "c[", "c..d"])
def test_a_path_that_leads_nowhere_is_refused(path: str, kind: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is in no file of source s"):
        listed(write(tmp_path, [ROW], kind), kind, text=path)


def test_a_path_into_what_has_no_parts_is_malformed(tmp_path: Path) -> None:
    rows = [{"url": f"{URL}{n}", "text": text} for n, text in enumerate(["plain", 7, None, []])]
    found = texts(listed(write(tmp_path, rows, "jsonl"), text="text[0]"))
    assert found == [
        "malformed_row: 'text[0]' asks for '[0]' of a text: 'plain'",
        "malformed_row: 'text[0]' asks for '[0]' of a number",
        "",
        "",
    ]
    assert look_up({"a": [1]}, "a[1]") is ABSENT


LISTS = {
    "first": ["a dog", "a cat", "nested", "7"],
    "join": ["a dog runs", "a cat", "nested too", "7 8"],
}


@pytest.mark.parametrize("rule", LISTS)
def test_a_list_of_strings_is_a_text_by_a_rule(rule: str, tmp_path: Path) -> None:
    values: list[Any] = [["a dog", "runs"], [None, " ", "a cat"], [["nested"], ["too"]], ["7", "8"]]
    rows = [{"url": URL, "text": value} for value in values]
    assert texts(listed(write(tmp_path, rows, "jsonl"), lists=rule)) == LISTS[rule]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "hub"])
def test_lists_may_be_refused(kind: str, tmp_path: Path) -> None:
    rows = [{"url": URL, "text": value} for value in (["a", "b"], [], None)]
    found = texts(listed(write(tmp_path, rows, kind), kind, lists="refuse"))
    assert found[0].startswith("malformed_row: column 'text' is a list of 2; set columns: {lists:")
    assert found[1:] == ["", ""]


@pytest.mark.parametrize("kind", ["parquet", "arrow", "hub"])
@pytest.mark.parametrize("many", [False, True])
def test_a_struct_is_refused_with_its_keys(kind: str, many: bool, tmp_path: Path) -> None:
    struct = {"en": "a dog", "de": "ein Hund"}
    path = write(tmp_path, [{"url": URL, "text": [struct] if many else struct}], kind)
    with pytest.raises(CorpusError, match=r"is a struct of en, de.*columns: \{text: text\.en\}"):
        listed(path, kind)


@pytest.mark.parametrize("kind", ["parquet", "arrow", "hub"])
def test_turns_may_be_structs(kind: str, tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "What is it?"}, {"from": "gpt", "value": "A dog."}]
    path = write(tmp_path, [{"url": URL, "said": turns}], kind)
    (row,) = listed(path, kind, subset="understand", turns="said")
    assert isinstance(row, Listed)
    assert [turn.content for turn in row.turns] == ["What is it?", "A dog."]


def test_a_mapping_of_json_is_malformed_with_its_keys(tmp_path: Path) -> None:
    rows = [{"url": URL, "text": text} for text in ({"en": "a", "de": "b"}, [{"raw": "c"}], {})]
    found = texts(listed(write(tmp_path, rows, "jsonl")))
    assert found[0].startswith("malformed_row: column 'text' is a mapping of en, de; name one:")
    assert found[1].startswith("malformed_row: column 'text' is a mapping of raw; name one:")
    assert found[2] == ""


def test_a_map_of_parquet_is_looked_up_by_its_keys(tmp_path: Path) -> None:
    kind = pa.map_(pa.string(), pa.string())
    maps = pa.array([[("en", "a dog")], [("de", "b"), ("de", "c")], [("fr", "d")]], kind)
    path = tmp_path / "l.parquet"
    pq.write_table(pa.table({"url": [URL] * 3, "text": maps}), path)
    found = texts(listed(path, text="text.en"))
    assert [found[0], found[1][:14], found[2]] == ["a dog", "malformed_row:", ""]
    assert texts(listed(path))[0].startswith("malformed_row: column 'text' is a mapping of en")


def test_numbers_and_names_do_not_mix() -> None:
    source = {"name": "a", "kind": "list", "path": "a", "columns": {"url": 0, "text": "caption"}}
    with pytest.raises(RecipeError, match=r"sources\.0\.columns: numbers are for lists without"):
        parse_recipe({"name": "r", "sources": [source]})
    for wrong in (-1, True, 1.5, None):
        source["columns"] = {"url": wrong}
        with pytest.raises(RecipeError):
            parse_recipe({"name": "r", "sources": [source]})


def test_other_delimiters_and_numbers_of_json_keys_are_named(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(f"url;text\n{URL};a dog\n")
    with pytest.raises(CorpusError, match="cells seem to be separated by ';'"):
        listed(tmp_path / "l.csv")
    source = {"name": "a", "kind": "webdataset", "path": "a", "columns": {"text": 0}}
    with pytest.raises(RecipeError, match="expected keys of JSON"):
        parse_recipe({"name": "r", "sources": [source]})


def test_a_dumped_recipe_names_the_columns_that_the_recipe_names(tmp_path: Path) -> None:
    columns = {"text": "text", "title": "", "lists": "join"}
    source = {"name": "a", "kind": "list", "path": "/a", "columns": columns}
    recipe = parse_recipe({"name": "r", "sources": [source, source | {"name": "b", "columns": {}}]})
    (tmp_path / "r.yaml").write_text(dump_recipe(recipe))
    again = load_recipe(str(tmp_path / "r.yaml"))
    assert again == recipe
    assert [s.columns.explicit() for s in again.sources] == [{"text": "text", "title": ""}, {}]
