"""caption: choose the words of every kept row; the source's original stays in `sources/`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.runtime.images import named
from pipelines.runtime.sidecar import Reject, read_table, sidecar_path
from pipelines.runtime.stage import Outcome
from pipelines.stages.source_text import CaptionEngine, SourceText
from schemas.recipe import CaptionConfig
from schemas.store.storage import Storage
from schemas.tables import CAPTIONS


@dataclass(frozen=True, kw_only=True)
class Caption:
    """Caption the selected rows of one shard."""

    name: ClassVar[str] = "caption"
    folder: ClassVar[str] = "captions"
    inputs: ClassVar[tuple[str, ...]] = ("sources", "selection")
    version: ClassVar[int] = 2
    decodes: ClassVar[bool] = False

    config: CaptionConfig

    def settings(self, shard: int, store: Storage) -> Any:
        """Return the engine's settings."""
        return self.config.model_dump(mode="json")

    def process(self, shard: int, store: Storage, scratch: Path) -> Outcome:
        """Write `captions/NNNNN.parquet`."""
        kept = selected_keys(shard, store)
        sources = read_table(store, sidecar_path("sources", shard))
        rows = sources.filter(pc.is_in(sources["key"], kept)).to_pylist()
        written = self._engine()(rows)
        captions: list[dict[str, str]] = []
        rejects: list[Reject] = []
        for row, text in zip(rows, written, strict=True):
            if text.caption:
                captions.append(
                    {"key": row["key"], "caption": text.caption, "caption_origin": text.origin}
                )
            else:
                why = Reject(id=row["key"], reason=text.reason, detail=text.detail, dropped=True)
                rejects.append(why)
        table = pa.Table.from_pylist(captions, schema=CAPTIONS)
        return Outcome(table=table, rows_in=len(rows), rejects=named(rejects, shard, store))

    def _engine(self) -> CaptionEngine:
        return SourceText(self.config)


def selected_keys(shard: int, store: Storage) -> pa.Array:
    """Return the keys that select kept of one shard, in key order."""
    selection = read_table(store, sidecar_path("selection", shard), ["key", "kept"])
    return selection.filter(selection["kept"])["key"].combine_chunks()
