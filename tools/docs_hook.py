"""A hook of mkdocs that adds the pages generated from the code, which are not committed."""

from collections.abc import Callable, Mapping
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from reference_pages import api, captions, commands, recipes, tables

ROOT = Path(__file__).parent.parent
PACKAGES = ("schemas", "filters", "pipelines", "model")
PAGES: Mapping[str, Callable[[], str]] = {
    "reference/recipe.md": recipes.recipe,
    "reference/training-recipe.md": recipes.training,
    "reference/commands.md": commands.commands,
    "reference/stages.md": tables.stages,
    "reference/signals.md": tables.signals,
    "reference/captions.md": captions.captions,
    "reference/side-cars.md": tables.sidecars,
    "reference/sample.md": tables.sample,
    "reference/engines.md": tables.engines,
    **{f"reference/api/{package}.md": api.api(package) for package in PACKAGES},
}
# Pages in the folders of the things that they describe, with pictures and figures.
ELSEWHERE = {
    "tests/benchmarks/results/2026-11-29-proof": "benchmarks/proof",
    "model/bundled/infinity_bsq": "reference/tokenizers/infinity_bsq",
    "model/bundled/var_vqvae": "reference/tokenizers/var_vqvae",
    "model/bundled/clip": "reference/clip",
    "model/bundled/text_tokenizer": "reference/tokenizers/text_tokenizer",
}
SHOWN = (".md", ".webp", ".svg", ".json")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages; mkdocs calls this."""
    for path, write in PAGES.items():
        files.append(File.generated(config, path, content=write()))
    for folder, place in ELSEWHERE.items():
        for file in sorted((ROOT / folder).iterdir()):
            if file.suffix in SHOWN and "tokenizer" not in file.stem:
                path = f"{place}/{file.name.replace('README', 'index')}"
                files.append(File.generated(config, path, abs_src_path=str(file)))
    return files
