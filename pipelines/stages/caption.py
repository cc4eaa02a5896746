"""caption: choose the words of every kept row; the source's original stays in `sources/`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from pipelines.runtime.images import named
from pipelines.runtime.sidecar import Reject
from pipelines.runtime.stage import MapStage, ShardResult
from pipelines.stages.source_text import CaptionEngine, SourceText
from schemas.caption_config import CaptionConfig
from schemas.recipe import Recipe
from schemas.store.storage import Storage
from schemas.tables import CAPTIONS


@dataclass(frozen=True, kw_only=True)
class Caption(MapStage):
    """Caption the selected rows of one shard."""

    folder: ClassVar[str] = "captions"
    reads: ClassVar[tuple[str, ...]] = ("sources",)
    version: ClassVar[int] = 2
    decides: ClassVar[tuple[str, ...]] = ("caption",)
    repeats: ClassVar[bool] = True

    config: CaptionConfig
    rows_of: str = "duplicates"

    @classmethod
    def from_recipe(cls, recipe: Recipe, rows_of: str) -> "Caption":
        """Return the stage as a recipe has it."""
        return cls(config=recipe.caption, rows_of=rows_of)

    def schema(self) -> pa.Schema:
        """Return the schema of the side-cars."""
        return CAPTIONS

    def settings(self, shard: int, store: Storage) -> Any:
        """Return the engine's settings."""
        return self.config.model_dump(mode="json")

    def process(self, shard: int, store: Storage, scratch: Path) -> ShardResult:
        """Write `captions/NNNNN.parquet`."""
        rows = self.rows("sources", shard, store).to_pylist()
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
        return ShardResult(table=table, rows_in=len(rows), rejects=named(rejects, shard, store))

    def _engine(self) -> CaptionEngine:
        return SourceText(self.config)
