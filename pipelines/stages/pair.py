"""pair: turn every caption into an instruction pair."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from pipelines.runtime.images import named
from pipelines.runtime.sidecar import Reject, read_table, sidecar_path
from pipelines.runtime.stage import Outcome
from pipelines.templates.template_file import (
    Conversation,
    converse,
    load_templates,
    templates_sha256,
)
from schemas.markers import IMAGE_GEN, marker_in
from schemas.recipe import PairConfig
from schemas.store.storage import Storage
from schemas.tables import PAIRS


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Write the messages of one shard."""

    name: ClassVar[str] = "pair"
    folder: ClassVar[str] = "pairs"
    inputs: ClassVar[tuple[str, ...]] = ("captions",)
    version: ClassVar[int] = 2
    decodes: ClassVar[bool] = False

    config: PairConfig

    def settings(self, shard: int, store: Storage) -> Any:
        """Return what the template file holds, not where it lies, and how captions are put in."""
        sha256 = self.config.templates_sha256 or templates_sha256(self.config.templates)
        return [sha256, self.config.faithful]

    def process(self, shard: int, store: Storage, scratch: Path) -> Outcome:
        """Write `pairs/NNNNN.parquet`."""
        templates = load_templates(self.config.templates, sha256=self.config.templates_sha256)
        captions = read_table(store, sidecar_path("captions", shard)).to_pylist()
        pairs: list[dict[str, Any]] = []
        rejects: list[Reject] = []
        for row in captions:
            key, caption = row["key"], row["caption"]
            pair = converse(templates, key, caption, faithful=self.config.faithful)
            if marker := _marker(caption, pair):
                detail = f"caption {caption!r:.200} spells {marker!r}, a token of chat templates"
                rejects.append(Reject(id=key, reason="marker_in_caption", detail=detail))
                continue
            messages = [
                {"role": "user", "content": pair.user},
                {"role": "assistant", "content": pair.assistant},
            ]
            pairs.append({"key": key, "messages": messages, "template": pair.template})
        table = pa.Table.from_pylist(pairs, schema=PAIRS)
        return Outcome(table=table, rows_in=len(captions), rejects=named(rejects, shard, store))


def _marker(caption: str, pair: Conversation) -> str:
    """Return the first token that a caption spells, by itself or with the words around it."""
    texts = (caption, pair.user, pair.assistant.removesuffix(IMAGE_GEN))
    return next(filter(None, map(marker_in, texts)), "")
