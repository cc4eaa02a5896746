"""The pages of stages, signals, side-cars, samples and engines, from the tables in the code."""

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import pyarrow as pa

from reference_pages.markdown import code, table
from reference_pages.models import comment_at, comment_lines

MEMBERS = (
    ("`KEY.jpg`", "the image; of a pair `KEY.chosen.jpg` and `KEY.rejected.jpg`"),
    ("`KEY.source.jpg`", "the image to edit, in subsets whose messages mark it"),
    ("`KEY.json`", "the fields below"),
    (
        "`KEY.tokens256.npy`",
        "codes at 256 px, scales small to large, raster order: bit codes `uint32 [L]` (bit 0 the "
        "most significant; `[L, 2]` for 64 bits) or indices `uint16 [L]`; of a pair two, named as "
        "its images are",
    ),
    ("`KEY.features256.npy`", "if requested: `float16 [C, h, w]`"),
)


def stages() -> str:
    """Write the page of the stages."""
    from pipelines.runtime.stage import MapStage, SidecarStage
    from pipelines.stage_table import STAGES, about, stage_class

    rows = []
    for name in STAGES:
        made = stage_class(name)
        sidecar = made if issubclass(made, SidecarStage) else None
        kind = "map" if issubclass(made, MapStage) else "global"
        section = f"[{code(name)}](recipe.md#{name.replace('_', '-')})"
        rows.append(
            [
                section if name in _configured() else code(name),
                about(name),
                code(f"{sidecar.folder}/") if sidecar else "",
                ", ".join(code(f"{folder}/") for folder in sidecar.reads) if sidecar else "",
                ", ".join(map(code, made.decides)),
                ", ".join([kind, *_abilities(made)]),
            ]
        )
    header = ["stage", "what it does", "writes", "reads", "keys that decide", "notes"]
    return (
        "---\nhide: [toc]\n---\n\n# Stages\n\n"
        "In order. A *map* stage works on one shard at a time; a *global* stage reads the whole "
        "corpus. Each gets the rows that the previous stage kept. This page is written from "
        "`pipelines/stage_table.py` and the classes of the stages.\n\n"
        + table(header, rows, "stages")
    )


def _configured() -> set[str]:
    from schemas.recipe import Recipe
    from schemas.sections import StageConfig

    return {
        name
        for name, field in Recipe.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, StageConfig)
    }


def _abilities(stage: Any) -> Iterator[str]:
    """Yield notes on a stage, from the attributes of its class."""
    if getattr(stage, "decodes", False):
        yield "decodes images"
    if getattr(stage, "retries", False):
        yield f"`--retry-failed {stage.name}`"
    if getattr(stage, "repeats", False):
        yield "`verify` runs it again"


def signals() -> str:
    """Write the page of the signals."""
    from filters.registry import SIGNALS

    parts = [
        "# Signals\n\nA signal is a measured value. `measure.signals` names those that are stored; "
        "`select` compares their columns with thresholds; `measure.settings` changes their "
        "settings. This page is written from `filters/registry.py`.\n"
    ]
    for name, made in SIGNALS.items():
        signal = made()
        rows = [[code(c.name), code(c.type), c.meaning] for c in signal.columns]
        given = ", ".join(code(f"{f.name}: {f.default}") for f in fields(made))  # pyright: ignore[reportArgumentType]
        about = inspect.cleandoc(made.__doc__ or "")
        parts.append(
            f"\n## {name}\n\n{about}\n\n{table(['column', 'type', 'meaning'], rows)}"
            f"\nSettings: {given or 'none'}.\n"
        )
    return "".join(parts)


def sidecars() -> str:
    """Write the page of the side-cars."""
    from pipelines.stage_table import sidecar_stages
    from schemas import tables

    places = {"DEAD_LETTERS": "dead_letters/STAGE/", "SHARD_INDEX": "shards/"}
    parts = [
        "# Side-cars\n\nA side-car is the Parquet file that a stage writes for a shard: "
        "`FOLDER/00000.parquet`. No column holds a null, but those of scores: a row that was not "
        "scored has none. The columns of `signals/` are on [a page of their own](signals.md); the "
        "recipe's scorers decide the further columns of `scores/`. This page is written from "
        "`schemas/tables.py`.\n"
    ]
    writers = {folder: stage.name for folder, stage in sidecar_stages().items()}
    for name, schema in vars(tables).items():
        if not isinstance(schema, pa.Schema):
            continue
        folder = places.get(name, f"{name.lower()}/")
        writer = writers.get(folder[:-1])
        by = f"Written by `{writer}`; `schemas.{name}`." if writer else f"`schemas.{name}`."
        rows = [row for field in schema for row in _columns(field)]
        parts.append(f"\n## {folder}\n\n{by}\n\n{table(['column', 'type', 'meaning'], rows)}")
    return "".join(parts)


def _columns(field: Any, within: str = "") -> Iterator[list[str]]:
    """Yield a row of the table for a column, and one for each field inside it."""
    name = f"{within}{field.name}"
    inner = field.type.value_type if pa.types.is_list(field.type) else field.type
    kind = ("list of " if inner is not field.type else "") + (
        "struct" if pa.types.is_struct(inner) else str(inner)
    )
    yield [code(name), kind, (field.metadata or {}).get(b"meaning", b"").decode()]
    if pa.types.is_struct(inner):
        for part in inner:
            yield from _columns(part, f"{name}.")


def sample() -> str:
    """Write the page of the sample contract."""
    from schemas.sample import CONTRACT_VERSION
    from schemas.subsets import EDIT_FIELDS, PAIR_FIELDS, SAMPLE_FIELDS, SUBSETS

    parts = [
        "# Sample\n\n"
        f"Version {CONTRACT_VERSION} of the contract. Every field is in every sample, "
        "with one type; there are no nulls and no dots in keys. This page is written from "
        "`schemas/subsets.py`.\n\n"
        f"{table(['member', 'what'], MEMBERS)}\n"
        "What made codes and features stands in `manifest.json`.\n\n"
        "A subset holds samples of one kind, in shards of its own.\n\n"
        + table(["subset", "images", "`<image_gen>`", "`<image>`", "made by"], _subsets())
    ]
    headings = {
        "KEY.json": SAMPLE_FIELDS,
        "KEY.json of an edit": EDIT_FIELDS,
        "KEY.json of a preference pair": PAIR_FIELDS,
    }
    for heading, entries in headings.items():
        of = [code(name) for name, subset in SUBSETS.items() if subset.fields is entries]
        inherited = _entry_comments(SAMPLE_FIELDS) if {*SAMPLE_FIELDS} <= {*entries} else {}
        meanings = _column_meanings() | inherited | _entry_comments(entries)
        rows = [[code(key), kind.__name__, meanings.get(key, "")] for key, kind in entries.items()]
        fields = table(["field", "type", "meaning"], rows)
        parts.append(f"\n## {heading}\n\nOf {', '.join(of)}.\n\n{fields}")
    return "".join(parts)


def _subsets() -> Iterator[list[str]]:
    from schemas.subsets import SUBSETS

    for name, subset in SUBSETS.items():
        yield [
            code(name),
            ", ".join(map(code, subset.images)),
            ", ".join(map(code, subset.of_images("jpg"))) or "none",
            code(subset.input_image) if subset.input_image else "none",
            ", ".join(map(code, subset.producers)),
        ]


def _column_meanings() -> dict[str, str]:
    """Return the meanings of side-cars' columns; fields of samples have the same names."""
    from schemas import tables

    schemas = [value for value in vars(tables).values() if isinstance(value, pa.Schema)]
    return {
        field.name: field.metadata[b"meaning"].decode()
        for schema in reversed(schemas)
        for field in schema
        if field.metadata
    }


def _entry_comments(mapping: Mapping[str, type]) -> dict[str, str]:
    """Return the comments beside the entries of a mapping of `schemas/subsets.py`."""
    from schemas import subsets

    [name] = (name for name, value in vars(subsets).items() if value is mapping)
    source = inspect.getsource(subsets)
    lines = comment_lines(source)
    return {
        str(key.value): comment
        for node in ast.parse(source).body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name
        for key in (node.value.keys if isinstance(node.value, ast.Dict) else ())
        if isinstance(key, ast.Constant) and (comment := comment_at(lines, key))
    }


def engines() -> str:
    """Write the page of the engines' profiles."""
    from pipelines.engines.profile import engine_names, load_profile

    parts = [
        "# Engines\n\n`--engine NAME` takes one of these profiles; options after `--` override "
        "its own. `vargpt-corpus engines` shows what is missing here. This page is written from "
        "`pipelines/engines/*.yaml`.\n"
    ]
    for profile in map(load_profile, engine_names()):
        needs = "".join(
            f"- {code(need.program or need.module or need.option or need.file)}: {need.get}\n"
            for need in profile.needs
        )
        words = "\n".join(profile.arguments(processes=2))
        needed = f"Needs:\n\n{needs}\n" if needs else ""
        parts.append(
            f"\n## {profile.name}\n\n{profile.about}\n\n{needed}"
            f"Options of Beam, with 2 processes:\n\n```text\n{words}\n```\n"
        )
    return "".join(parts)
