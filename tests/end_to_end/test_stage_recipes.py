"""The build recipes of VARGPT-v1.1's stages, on a few rows in the places and layouts they name."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pair_sources
import pytest
from corpus import ROOT
from PIL import ImageOps
from tiny import TOKENS

from pipelines.build import build
from pipelines.engines.engine import Engine
from schemas.recipe_file import load_recipe


def save(folder: Path, names: Mapping[str, int]) -> None:
    """Save drawings; a negative number is one with its colours inverted."""
    folder.mkdir(parents=True)
    for name, number in names.items():
        drawn = pair_sources.drawing(abs(number))
        (ImageOps.invert(drawn) if number < 0 else drawn).save(folder / name)


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def understand(folder: Path) -> None:
    """LLaVA-1.5's list and folder, with a row about no image; LLaVA-OneVision's Parquet files."""
    made = pair_sources.llava(folder / "made")
    shutil.copytree(made["path"], folder / "llava/images")
    shutil.copy(made["list"], folder / "llava/llava_v1_5_mix665k.json")
    asked = [{"from": "human", "value": "<image>\nWhat is it?"}]
    rows = [
        {
            "id": str(number),
            "image": pair_sources.embedded(pair_sources.drawing(number)),
            "conversations": [*asked, {"from": "gpt", "value": f"Waves {number}."}],
            "data_source": "ai2d",
        }
        for number in range(2)
    ]
    (folder / "llava-onevision").mkdir()
    pair_sources.write_parquet(folder / "llava-onevision/ai2d", rows)


def edit(folder: Path) -> None:
    """X2I's lines of StyleBooth."""
    images = {f"{n}.png": n for n in (1, 2)} | {f"{n}-styled.png": -n for n in (1, 2)}
    save(folder / "x2i/stylebooth/images", images)
    rows = [
        {
            "instruction": "<img><|image_1|></img> Let it in the style of pop art.",
            "input_images": [f"{n}.png"],
            "output_image": f"{n}-styled.png",
        }
        for n in (1, 2)
    ]
    write_lines(folder / "x2i/stylebooth/stylebooth.jsonl", rows)


def preferred(folder: Path) -> None:
    """A list of our own: images with their prompts."""
    save(folder / "midjourney-prompts/images", {f"{n}.png": n for n in (1, 2)})
    rows = [{"path": f"{n}.png", "prompt": f"wave {n}, oil painting"} for n in (1, 2)]
    write_lines(folder / "midjourney-prompts/images.jsonl", rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "kept", "dropped"),
    [(understand, 5, {"no_image": 1}), (edit, 2, {}), (preferred, 2, {})],
    ids=["understand", "edit", "preferred"],
)
def test_a_recipe_reads_the_layouts_that_it_names(
    write: Callable[[Path], None], kept: int, dropped: Mapping[str, int], tmp_path: Path
) -> None:
    name = f"vargpt-v1.1-{write.__name__}.yaml"
    shutil.copy(ROOT / "pipelines/recipes" / name, tmp_path)
    write(tmp_path)
    # Weights that are not at hand, and a GPU.
    recipe = load_recipe(str(tmp_path / name), [f"vq_tokens={json.dumps(TOKENS)}"])
    made = build(recipe, str(tmp_path / "out"), Engine(processes=1), until="pair")
    assert made["funnel"][-1]["stage"] == "pair"
    assert made["funnel"][-1]["kept"] == kept
    reasons = [line[outcome] for line in made["funnel"] for outcome in ("dropped", "failed")]
    assert {reason: n for each in reasons for reason, n in each.items()} == dropped
