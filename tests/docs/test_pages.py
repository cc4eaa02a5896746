"""Links of pages lead somewhere, the reference is whole, and the site fetches nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from corpus import ROOT
from docs_hook import PAGES
from pydantic import BaseModel
from reference_pages.models import keys_of, models_in

from model.training.recipe import Recipe as TrainingRecipe
from pipelines.cli.arguments import commands_of
from pipelines.cli.main import _parser
from pipelines.stage_table import STAGES
from schemas.recipe import MaxFailedFraction, Recipe

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# Those of docs/ are checked where the site is built, which also has pages that are not committed.
OUTSIDE = [
    path
    for path in sorted(ROOT.rglob("*.md"))
    if not {".venv", "build", "docs", "node_modules"} & {*path.relative_to(ROOT).parts}
    and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
]


@pytest.mark.parametrize("page", OUTSIDE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_outside_the_site_lead_to_files(page: Path) -> None:
    links = [link.partition("#")[0] for link in LINK.findall(page.read_text())]
    local = [link for link in links if link and "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) < 700


def models_of(model: type[BaseModel]) -> set[type[BaseModel]]:
    below = {part for f in model.model_fields.values() for part in models_in(f.annotation)}
    return {model}.union(*map(models_of, below - {model}))  # a rule may hold rules


# The shares of failed rows are explained above their table.
# In an order that every worker of pytest-xdist has.
MODELS = sorted(
    {*(models_of(Recipe) - {MaxFailedFraction}), TrainingRecipe},
    key=lambda model: (model.__module__, model.__qualname__),
)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__qualname__)
def test_every_key_of_a_recipe_is_explained(model: type[BaseModel]) -> None:
    assert [key.name for key in keys_of(model) if not key.meaning] == []


def test_the_reference_has_every_command_stage_and_column() -> None:
    commands = PAGES["reference/commands.md"]()
    for name, parser in commands_of(_parser()).items():
        section = commands.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        options = {o for action in parser._actions for o in action.option_strings}
        assert [o for o in options - {"-h", "--help"} if f"`{o}" not in section] == []
    assert all(f"`{stage}`" in PAGES["reference/stages.md"]() for stage in STAGES)
    for name in ("side-cars", "sample", "signals"):
        assert not re.search(r"\|  \|$", PAGES[f"reference/{name}.md"](), re.M)


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    fetched = re.compile(r"<(?:script|link|img|source|iframe)[^>]+(?:src|href)=\"?https?://[^>]+")
    for page in tmp_path.rglob("*.html"):
        assert fetched.findall(page.read_text()) == [], page
    for sheet in tmp_path.rglob("*.css"):
        assert not re.search(r"url\([\"']?https?://|@import", sheet.read_text()), sheet
