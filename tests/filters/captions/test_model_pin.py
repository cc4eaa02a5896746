"""A folder of a model is pinned by its files, a name on the hub by its revision."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from filters.captioner import EngineError
from filters.captions.model_pin import model_sha256, pinned_engine
from pipelines.check_recipe import pin
from schemas.caption_config import CaptionConfig, OpenAiEngine, TransformersEngine
from schemas.recipe import Recipe
from schemas.recipe_file import dump_recipe, load_recipe, parse_recipe

HUB = "Qwen/Qwen3-VL-2B-Instruct"


def engine(model: Path | str, **settings: Any) -> TransformersEngine:
    fields = {"name": "vlm", "engine": "transformers", "model": str(model), **settings}
    return TransformersEngine.model_validate(fields)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files of the names that models have; nothing loads it."""
    folder = tmp_path / "models/small"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_each_file_that_decides_changes_the_sha256(folder: Path) -> None:
    found = {model_sha256(engine(folder))}
    for name in ("model.safetensors", "tokenizer.json", "merges.txt", "chat_template.jinja"):
        (folder / name).write_text("other")
        found.add(model_sha256(engine(folder)))
    assert len(found) == 5
    (folder / "README.md").write_text("words")
    assert model_sha256(engine(folder)) in found


def test_a_folder_is_pinned_and_a_change_is_noticed(folder: Path) -> None:
    pinned = pinned_engine(engine(folder))
    assert isinstance(pinned, TransformersEngine)
    assert len(pinned.model_sha256) == 64
    assert pinned_engine(pinned) == pinned
    (folder / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(EngineError, match=rf"vlm.*sha256 is .*, expected {pinned.model_sha256}"):
        pinned_engine(pinned)


def test_a_name_on_the_hub_has_no_sha256(folder: Path) -> None:
    named = engine(HUB)
    assert pinned_engine(named) == named
    with pytest.raises(EngineError, match="give a revision instead"):
        pinned_engine(engine(HUB, model_sha256="0" * 64))
    server = OpenAiEngine(name="s", engine="openai", url="http://localhost/v1", model="m")
    assert pinned_engine(server) is server


def written(folder: Path, model: str) -> Recipe:
    """Return a recipe that names a model, as read from a file."""
    (folder / "images").mkdir(exist_ok=True)
    path = folder / "recipe.yaml"
    named = {"name": "vlm", "engine": "transformers", "model": model}
    fields = {
        "name": "captioned",
        "sources": [{"name": "photos", "kind": "folder", "path": "images"}],
        "caption": {"styles": [{"style": "sentence"}], "engines": [named]},
    }
    path.write_text(yaml.safe_dump(fields))
    return load_recipe(str(path))


@pytest.mark.parametrize("model", ["models/small", "./models/small"])
def test_a_recipe_names_a_folder_relative_to_itself(
    model: str, folder: Path, tmp_path: Path
) -> None:
    recipe = pin(written(tmp_path, model))
    [found] = recipe.caption.engines
    assert found == pinned_engine(engine(folder))
    assert pin(parse_recipe(yaml.safe_load(dump_recipe(recipe)))).caption == recipe.caption


def test_a_recipe_names_a_model_on_the_hub(tmp_path: Path) -> None:
    assert pin(written(tmp_path, HUB)).caption.engines == (engine(HUB),)


def test_a_moved_folder_is_the_same_recipe(folder: Path, tmp_path: Path) -> None:
    def decides() -> Any:
        styles = [{"style": "sentence"}]
        given = {"styles": styles, "engines": [pinned_engine(engine(folder)).model_dump()]}
        return CaptionConfig.model_validate(given).decides()

    before = decides()
    folder = folder.rename(tmp_path / "moved")
    assert decides() == before
    (folder / "config.json").write_text('{"other": 1}')
    assert decides() != before
