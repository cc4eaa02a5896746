"""Where a command may write, looked at before it writes anything."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import Tiny

from pipelines.out_folder import MARK, corpus_folder, mark_training, own_folder, training_folder
from schemas.recipe import Recipe
from schemas.store.storage import CorpusError, Storage


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "images").mkdir()
    return Tiny(folder=tmp_path).recipe()


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def put(path: Path, text: str = "mine") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def a_link_to_nothing(out: Path) -> None:
    out.symlink_to(out.parent / "nowhere")


def a_folder_with(*names: str) -> Callable[[Path], None]:
    def lay_out(out: Path) -> None:
        for name in names:
            put(out / name)

    return lay_out


def inside_a_corpus(out: Path) -> None:
    put(out.parent / "sources/plan.json", "{}")
    put(out.parent / "recipe.yaml", "name: tiny")


REFUSED = {
    "a file": (put, "is a file, expected a folder"),
    "a link to nothing": (a_link_to_nothing, "is a link to .*nowhere, which is not there"),
    "files": (a_folder_with("a.txt", "b.txt"), "holds a.txt, b.txt, and is no corpus"),
    "many files": (a_folder_with(*"abcdefghi"), "holds a, b, c, d, e, f and 3 more, and"),
    "a hidden file": (a_folder_with(".gitignore"), "holds .gitignore, and is no corpus"),
    "a notes of ours": (a_folder_with(".partial-notes"), "holds .partial-notes"),
    "a recipe": (a_folder_with("recipe.yaml"), "holds recipe.yaml, and is no corpus"),
    "folders of our names": (a_folder_with("shards/x.tar", "raw/y"), "holds raw, shards, and"),
    "a damaged plan": (a_folder_with("sources/plan.json"), "plan.json: damaged"),
    "inside a corpus": (inside_a_corpus, "lies inside the corpus"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_of_others_is_refused_before_anything_is_written(
    name: str, recipe: Recipe, tmp_path: Path
) -> None:
    lay_out, said = REFUSED[name]
    out = tmp_path / "place" / "out"
    out.parent.mkdir()
    lay_out(out)
    before = files_below(tmp_path)
    with pytest.raises(CorpusError, match=said):
        corpus_folder(recipe, str(out))
    assert files_below(tmp_path) == before


ACCEPTED = {
    "absent": lambda out: None,
    "empty": lambda out: out.mkdir(),
    "harmless": a_folder_with(".DS_Store", "lost+found/x", ".lock", f".partial-{'0' * 32}"),
    "begun": a_folder_with("sources/plan.json"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_empty_folder_is_taken(name: str, recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ACCEPTED[name](out)
    if name == "begun":
        put(out / "sources/plan.json", "{}")
    assert corpus_folder(recipe, str(out)).root == str(out)


@pytest.mark.parametrize("out", ["", "  "])
def test_no_folder_is_not_the_working_folder(out: str, recipe: Recipe) -> None:
    with pytest.raises(CorpusError, match="got an empty text"):
        corpus_folder(recipe, out)


def test_home_is_expanded(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert corpus_folder(recipe, "~/x").root == str(tmp_path / "x")
    with pytest.raises(CorpusError, match="there is no such user"):
        corpus_folder(recipe, "~nobody-of-this-name/x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(CorpusError, match="locked may not be written by this user"):
        corpus_folder(recipe, str(tmp_path / "locked/out"))


SOURCES: dict[str, tuple[dict[str, Any], str]] = {
    "OUT is the folder": ({"kind": "folder", "path": "out"}, "out: is --out"),
    "OUT lies in the folder": ({"kind": "folder", "path": "."}, r"holds --out"),
    "the folder lies in OUT": ({"kind": "folder", "path": "out/raw"}, "lies in --out"),
    "its list lies in OUT": (
        {"kind": "folder", "path": "images", "list": "out/a.csv"},
        r"sources\.s\.list: .*lies in --out",
    ),
    "a list in OUT": ({"kind": "list", "path": "out/a.csv"}, "lies in --out"),
    "lists in OUT": ({"kind": "list", "path": "out/*.csv"}, "lies in --out"),
    "shards of OUT": ({"kind": "webdataset", "path": "out/shards/*.tar"}, "lies in --out"),
    "tars anywhere": ({"kind": "webdataset", "path": "**/*.tar"}, "would match files of --out"),
    "tars two folders down": ({"kind": "webdataset", "path": "*/*/*.tar"}, "would match"),
    "a dataset that holds OUT": ({"kind": "huggingface", "path": "."}, "holds --out"),
    "by a link": ({"kind": "folder", "path": "link"}, "holds --out"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_and_the_corpus_lie_apart(name: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    source, said = SOURCES[name]
    placed = {key: str(tmp_path / value) for key, value in source.items() if key != "kind"}
    recipe = Tiny(folder=tmp_path).recipe(sources=[source | placed | {"name": "s"}])
    with pytest.raises(CorpusError, match=said):
        corpus_folder(recipe, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "source",
    [
        {"kind": "list", "path": "*.csv"},
        {"kind": "list", "path": "lists/*/*.csv"},
        {"kind": "webdataset", "path": "data/*.tar"},
        {"kind": "folder", "path": "outer"},
    ],
    ids=str,
)
def test_a_source_beside_the_corpus_is_fine(source: dict[str, str], tmp_path: Path) -> None:
    placed = {"path": str(tmp_path / source["path"])}
    recipe = Tiny(folder=tmp_path).recipe(sources=[source | placed | {"name": "s"}])
    assert corpus_folder(recipe, str(tmp_path / "out")).root == str(tmp_path / "out")


def test_a_training_goes_on_only_in_a_folder_of_its_kind(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    mark_training(training_folder(out, "train", "steps/*"), "train")
    assert (tmp_path / "out" / MARK).exists()
    training_folder(out, "train", "steps/*")
    with pytest.raises(CorpusError, match="is no folder of train-tokenizer"):
        training_folder(out, "train-tokenizer", "state")
    put(tmp_path / "mine/README.md")
    with pytest.raises(CorpusError, match=r"holds README.md, and this is no folder of train"):
        training_folder(str(tmp_path / "mine"), "train", "steps/*")
    put(tmp_path / "earlier/steps/1")  # of a release that left no mark
    training_folder(str(tmp_path / "earlier"), "train", "steps/*")


def test_a_corpus_is_no_folder_of_other_commands(tmp_path: Path) -> None:
    put(tmp_path / "sources/plan.json", "{}")
    with pytest.raises(CorpusError, match="a corpus lies here"):
        own_folder(str(tmp_path), "folder of pairs", lambda store: False)


def test_an_object_of_the_name_of_the_folder_is_a_file(recipe: Recipe) -> None:
    Storage("memory://files").commit_bytes("out", b"x")
    with pytest.raises(CorpusError, match="is a file, expected a folder"):
        corpus_folder(recipe, "memory://files/out")
