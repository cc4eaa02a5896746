"""A dry run and a build name every source that is missing, not only the first."""

from pathlib import Path
from typing import Any

import datasets.config
import pytest
from corpus import ROOT
from tiny import Tiny, draw_images

from pipelines.build import build
from pipelines.dry_run import dry_run
from pipelines.engines.engine import Engine
from pipelines.sources.unreadable import UnreadableSourcesError
from schemas.recipe import Recipe
from schemas.recipe_file import load_recipe

STAGE_RECIPES = sorted((ROOT / "pipelines/recipes").glob("vargpt-v1.1*.yaml"))
HUB = "nobody/nothing-of-this-name"


@pytest.fixture(autouse=True)
def _without_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    draw_images(tmp_path / "images", range(3))
    (tmp_path / "there.csv").write_text("url,text\nhttp://a.org/1.png,one\n")
    (tmp_path / "wrong.csv").write_text("link,words\nhttp://a.org/1.png,one\n")
    return Tiny(folder=tmp_path)


def mixed(tiny: Tiny, **parts: Any) -> Recipe:
    """Return a recipe of present and of absent sources."""
    at = tiny.folder
    return tiny.recipe(
        sources=[
            {"name": "no-list", "kind": "list", "path": str(at / "absent/*.csv")},
            {"name": "pics", "kind": "folder", "path": str(at / "images")},
            {"name": "no-tar", "kind": "webdataset", "path": str(at / "absent.tar")},
            {"name": "hub", "kind": "huggingface", "path": HUB},
            {"name": "web", "kind": "list", "path": str(at / "there.csv")},
            {
                "name": "no-images",
                "kind": "folder",
                "path": str(at / "absent"),
                "list": str(at / "there.csv"),
            },
            {"name": "edits", "kind": "edits", "of": folder("of", at / "absent")},
        ],
        **parts,
    )


def folder(name: str, path: Path) -> dict[str, str]:
    return {"name": name, "kind": "folder", "path": str(path)}


def expected(tiny: Tiny) -> dict[str, str]:
    """Return what is said of each absent source."""
    at = tiny.folder
    return {
        "no-list": f"source no-list (list): {at}/absent/*.csv: no such file",
        "no-tar": f"source no-tar (webdataset): {at}/absent.tar: no such file",
        "hub": f"source hub (huggingface): {HUB}: cannot be opened: Couldn't reach",
        "no-images": f"source no-images (folder): {at}/absent: no such folder",
        "edits": f"source edits (edits): {at}/absent: no such folder",
    }


def test_a_dry_run_lists_all_missing_sources_and_the_rows_of_the_others(
    tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dry_run(mixed(tiny), str(tiny.out)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{tiny.out}: nothing is touched"
    missing = [line for line in lines if line.startswith("missing: ")]
    for line, told in zip(missing, expected(tiny).values(), strict=True):
        assert line.startswith(f"missing: {told}")
    assert "source pics: 3 rows" in lines
    assert "source web: 1 row" in lines
    assert lines[-1] == "missing are 5 of 7 sources; a build refuses until they are there"
    assert not tiny.out.exists()


def test_missing_files_of_weights_are_listed_beside_the_sources(
    tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = str(tiny.folder / "absent.pth")
    tokens = {"tokenizers": [{"tokenizer": "infinity_bsq", "checkpoint": absent}]}
    assert dry_run(mixed(tiny, vq_tokens=tokens), str(tiny.out)) == 1
    lines = capsys.readouterr().out.splitlines()
    where = "vq_tokens.tokenizers.tokens.checkpoint"
    assert lines[1] == f"missing: {where}: {absent}: no such file"
    assert lines[-1].startswith("missing are 1 file and 5 of 7 sources;")


def test_a_source_that_is_there_but_cannot_be_read_is_listed_with_the_missing_ones(
    tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"name": "wrong", "kind": "list", "path": str(tiny.folder / "wrong.csv")}
    sources = [wrong, folder("absent", tiny.folder / "absent")]
    assert dry_run(tiny.recipe(sources=sources), str(tiny.out)) == 1
    said = capsys.readouterr().out
    assert f"missing: source wrong (list): {tiny.folder}/wrong.csv: no column 'url'" in said
    assert "missing are 2 of 2 sources" in said


def test_a_build_refuses_up_front_and_names_all_missing_sources(tiny: Tiny) -> None:
    with pytest.raises(UnreadableSourcesError) as error:
        build(mixed(tiny), str(tiny.out), Engine(processes=1))
    assert error.value.why.keys() == expected(tiny).keys()
    for line, told in zip(str(error.value).splitlines(), expected(tiny).values(), strict=True):
        assert line.startswith(told)
    assert not tiny.out.exists()


@pytest.mark.parametrize("path", STAGE_RECIPES, ids=[path.stem for path in STAGE_RECIPES])
def test_a_dry_run_of_a_recipe_of_the_paper_lists_each_of_its_sources(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe(str(path))
    assert dry_run(recipe, str(tmp_path / "out")) == 1
    said = capsys.readouterr().out
    for source in recipe.sources:
        assert f"missing: source {source.name} ({source.kind}): " in said
    assert f"{len(recipe.sources)} of {len(recipe.sources)} source" in said
