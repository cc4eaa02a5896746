"""What a user waits for before anything happens: commands import what they need, and no more."""

import json
import subprocess
import sys

import pytest
from corpus import DEMO_RECIPE, Corpus

# Each takes half a second to several.
HEAVY = ("apache_beam", "torch", "transformers", "datasets", "scipy", "aiohttp", "pandas")
IMPORTS = """
import json, sys
from pipelines.cli.main import main
for words in json.loads(sys.argv[1]):
    try:
        code = main(words)
    except SystemExit as error:
        code = error.code
    print("imported", code, *(name for name in {heavy} if name in sys.modules))
"""


def imported(*commands: list[str]) -> list[list[str]]:
    """Run commands; return the exit code of each, and what heavy packages were imported then."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS.format(heavy=HEAVY), json.dumps(commands)],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = (line.split() for line in done.stdout.splitlines())
    return [words[1:] for words in lines if words and words[0] == "imported"]


def test_recipe_and_engines_import_nothing_heavy() -> None:
    commands = ["recipe", str(DEMO_RECIPE)], ["engines"], ["verify", "/nowhere"]
    assert imported(*commands) == [["0"], ["0"], ["2"]]


@pytest.mark.slow
def test_verify_and_a_build_with_nothing_to_do_start_neither_torch_nor_beam(copied: Corpus) -> None:
    verified, built = imported(["verify", str(copied.out)], copied.command()[3:])
    # Arrow imports pandas itself, to ask whether a list is one of its series.
    assert {*verified} <= {"0", "pandas"}
    assert {*built} <= {"0", "pandas", "aiohttp"}


def test_worker_processes_need_no_beam() -> None:
    modules = "pipelines.worker_imports, pipelines.verify.job"
    code = f"import sys, {modules}; sys.exit('apache_beam' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
