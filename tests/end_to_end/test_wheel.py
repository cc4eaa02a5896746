"""The wheel is the whole package: installed where there is no source tree, it builds a corpus."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
IMAGES = sorted(Path("tests/corpus/openclipart/animals").glob("*.png"))
PARTS = ("pipelines", "filters", "schemas", "model", "pyproject.toml", "README.md", "LICENSE")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run(*words: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": "", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Return a function that runs a program of an environment that has the wheel alone."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for part in map(Path, PARTS):
        copy = shutil.copytree if part.is_dir() else shutil.copy
        copy(part, source / part.name)
    constraints = Path("constraints.txt").resolve()
    build = (BIN / "uv", "build", "--wheel", "--build-constraints", constraints)
    run(*build, "--out-dir", folder, cwd=source)
    shutil.rmtree(source)
    (wheel,) = folder.glob("*.whl")
    bin_ = folder / "venv" / "bin"
    run(BIN / "uv", "venv", "--python", sys.executable, folder / "venv", cwd=folder)
    install = (BIN / "uv", "pip", "install", "--python", bin_ / "python")
    run(*install, "--constraint", constraints, f"{wheel}[gcp,hf]", cwd=folder)
    empty = folder / "empty"
    empty.mkdir()
    return lambda program, *words: run(
        bin_ / program, *words, cwd=empty, PATH=f"{bin_}{os.pathsep}{os.environ['PATH']}"
    )


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    for image in IMAGES:
        shutil.copy(image, images)
        (images / image.name).with_suffix(".txt").write_text(f"a drawing: {image.stem}")
    file = tmp_path / "recipe.yaml"
    file.write_text(f"name: mine\nsources: [{{ name: here, kind: folder, path: '{images}' }}]\n")
    return file


def test_its_dependencies_agree_and_the_package_is_the_installed_one(
    installed: Callable[..., str],
) -> None:
    where = installed(
        "python", "-c", "import pipelines, sys; print(pipelines.__file__, sys.prefix)"
    )
    file, prefix = where.split()
    assert file.startswith(prefix)


@pytest.mark.parametrize("command", ["--help", "engines"])
def test_the_command_answers(command: str, installed: Callable[..., str]) -> None:
    assert "dataflow" in installed("vargpt-corpus", command) or command == "--help"


def test_it_builds_and_verifies_a_corpus_with_what_it_brings_along(
    installed: Callable[..., str], recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "corpus"
    build = ("vargpt-corpus", "build", recipe, "--out", out)
    installed(*build, "--processes", "2")
    assert "no fault" in installed("vargpt-corpus", "verify", out)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["subsets"]["t2i"]["samples"] == len(IMAGES) > 1
    assert (out / "report.html").stat().st_size > 10_000

    # Beam's own worker processes, as they start elsewhere, make the same tokens.
    made = {file: file.read_bytes() for file in (out / "tokens").iterdir()}
    for file in made:
        file.unlink()
    beam = ("--runner=FnApiRunner", "--direct_running_mode=multi_processing")
    installed(*build, "--", *beam, "--direct_num_workers=2")
    assert {file: file.read_bytes() for file in (out / "tokens").iterdir()} == made
