"""ingest: read lists of samples and give every row its key."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from pipelines.runtime.ownership import own_sidecar
from pipelines.runtime.sidecar import Reject
from pipelines.runtime.stage import MapStage, ShardResult, is_fresh
from pipelines.sources.listing import Listed, PassedOver
from pipelines.sources.plan import read_plan
from pipelines.sources.readers import make_reader
from pipelines.sources.roles import key_of
from schemas.keys import shard_name
from schemas.licences import is_restricted
from schemas.recipe import CrawlConfig, Recipe
from schemas.source_config import Source
from schemas.store.storage import Storage
from schemas.subsets import UNDERSTAND
from schemas.tables import SOURCES

RESTRICTED = "restricted_licence"


@dataclass(frozen=True, kw_only=True)
class Ingest(MapStage):
    """Read one unit of the plan; rows come out in key order, each key once."""

    folder: ClassVar[str] = "sources"
    version: ClassVar[int] = 4  # 4: samples of several images
    decides: ClassVar[tuple[str, ...]] = ("sources", "rows_per_shard", "crawl")

    sources: tuple[Source, ...]
    crawl: CrawlConfig

    @classmethod
    def from_recipe(cls, recipe: Recipe, rows_of: str) -> "Ingest":
        """Return the stage as a recipe has it."""
        return cls(sources=recipe.sources, crawl=recipe.crawl, rows_of=rows_of)

    def schema(self) -> pa.Schema:
        """Return the schema of the side-cars."""
        return SOURCES

    def settings(self, shard: int, store: Storage) -> Any:
        """Return the unit and its source."""
        unit = read_plan(store)[shard]
        source = self._source(unit.source)
        listed = source.model_dump(mode="json", exclude={*source.OF_LATER_STAGES})
        return [asdict(unit), listed]

    def process(self, shard: int, store: Storage, scratch: Path) -> ShardResult:
        """Write `sources/NNNNN.parquet`."""
        unit = read_plan(store)[shard]
        source = self._source(unit.source)
        rows: dict[str, dict[str, Any]] = {}
        rejects: list[Reject] = []
        passed_over: Counter[str] = Counter()
        rows_in = 0
        for row in make_reader(source, self.crawl).rows(unit):
            if isinstance(row, PassedOver):
                passed_over[row.what] += row.count
                continue
            rows_in += 1
            if isinstance(row, Reject):
                rejects.append(row)
                continue
            made = _source_row(row, source)
            key = made["key"]
            if key in rows:
                detail = f"{row.url!r} stands before in this shard"
                rejects.append(
                    Reject(id=row.id, reason="repeated_url", detail=detail, dropped=True)
                )
            elif not source.allow_non_commercial and is_restricted(made["licence"]):
                detail = f"licence {made['licence']!r} forbids commercial use or changes"
                rejects.append(Reject(id=row.id, reason=RESTRICTED, detail=detail, dropped=True))
            else:
                rows[key] = made
        table = pa.Table.from_pylist([rows[key] for key in sorted(rows)], schema=SOURCES)
        return ShardResult(table=table, rows_in=rows_in, rejects=rejects, passed_over=passed_over)

    def _source(self, name: str) -> Source:
        return next(source for source in self.sources if source.name == name)


def fresh_rows(recipe: Recipe, store: Storage, shard: int) -> int | None:
    """Return how many rows ingest read for a shard; None if it must read them again."""
    stage = Ingest.from_recipe(recipe, "")
    path = f"{shard_name(shard)}.parquet"
    origin = own_sidecar(store, stage.folder, path) if is_fresh(stage, shard, store) else None
    return None if origin is None else origin.counts.rows_in


def _source_row(row: Listed, source: Source) -> dict[str, Any]:
    made = {
        "source": source.name,
        "url": row.url,
        "place": row.place,
        "text": row.text,
        "title": row.title,
        "tags": list(row.tags),
        "licence": row.licence or source.licence,
        "author": row.author,
        "images": [asdict(image) for image in row.images],
        "turns": [asdict(turn) for turn in row.turns],
        "edit_type": row.edit_type,
        "scores": list(row.scores),
        "origin": row.origin or (row.url if source.subset == UNDERSTAND.name else ""),
        "listed": row.listed,
    }
    return {"key": key_of(source.name, made), **made}
