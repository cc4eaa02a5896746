"""Keys that a recipe maps are looked for in the .json texts before any image is read."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pipelines.sources import keys
from pipelines.sources.listing import Listed
from pipelines.sources.readers import make_reader
from schemas.recipe import CrawlConfig, Recipe
from schemas.store.storage import CorpusError, Storage

KINDS = ["folder", "webdataset"]
Texts = dict[str, Any]  # file name -> text, or what is written as JSON


def lay(folder: Path, kind: str, texts: Texts) -> Path:
    """Put images 0.jpg to 2.jpg with texts in a folder, or in a tar; return its path."""
    files = {f"{n}.jpg": b"image" for n in range(3)}
    for name, text in texts.items():
        body = text if isinstance(text, str) else json.dumps(text)
        files[name] = body.encode()
    if kind == "folder":
        for name, body in files.items():
            (folder / name).write_bytes(body)
        return folder
    with tarfile.open(folder / "t.tar", "w") as tar:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            tar.addfile(member, io.BytesIO(files[name]))
    return folder / "t.tar"


def texts_of(path: Path, kind: str, **columns: Any) -> list[str]:
    source = {"name": "s", "kind": kind, "path": str(path), "columns": columns}
    recipe = Recipe.model_validate({"name": "r", "sources": [source]})
    reader = make_reader(recipe.sources[0], CrawlConfig())
    units = reader.plan(10, Storage("memory://keys")).units
    rows = [row for unit in units for row in reader.rows(unit)]
    return [row.text if isinstance(row, Listed) else row.reason for row in rows]  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", KINDS)
def test_a_mapped_key_that_no_file_has_is_refused_with_those_found(
    kind: str, tmp_path: Path
) -> None:
    path = lay(tmp_path, kind, {"0.json": {"captoin": "x", "w": 1}, "1.json": {"w": 2}})
    with pytest.raises(CorpusError, match=r"'prompt' is in no file of source s.*found: captoin, w"):
        texts_of(path, kind, text="prompt")


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_the_last_file_has_is_enough(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "MOST_LOOKED", 1)
    path = lay(tmp_path, kind, {"0.json": {"w": 1}, "2.json": {"prompt": "x"}})
    assert texts_of(path, kind, text="prompt") == ["", "", "x"]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_without_the_default_key_are_refused_and_a_txt_or_an_empty_key_helps(
    kind: str, tmp_path: Path
) -> None:
    path = lay(tmp_path, kind, {"0.json": {"prompt": "x"}})
    with pytest.raises(CorpusError, match=r"name it in columns: \{text: prompt\}"):
        texts_of(path, kind)
    assert texts_of(path, kind, text="") == ["", "", ""]
    path = lay(tmp_path, kind, {"0.json": {"prompt": "x"}, "1.txt": "from a txt"})
    assert texts_of(path, kind) == ["", "from a txt", ""]


@pytest.mark.parametrize("kind", KINDS)
def test_a_txt_does_not_stand_for_a_key_that_the_recipe_names(kind: str, tmp_path: Path) -> None:
    texts = {"0.txt": "from a txt", "1.json": {"caption": "x"}, "2.json": {"caption": "y"}}
    path = lay(tmp_path, kind, texts)
    with pytest.raises(CorpusError, match=r"'capton' is in no file.*\{text: caption\}"):
        texts_of(path, kind, text="capton")
    assert texts_of(path, kind, text="caption") == ["from a txt", "x", "y"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_without_any_text_is_told_unless_the_recipe_says_so(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(keys, "MOST_LOOKED", 1)
    path = lay(tmp_path, kind, {})
    assert texts_of(path, kind) == ["", "", ""]
    assert "no image has a .txt or .json of its name" in capsys.readouterr().err
    assert texts_of(path, kind, text="") == ["", "", ""]
    path = lay(tmp_path, kind, {"2.txt": "a text"})
    assert texts_of(path, kind) == ["", "", "a text"]
    assert not capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_without_json_is_refused_only_for_keys_that_are_mapped(
    kind: str, tmp_path: Path
) -> None:
    path = lay(tmp_path, kind, {"1.txt": "a text"})
    assert texts_of(path, kind) == ["", "a text", ""]
    with pytest.raises(CorpusError, match=r"\{title: name\} are keys of \.json files.*has none"):
        texts_of(path, kind, title="name")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("caption", "columns", "text"),
    [
        (["first", "second"], {}, "first"),
        (["first", "second"], {"lists": "join"}, "first second"),
        (["first", "second"], {"text": "{key}[1]"}, "second"),
        ({"en": "english", "de": "deutsch"}, {"text": "{key}.de"}, "deutsch"),
        ([{"raw": "x"}, {"raw": "y"}], {"text": "{key}[1].raw"}, "y"),
        ({"en": "english"}, {}, "malformed_text"),
        (7, {}, "malformed_text"),
        (None, {}, ""),
    ],
)
def test_captions_that_are_no_plain_text(
    kind: str, caption: Any, columns: dict[str, str], text: str, tmp_path: Path
) -> None:
    key = "text" if kind == "folder" else "caption"
    path = lay(tmp_path, kind, {"0.json": {key: caption}})
    columns = {name: value.format(key=key) for name, value in columns.items()}
    assert texts_of(path, kind, **columns)[0] == text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("body", ["{", "[1]", "7", '"text"', "null", "[" * 100_000, "\x00", ""])
def test_a_damaged_json_is_a_dead_row_and_no_reason_to_refuse(
    kind: str, body: str, tmp_path: Path
) -> None:
    path = lay(tmp_path, kind, {"0.json": body})
    assert texts_of(path, kind)[0] == "malformed_text"


@pytest.mark.parametrize("kind", KINDS)
def test_text_and_caption_are_one_key_unless_the_recipe_names_one(
    kind: str, tmp_path: Path
) -> None:
    files = {"0.json": {"caption": "c"}, "1.json": {"text": "t"}}
    path = lay(tmp_path, kind, {**files, "2.json": {"text": "x", "caption": "x"}})
    assert texts_of(path, kind) == ["c", "t", "x"]
    assert texts_of(path, kind, text="caption") == ["c", "", "x"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [5, 0.5, True, [7]])
def test_a_number_or_a_flag_is_no_caption(value: Any, kind: str, tmp_path: Path) -> None:
    path = lay(tmp_path, kind, {"0.json": {"text": value, "title": 1984}, "1.txt": "t"})
    assert texts_of(path, kind)[:2] == ["malformed_text", "t"]
