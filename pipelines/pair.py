"""pair: turn every caption into an instruction pair."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from pipelines.sidecar import Reject, read_table, sidecar_path
from pipelines.stage import Outcome
from pipelines.storage import Storage
from pipelines.template_file import converse, load_templates, templates_sha256
from schemas.recipe import Pair as PairRecipe
from schemas.sample import IMAGE, IMAGE_GEN
from schemas.tables import PAIRS


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Write the messages of one shard."""

    name: ClassVar[str] = "pair"
    folder: ClassVar[str] = "pairs"
    inputs: ClassVar[tuple[str, ...]] = ("captions",)
    version: ClassVar[int] = 1
    decodes: ClassVar[bool] = False

    recipe: PairRecipe

    def settings(self, shard: int, store: Storage) -> Any:
        """Return what the template file holds, not where it lies."""
        return self.recipe.templates_sha256 or templates_sha256(self.recipe.templates)

    def process(self, shard: int, store: Storage, scratch: Path) -> Outcome:
        """Write `pairs/NNNNN.parquet`."""
        templates = load_templates(self.recipe.templates, sha256=self.recipe.templates_sha256)
        captions = read_table(store, sidecar_path("captions", shard)).to_pylist()
        pairs: list[dict[str, Any]] = []
        rejects: list[Reject] = []
        for row in captions:
            key, caption = row["key"], row["caption"]
            if IMAGE_GEN in caption or IMAGE in caption:
                detail = f"caption {caption!r:.200} holds a marker"
                rejects.append(Reject(id=key, reason="marker_in_caption", detail=detail))
                continue
            pair = converse(templates, key, caption)
            messages = [
                {"role": "user", "content": pair.user},
                {"role": "assistant", "content": pair.assistant},
            ]
            pairs.append({"key": key, "messages": messages, "template": pair.template})
        table = pa.Table.from_pylist(pairs, schema=PAIRS)
        return Outcome(table=table, rows_in=len(captions), rejects=rejects)
