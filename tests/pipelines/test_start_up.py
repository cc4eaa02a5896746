"""What a user waits for before anything happens: commands import what they need, and no more."""

import subprocess
import sys
from pathlib import Path

import pytest
from corpus import DEMO_RECIPE, Corpus

# Each takes half a second to several.
HEAVY = ("apache_beam", "torch", "transformers", "datasets", "scipy", "aiohttp", "pandas")
IMPORTS = """
import sys
from pipelines.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as error:
    code = error.code
print("imported", code, *(name for name in {heavy} if name in sys.modules))
"""


def imported(*words: str) -> list[str]:
    """Run a command; return its exit code and what heavy packages it imported."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS.format(heavy=HEAVY), *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1].split()[1:]


def test_recipe_and_engines_import_nothing_heavy() -> None:
    assert imported("recipe", str(DEMO_RECIPE)) == ["0"]
    assert imported("engines") == ["0"]
    assert imported("verify", "/nowhere") == ["2"]


def test_verify_and_a_build_with_nothing_to_do_start_neither_torch_nor_beam(copied: Corpus) -> None:
    # Arrow imports pandas itself, to ask whether a list is one of its series.
    assert {*imported("verify", str(copied.out))} <= {"0", "pandas"}
    words = copied.command()[3:]
    assert {*imported(*words)} <= {"0", "pandas", "aiohttp"}


@pytest.mark.parametrize("module", ["pipelines.worker_imports", "pipelines.verify.job"])
def test_worker_processes_need_no_beam(module: str, tmp_path: Path) -> None:
    code = f"import sys, {module}; sys.exit('apache_beam' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
