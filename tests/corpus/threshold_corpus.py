"""A small corpus of two sources, really measured, scored and deduplicated."""

from pathlib import Path

import yaml
from tiny import draw_images

from pipelines.build import build
from pipelines.engines.engine import Engine
from schemas.recipe_file import load_recipe

BASE = {
    "name": "thresholds",
    "rows_per_shard": 7,
    "score": {
        "scorers": [
            {"score": "custom", "name": "brightness", "callable": "simple_scorers:brightness"},
            {"score": "custom", "name": "clarity", "callable": "simple_scorers:nothing"},
            {"score": "custom", "name": "failed", "callable": "simple_scorers:brightness"},
        ]
    },
    "select": {"text_words": {"min": 4}, "brightness": {"min": 0.495}, "short_side": {"min": 100}},
    "dedup": {"max_per_text": 3},
    "max_failed_fraction": {"score": 0.5},
}


def lay_out(folder: Path) -> Path:
    """Draw images of two sources: copies, common texts, small ones, one that cannot be scored."""
    for source, numbers in (("pics", range(12)), ("more", range(6, 22))):
        draw_images(folder / source, numbers)
        for number in (8, 9):
            (folder / source / f"{number}.txt").write_text("a common text of many")
    for number in (14, 15, 16, 17):
        (folder / "more" / f"{number}.txt").write_text("a common text of many")
    for number in (3, 20):
        (folder / ("pics" if number == 3 else "more") / f"{number}.txt").write_text("three words x")
    (folder / "more" / "21.txt").write_text("fog over a field of grass")
    (folder / "pics" / "2.txt").write_text("fog over hills")
    sources = [{"name": name, "kind": "folder", "path": name} for name in ("pics", "more")]
    sources[1]["select"] = {"brightness": {"min": 0.49}}
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**BASE, "sources": sources}, sort_keys=False))
    return recipe


def build_until_dedup(recipe: Path, out: Path, *sets: str) -> dict:
    """Build, with changes of the recipe; return what is known of the manifest."""
    return build(load_recipe(str(recipe), sets), str(out), Engine(processes=1), until="dedup")
