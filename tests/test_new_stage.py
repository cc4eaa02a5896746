"""The how-to page's new stage, put into a copy of the program, and a corpus built with it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
from corpus import ROOT
from tiny import Tiny, draw_images

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs/how-to/add-a-stage.md"
BLOCK = re.compile(
    r"<!-- (?P<kind>file|line|class)(?: in)?: (?P<what>.+?) -->\n```\w+\n(.+?)```", re.S
)


class Block(NamedTuple):
    """Code of the page, and where it says that it goes."""

    kind: str  # file, line or class
    path: str
    before: str  # what it is put before, '' for a whole file
    code: str


def blocks() -> list[Block]:
    found: list[Block] = []
    for match in BLOCK.finditer(PAGE.read_text()):
        path, _, before = match["what"].partition(", before ")
        found.append(Block(match["kind"], path, before, match[3]))
    return found


def apply(block: Block, root: Path) -> None:
    """Make a change that the page asks for."""
    path = root / block.path
    if block.kind == "file":
        assert not path.exists()
        path.write_text(block.code)
        return
    lines = path.read_text().splitlines(keepends=True)
    start = rf"\s*{re.escape(block.before)}(?!\w)"
    [at] = [n for n, line in enumerate(lines) if re.match(start, line)]
    gap = "\n\n" if block.kind == "class" else ""
    path.write_text("".join([*lines[:at], block.code, gap, *lines[at:]]))


class Program:
    """A copy of the program, run from its own folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for package in ("pipelines", "filters", "schemas", "model"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, root / package, ignore=ignored)

    def run(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pipelines", *words],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(self.root)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The program with the page's stage in it."""
    program = Program(tmp_path_factory.mktemp("program"))
    found = blocks()
    assert [block.kind for block in found] == ["file", "line", "class", "line"]
    for block in found:
        apply(block, program.root)
    return program


@pytest.fixture(scope="module")
def built(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Six images, of which one has a long caption."""
    tiny = Tiny(folder=tmp_path_factory.mktemp("tiny"))
    draw_images(tiny.folder / "images", range(6))
    texts = sorted((tiny.folder / "images").glob("*.txt"))
    texts[0].write_text("a very long caption " * 12)
    recipe = tiny.write_recipe(shorten={"max_chars": 120})
    program.run("build", str(recipe), "--out", str(tiny.out), "--processes", "1")
    return tiny


def test_the_help_and_the_recipe_know_a_new_stage(program: Program, built: Tiny) -> None:
    assert re.search(r"pair +.*\n +shorten +drop pairs .*\n +vq_tokens", program.run("--help"))
    resolved = (built.out / "recipe.yaml").read_text()
    assert "shorten:\n  max_chars: 120\n" in resolved
    assert "  shorten: 0.01\n" in resolved


def test_rows_of_a_new_stage_are_counted_and_what_it_drops_goes_no_further(built: Tiny) -> None:
    manifest = json.loads((built.out / "manifest.json").read_text())
    kept = {line["stage"]: (line["rows_in"], line["kept"]) for line in manifest["funnel"]}
    assert kept["pair"] == (6, 6)
    assert kept["shorten"] == (6, 5)
    assert kept["vq_tokens"] == kept["shard"] == (5, 5)
    letters = [pq.read_table(p) for p in (built.out / "dead_letters/shorten").glob("*.parquet")]
    [row] = [row for table in letters for row in table.to_pylist()]
    assert (row["stage"], row["reason"]) == ("shorten", "long")


def test_verify_checks_a_new_stage(program: Program, built: Tiny, tmp_path: Path) -> None:
    assert "no fault" in program.run("verify", str(built.out))
    shutil.copytree(built.out, tmp_path / "out")
    (tmp_path / "out/shortened/00000.parquet").unlink()
    with pytest.raises(AssertionError):
        program.run("verify", str(tmp_path / "out"))


def test_a_new_setting_runs_a_new_stage_and_those_after_it(program: Program, built: Tiny) -> None:
    recipe = built.write_recipe(shorten={"max_chars": 1000})
    said = program.run("build", str(recipe), "--out", str(built.out), "--dry-run")
    assert re.search(r"pair +fresh", said)
    assert re.search(r"shorten +\d of .* to do.*: the recipe changed: shorten.max_chars", said)
    assert re.search(r"vq_tokens +\d of .* to do", said)


def test_a_build_can_end_after_a_new_stage(program: Program, built: Tiny, tmp_path: Path) -> None:
    recipe = built.write_recipe(shorten={"max_chars": 120})
    out = str(tmp_path / "out")
    program.run("build", str(recipe), "--out", out, "--until", "shorten", "--processes", "1")
    assert not list(Path(out).glob("tokens/*.parquet"))
