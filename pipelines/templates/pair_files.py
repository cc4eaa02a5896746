"""The template file of each subset."""

import hashlib
from typing import TypeAlias

from pipelines.templates.forms import EDIT as EDIT_KIND
from pipelines.templates.forms import UNDERSTAND as UNDERSTAND_KIND
from pipelines.templates.forms import Forms, load_forms
from pipelines.templates.template_file import Templates, load_templates, read_template_file
from schemas.recipe import PairConfig
from schemas.store.storage import CorpusError
from schemas.subsets import EDIT, UNDERSTAND, Subset

PairFiles: TypeAlias = Templates | Forms

FIELDS = ("templates", "edit_forms", "understand_forms")
"""Fields of `PairConfig` that name a file; NAME_sha256 is its hash."""


def field_of(subset: Subset) -> str:
    """Return the field that names the template file of a subset."""
    return {EDIT.name: "edit_forms", UNDERSTAND.name: "understand_forms"}.get(
        subset.name, "templates"
    )


def file_sha256(config: PairConfig, field: str) -> str:
    """Return the sha256 of a template file: 64 hex digits, as pinned or as it is now.

    Raises:
        CorpusError: the file is missing.
    """
    pinned = getattr(config, f"{field}_sha256")
    return pinned or hashlib.sha256(read_template_file(getattr(config, field), field)).hexdigest()


def load_pair_file(config: PairConfig, field: str) -> PairFiles:
    """Load a template file.

    Raises:
        CorpusError: the file is missing, wrong, or has another sha256 than the recipe says.
    """
    name, sha256 = getattr(config, field), getattr(config, f"{field}_sha256")
    if field == "templates":
        return load_templates(name, sha256=sha256)
    found = hashlib.sha256(read_template_file(name, field)).hexdigest()
    if sha256 and found != sha256:
        raise CorpusError(f"pair.{field}: {name}: sha256 is {found}, the recipe says {sha256}")
    return load_forms(name, EDIT_KIND if field == "edit_forms" else UNDERSTAND_KIND, field)


def pinned_pair(config: PairConfig) -> PairConfig:
    """Check the template files, and fill in their hashes.

    Raises:
        CorpusError: a file is missing, wrong, or not the one that was pinned.
    """
    for field in FIELDS:
        load_pair_file(config, field)
    return config.model_copy(
        update={f"{field}_sha256": file_sha256(config, field) for field in FIELDS}
    )


def pair_faults(config: PairConfig) -> list[str]:
    """Return what is wrong with the template files, a line a file."""
    faults: list[str] = []
    for field in FIELDS:
        try:
            load_pair_file(config, field)
        except CorpusError as error:
            faults.append(str(error))
    return faults
