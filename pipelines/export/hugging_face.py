"""Data sets of Hugging Face: Parquet with embedded images, and a card that lists the subsets.

`datasets.load_dataset(DIR, "edit")` reads a subset, from a folder or, once pushed, from the Hub.
Its held-out samples are the split `held_out`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final

import pyarrow as pa
import yaml

from pipelines.export.format import Exported
from pipelines.export.samples import Sample, Shard
from pipelines.export.tables import (
    image_columns,
    sample_members,
    sample_rows,
    sample_schema,
    write_parquet,
)
from schemas.store.errors import CorpusError
from schemas.store.storage import Storage
from schemas.subsets import SUBSETS, Subset

IMAGE: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""How `datasets` stores an image."""
CARD: Final = "README.md"
SHOWN: Final = 50  # licences of a subset on the card


class Datasets:
    """A file a shard, `SUBSET/SUBSET-000000.parquet`, and the card."""

    name: ClassVar[str] = "datasets"
    version: ClassVar[int] = 1

    def refusal(self, subset: Subset) -> str:
        """Return '': the format holds every subset."""
        return ""

    def folders(self, shard: Shard) -> Sequence[str]:
        """Return the folder of the subset."""
        return (shard.subset.name,)

    def members(self, shard: Shard) -> Sequence[str]:
        """Return all images and arrays."""
        return sample_members(shard)

    def write(self, shard: Shard, samples: Iterable[Sample], to: Storage) -> Mapping[str, int]:
        """Write the file of a shard."""
        schema = with_features(sample_schema(shard, IMAGE), image_columns(shard.subset))
        rows = sample_rows(shard, samples, image_value)
        return write_parquet(f"{shard.subset.name}/{shard.name}.parquet", schema, rows, to)

    def finish(self, exported: Mapping[str, Sequence[Exported]], to: Storage) -> None:
        """Write the card."""
        to.commit_bytes(CARD, card("Images, instructions and VQ tokens", exported).encode())


def image_value(name: str, data: bytes) -> dict[str, Any]:
    """Return an image as `datasets` stores it."""
    return {"bytes": data, "path": name}


def with_features(schema: pa.Schema, images: Iterable[str]) -> pa.Schema:
    """Return a schema whose metadata tell `datasets` which columns are images, or lists of them.

    Raises:
        CorpusError: `datasets` is not installed.
    """
    try:
        from datasets import Features, Image, List
    except ModuleNotFoundError as error:
        raise CorpusError(f"{error}; pip install 'vargpt-corpus[hf]'") from error
    features = Features.from_arrow_schema(schema)
    for name in images:
        features[name] = List(Image()) if pa.types.is_list(schema.field(name).type) else Image()
    return features.arrow_schema


def card(title: str, exported: Mapping[str, Sequence[Exported]]) -> str:
    """Return the card: the configurations, and the samples and licences of each subset."""
    splits: dict[str, list[dict[str, str]]] = {}
    for name in exported:
        subset = SUBSETS[name]
        split = "held_out" if subset.held_out_of else "train"
        files = {"split": split, "path": f"{name}/*.parquet"}
        splits.setdefault(subset.kind.name, []).append(files)
    configs = [{"config_name": name, "data_files": files} for name, files in splits.items()]
    head = yaml.safe_dump({"configs": configs}, sort_keys=False)
    lines = ["| subset | samples | licence |", "|---|---:|---|"]
    for name, shards in exported.items():
        licences = Counter[str]()
        for each in shards:
            licences.update(each.licences)
        ordered = sorted(licences.items(), key=lambda item: (-item[1], item[0]))
        lines += [f"| {name} | {count:,} | {_cell(which)} |" for which, count in ordered[:SHOWN]]
        if further := ordered[SHOWN:]:
            count = sum(count for _, count in further)
            lines.append(f"| {name} | {count:,} | {len(further):,} further licences |")
    table = "\n".join(lines)
    return (
        f"---\n{head}---\n\n# {title}\n\n{table}\n\n"
        "The column `licence` has the licence of each sample, `source` and `url` its origin.\n"
    )


def _cell(licence: str) -> str:
    """Return a licence as a cell of a table; a stranger wrote it.

    >>> _cell("CC0 | [x]")
    '`CC0 / [x]`'
    """
    shown = " ".join(licence.replace("|", "/").replace("`", "'").split())
    return f"`{shown}`" if shown else "unknown"
