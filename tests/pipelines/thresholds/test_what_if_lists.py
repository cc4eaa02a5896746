"""what-if reads the lists of dedup as they are now, and not as the last build left them."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from pipelines.benchmarks import write_benchmarks
from pipelines.check_recipe import pin_decisions
from pipelines.thresholds import what_if
from pipelines.thresholds.changes import changed_recipes
from schemas.recipe_file import dump_recipe, load_recipe
from schemas.store.storage import Storage

PROMPT = "a drawing of thing number {} in colour"


@pytest.fixture
def listed(corpus: tuple[Path, Path], tmp_path: Path) -> Path:
    """A corpus whose last build compared rows with lists, of which it keeps hashes."""
    recipe, out = corpus
    (tmp_path / "entries.txt").write_text("thing\ndrawing\n")
    (tmp_path / "prompts.txt").write_text(PROMPT.format(5))
    lay_images(recipe.parent, tmp_path / "first", 4)
    lay_images(recipe.parent, tmp_path / "second", 5, 7)
    benchmarks = [
        {"name": "i", "images": str(tmp_path / "first")},
        {"name": "p", "prompts": str(tmp_path / "prompts.txt")},
    ]
    told = yaml.safe_load((out / "recipe.yaml").read_text())
    told["dedup"] |= {
        "benchmarks": benchmarks,
        "balance": {
            "entries": str(tmp_path / "entries.txt"),
            "per_entry": 100,
            "unmatched": "keep",
        },
        "phash_distance": None,
    }
    (out / "recipe.yaml").write_text(yaml.safe_dump(told))
    built = pin_decisions(load_recipe(str(out / "recipe.yaml")))
    (out / "recipe.yaml").write_text(dump_recipe(built))
    write_benchmarks(built, Storage(str(out)))
    return tmp_path


# Images 6 to 11 are in both sources.
def lay_images(drawn: Path, folder: Path, *numbers: int) -> None:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        shutil.copy(drawn / "pics" / f"{number}.png", folder)


def dropped(folder: Path, *sets: str) -> Mapping[str, int]:
    store = Storage(str(folder / "out"))
    found = what_if.what_if(store, *changed_recipes(store, sets, {}), dedup=True)
    assert found.is_exact
    assert found.changed.dedup
    return found.changed.dedup.dropped


def with_images(folder: Path, name: str, images: str) -> str:
    return f"dedup.benchmarks=[{{name: {name}, images: {folder / images}}}]"


def test_benchmarks_are_those_of_the_changed_recipe(listed: Path) -> None:
    before = (listed / "out/lists/benchmark-i.parquet").read_bytes()
    assert dropped(listed)["contaminated:i"] == 1
    assert dropped(listed, with_images(listed, "i", "second"))["contaminated:i"] == 3
    assert dropped(listed, with_images(listed, "n", "second"))["contaminated:n"] == 3
    assert [path.name for path in sorted((listed / "out/lists").iterdir())] == [
        "benchmark-i.parquet",
        "benchmark-p.parquet",
    ]
    assert (listed / "out/lists/benchmark-i.parquet").read_bytes() == before


def test_hashes_are_compared_that_the_last_build_did_not_make(listed: Path) -> None:
    sets = ("dedup.phash_distance=4", with_images(listed, "i", "first"))
    assert dropped(listed, *sets)["contaminated:i"] == 1


def test_changed_files_are_read_as_they_are_now(listed: Path, corpus: tuple[Path, Path]) -> None:
    assert (dropped(listed)["contaminated:p"], dropped(listed).get("balance")) == (1, None)
    (listed / "prompts.txt").write_text(f"{PROMPT.format(5)}\n{PROMPT.format(7)}\n")
    lay_images(corpus[0].parent, listed / "first", 10)
    (listed / "entries.txt").write_text("nothing of this\n")
    found = dropped(listed, "dedup.balance.unmatched=drop")
    assert (found["contaminated:p"], found["contaminated:i"]) == (3, 3)
    assert found["balance_unmatched"] > 5
    (listed / "other.txt").write_text("thing\n")
    found = dropped(listed, f"dedup.balance.entries={listed / 'other.txt'}")
    assert "balance_unmatched" not in found
