"""Images of workers cannot be built here: they are linted, and held to what they are built of."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

FOLDER = Path("pipelines/engines/dataflow")
FILES = sorted(FOLDER.glob("Dockerfile.*"))
PINS = dict(line.split("==") for line in Path("constraints.txt").read_text().split())

both = pytest.mark.parametrize("file", FILES, ids=lambda file: file.suffix)


def instructions(file: Path) -> list[tuple[str, str]]:
    """Return (instruction, arguments), continued lines joined."""
    text = re.sub(r"\\\n", " ", file.read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def test_there_is_one_for_workers_with_a_gpu_and_one_for_those_without() -> None:
    assert [file.suffix for file in FILES] == [".cpu", ".gpu"]


@both
def test_hadolint_has_no_complaint(file: Path) -> None:
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([linter, file], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@both
def test_boot_is_of_the_pinned_beam_and_runs_first(file: Path) -> None:
    bases = [rest.split()[0] for word, rest in instructions(file) if word == "FROM"]
    assert bases[0] == f"apache/beam_python3.11_sdk:{PINS['apache-beam']}"
    # Code is sent to workers only by name, but a pickle of Beam's own may hold bytecode.
    assert all(re.search(r"python:?3\.11[-_]", base) for base in bases)
    assert instructions(file)[-1] == ("ENTRYPOINT", '["/opt/apache/beam/boot"]')
    copies_boot = ("COPY", "--from=beam /opt/apache/beam /opt/apache/beam") in instructions(file)
    assert copies_boot == (len(bases) == 2)


@both
def test_what_is_copied_is_what_make_wheel_leaves_in_the_context(file: Path) -> None:
    (copied,) = [
        rest.split()[:-1]
        for word, rest in instructions(file)
        if word == "COPY" and "--" not in rest
    ]
    recipe = Path("Makefile").read_text().split("\nwheel:")[1].split("\n\n")[0]
    assert copied == ["constraints.txt", "vargpt_corpus-*.whl"]
    assert "--out-dir build/dist" in recipe
    assert f"cp constraints.txt {FOLDER}/Dockerfile.* build/dist" in recipe
    assert "torch" in PINS


def test_cloud_build_makes_both_from_the_context() -> None:
    steps = yaml.safe_load((FOLDER / "cloudbuild.yaml").read_text())["steps"]
    named = [step["args"][step["args"].index("--file") + 1] for step in steps]
    assert named == [file.name for file in FILES]
