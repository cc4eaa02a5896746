"""Pins: the sha256 of every file a recipe names, so that a moved file is the same recipe."""

import hashlib
from typing import Any

import fsspec

from pipelines.storage import CorpusError
from pipelines.template_file import load_templates, templates_sha256
from schemas.recipe import Recipe

CHUNK_BYTES = 1 << 24


def pin(recipe: Recipe) -> Recipe:
    """Fill in the hashes of the recipe's template file and checkpoint, or check those given.

    Raises:
        CorpusError: if a file is missing, not usable, or not the one that was pinned.
    """
    load_templates(recipe.pair.templates)
    pair = recipe.pair.model_copy(
        update=_checked(
            "pair.templates", recipe.pair.templates_sha256, templates_sha256(recipe.pair.templates)
        )
    )
    vq_tokens = recipe.vq_tokens
    if vq_tokens.checkpoint:
        found = _file_sha256(vq_tokens.checkpoint)
        vq_tokens = vq_tokens.model_copy(
            update=_checked("vq_tokens.checkpoint", vq_tokens.checkpoint_sha256, found)
        )
    return recipe.model_copy(update={"pair": pair, "vq_tokens": vq_tokens})


def _checked(where: str, wanted: str, found: str) -> dict[str, Any]:
    if wanted and wanted != found:
        raise CorpusError(f"{where}: sha256 is {found}, the recipe says {wanted}")
    return {f"{where.rsplit('.', 1)[1]}_sha256": found}


def _file_sha256(path: str) -> str:
    digest = hashlib.sha256()
    try:
        with fsspec.open(path, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):  # type: ignore[union-attr]
                digest.update(chunk)
    except FileNotFoundError as error:
        raise CorpusError(f"vq_tokens.checkpoint: {path}: no such file") from error
    return digest.hexdigest()
