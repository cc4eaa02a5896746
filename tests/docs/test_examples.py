"""What the documentation shows is run: recipes, commands, programs, the code of how-to pages."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest
import yaml
from corpus import ROOT
from PIL import Image
from tiny import TOKENS, Tiny, draw_images

from filters import SIGNALS, Record
from pipelines.check_recipe import recipe_faults
from pipelines.cli.arguments import check_flags
from pipelines.cli.main import _parser
from schemas import load_recipe

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# A block of code, and the comment before it that says what it is, if any.
BLOCK = re.compile(r"(?:<!-- (?P<what>[^>]+) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)```", re.S)
SIGNAL_PAGE = ROOT / "docs/how-to/add-a-signal.md"
SCORE_PAGE = ROOT / "docs/how-to/add-a-score.md"
CAPTION_PAGE = ROOT / "docs/how-to/add-a-captioner.md"


def blocks(language: str, pages: list[Path] = PAGES) -> Iterator[tuple[str, str, str]]:
    """Yield (page, what it is, code) of the blocks of a language."""
    for page in pages:
        for match in BLOCK.finditer(page.read_text()):
            if match["language"] == language:
                yield str(page.relative_to(ROOT)), match["what"] or "", match["code"]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield (page, words) of the commands of ours that are shown, without options of Beam."""
    for page, _, code in blocks("sh"):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0].removeprefix(".venv/bin/") == "vargpt-corpus":
                end = words.index("--") if "--" in words else len(words)
                yield page, words[1:end]


@pytest.mark.parametrize(("page", "words"), [*commands()], ids=lambda value: str(value)[:60])
def test_a_command_is_one_that_the_parser_knows(page: str, words: list[str]) -> None:
    parser = _parser()
    check_flags(parser, words)
    assert parser.parse_args(words).command == words[0]


RECIPES = [(page, code) for page, what, code in blocks("yaml") if what == "recipe"]


@pytest.mark.parametrize(("page", "code"), RECIPES, ids=[page for page, _ in RECIPES])
def test_a_recipe_is_one_that_the_command_accepts_but_for_files_that_it_lacks(
    page: str, code: str, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(code)
    faults = recipe_faults(load_recipe(str(path)))
    lacking = r"sources\.\w+|.*(no such|cannot|missing|expected a local folder|gs://|\.pth)"
    assert [fault for fault in faults if not re.match(lacking, fault)] == []


def test_the_recipe_of_the_readme_is_the_quickstart_s() -> None:
    [quickstart] = [code for page, code in RECIPES if page == "docs/quickstart.md"]
    assert quickstart in (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Six images with captions, tokenized at 256 px."""
    tiny = Tiny(folder=tmp_path_factory.mktemp("tiny"))
    draw_images(tiny.folder / "images", range(6))
    tokenizers = [{**TOKENS["tokenizers"][0], "resolutions": [256]}]
    tiny.build(tiny.recipe(vq_tokens={"tokenizers": tokenizers}, shard={"samples": 6}))
    return tiny


PROGRAMS = [(p, what, code) for p, what, code in blocks("python") if what.startswith("run: ")]


@pytest.mark.parametrize(("page", "what", "code"), PROGRAMS, ids=[p for p, _, _ in PROGRAMS])
def test_a_program_runs_on_a_built_corpus(page: str, what: str, code: str, built: Tiny) -> None:
    names: dict[str, object] = {"OUT": str(built.out)}
    exec(compile(code.replace("build/demo", str(built.out)), page, "exec"), names)
    expected = {
        "run: shards": lambda: names["sample"]["tokens256.npy"].shape == (521,),  # type: ignore[index]
        "run: audit": lambda: names["faults"] == [] and names["signals"].num_rows == 2,  # type: ignore[attr-defined]
        "run: load": lambda: len(names["batch"].keys) == 2,  # type: ignore[attr-defined]
    }
    assert expected[what]()


@pytest.fixture
def signal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The signal of its how-to page, put where the page says."""
    shown = {what: code for _, what, code in blocks("python", [SIGNAL_PAGE])}
    file = tmp_path / "colourfulness.py"
    file.write_text(shown["file: filters/colourfulness.py"])
    spec = importlib.util.spec_from_file_location("filters.colourfulness", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    line = shown["line in: filters/registry.py, in SIGNALS"]
    for name, made in eval("{" + line + "}", vars(module)).items():
        monkeypatch.setitem(SIGNALS, name, made)
    return module


def test_the_signal_of_the_page_measures(signal: ModuleType) -> None:
    def value(colour: str) -> float:
        image = Image.new("RGB", (9, 7), colour)
        record = Record(image=image, file_bytes=1, text="", title="", tags=())
        return signal.Colourfulness().measure([record])["colourfulness"][0]

    assert value("grey") == 0.0
    assert value("red") == pytest.approx((255**2 + 127.5**2) ** 0.5)


def test_a_build_stores_the_signal_of_the_page_and_selects_by_it(
    signal: ModuleType, tmp_path: Path
) -> None:
    [(_, _, code)] = [b for b in blocks("yaml", [SIGNAL_PAGE]) if b[1] == "recipe with the signal"]
    asked = yaml.safe_load(code)
    tiny = Tiny(folder=tmp_path)
    draw_images(tmp_path / "images", range(3))
    Image.new("RGB", (160, 150), "grey").save(tmp_path / "images/grey.png")
    (tmp_path / "images/grey.txt").write_text("a grey wall")
    recipe = tiny.recipe(measure=asked["measure"], select=asked["select"])
    manifest = tiny.build(recipe, until="select")
    [line] = [line for line in manifest["funnel"] if line["stage"] == "select"]
    assert line["dropped"] == {"colourfulness_min": 1}
    tables = [pq.read_table(path) for path in sorted((tiny.out / "signals").glob("*.parquet"))]
    values = [value for table in tables for value in table["colourfulness"].to_pylist()]
    assert len(values) == 4
    assert min(values) == 0.0


@pytest.fixture
def my_scores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The module of the page on scores, in a folder of PYTHONPATH."""
    [code] = [c for _, what, c in blocks("python", [SCORE_PAGE]) if what == "file: my_scores.py"]
    (tmp_path / "my_scores.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)


def test_a_build_stores_the_score_of_the_page_and_selects_by_it(
    my_scores: None, tmp_path: Path
) -> None:
    [(_, _, code)] = [b for b in blocks("yaml", [SCORE_PAGE]) if b[1] == "recipe with the scorer"]
    asked = yaml.safe_load(code)
    tiny = Tiny(folder=tmp_path)
    for name, half in (("even", "white"), ("odd", "black")):
        image = Image.new("RGB", (160, 150), "white")
        image.paste(Image.new("RGB", (80, 150), half), (80, 0))
        (tmp_path / "images").mkdir(exist_ok=True)
        image.save(tmp_path / f"images/{name}.png")
        (tmp_path / f"images/{name}.txt").write_text(f"an {name} picture of two halves")
    recipe = tiny.recipe(score=asked["score"], select=asked["select"])
    manifest = tiny.build(recipe, until="select")
    [line] = [line for line in manifest["funnel"] if line["stage"] == "select"]
    assert line["dropped"] == {"symmetry_min": 1}
    tables = [pq.read_table(path) for path in sorted((tiny.out / "scores").glob("*.parquet"))]
    values = [value for table in tables for value in table["symmetry"].to_pylist()]
    assert sorted(values) == pytest.approx([0.0, 1.0], abs=0.05)


def test_a_build_has_the_captions_of_the_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown = {what: code for _, what, code in blocks("python", [CAPTION_PAGE])}
    (tmp_path / "my_captions.py").write_text(shown["file: my_captions.py"])
    monkeypatch.syspath_prepend(tmp_path)
    recipes = {what: code for _, what, code in blocks("yaml", [CAPTION_PAGE])}
    asked = yaml.safe_load(recipes["recipe with the captioner"])
    tiny = Tiny(folder=tmp_path)
    (tmp_path / "images").mkdir()
    for name in ("red", "blue"):
        Image.new("RGB", (160, 150), name).save(tmp_path / f"images/{name}.png")
        (tmp_path / f"images/{name}.txt").write_text(f"the source calls it {name}")
    dedup = {"phash_distance": None}
    tiny.build(tiny.recipe(caption=asked["caption"], select={}, dedup=dedup), until="caption")
    tables = [pq.read_table(path) for path in sorted((tiny.out / "captions").glob("*.parquet"))]
    rows = [row for table in tables for row in table.to_pylist()]
    assert {row["caption"] for row in rows} == {
        f"A picture in which most of the light is {name}." for name in ("red", "blue")
    }
    assert {row["caption_origin"] for row in rows} == {"mine"}
