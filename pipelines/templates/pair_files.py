"""The template file of each subset, and the turns written with it."""

import hashlib
from typing import Any, TypeAlias, cast

import yaml

from pipelines.templates.forms import EDIT as EDIT_KIND
from pipelines.templates.forms import T2I as T2I_KIND
from pipelines.templates.forms import UNDERSTAND as UNDERSTAND_KIND
from pipelines.templates.forms import Forms, fill_caption, load_forms
from pipelines.templates.template_file import (
    Conversation,
    Templates,
    converse,
    load_templates,
    read_template_file,
)
from schemas.recipe import PairConfig
from schemas.store.storage import CorpusError
from schemas.strict_yaml import load_yaml
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
    data = read_template_file(name, field)
    found = hashlib.sha256(data).hexdigest()
    if sha256 and found != sha256:
        raise CorpusError(f"pair.{field}: {name}: sha256 is {found}, the recipe says {sha256}")
    if field == "templates":
        return load_t2i(name)
    return load_forms(name, EDIT_KIND if field == "edit_forms" else UNDERSTAND_KIND, field)


def load_t2i(name: str) -> PairFiles:
    """Load a template file for generation: a list of whole forms, or a grammar with `openers`.

    Raises:
        CorpusError: the file is missing, or wrong.
    """
    if _is_grammar(read_template_file(name)):
        return load_templates(name)
    return load_forms(name, T2I_KIND, "templates")


def write_t2i(
    words: PairFiles, key: str, caption: str, *, faithful: bool = False, user: str = ""
) -> Conversation:
    """Write the turns that generate an image, with a file that `load_t2i` loaded.

    The key draws the words. The caption is fitted into its sentence, or copied if `faithful`. An
    answer of a list of forms agrees with `user`, a turn that no form wrote, if that is not ''.
    """
    if isinstance(words, Forms):
        return fill_caption(words, key, caption, faithful=faithful, user=user)
    return converse(words, key, caption, faithful=faithful)


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


def _is_grammar(data: bytes) -> bool:
    """Return whether a file is a grammar; it is taken for one if it has no list of user forms."""
    try:
        parsed: Any = load_yaml(data)
    except (yaml.YAMLError, ValueError):
        return True
    if not isinstance(parsed, dict):
        return True
    user = cast(dict[str, Any], parsed).get("user")
    return not isinstance(user, list)
