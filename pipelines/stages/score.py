"""score: score the images that pass the rules on measured signals, by models on GPU workers."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from filters.cleaning import clean
from filters.rules import columns_in, measured_first, passing
from filters.scorer import Device, Scorer
from filters.scores.registry import columns_of, make_scorer
from filters.text import primary_text
from pipelines.runtime.device import DeviceClock
from pipelines.runtime.gpu import require_gpu
from pipelines.runtime.images import UNREADABLE_BYTES, batches, named, read_each
from pipelines.runtime.sidecar import Reject, column, read_origin, read_table, sidecar_path
from pipelines.runtime.stage import MapStage, ShardResult
from pipelines.runtime.values import read_values
from pipelines.scores.batches import ScoreBatches, ScoreRequest
from pipelines.sources.plan import read_plan
from schemas.fingerprint import fingerprint
from schemas.recipe import DecodeConfig, Recipe
from schemas.rule_config import Rule, decided
from schemas.score_config import ScoreConfig
from schemas.sections import Gpu
from schemas.store.storage import CorpusError, Storage
from schemas.tables import SCORES

READ_ROWS = 64
METHOD_VERSION = 1  # raised when scores change for the same image; that of the stage is another
METHOD, SCORER = b"method", b"scorer"  # metadata of a column of scores


@dataclass(frozen=True, kw_only=True)
class Score(MapStage):
    """Score the rows of one shard that pass the rules which need no score.

    Other rows stay, without scores: `select` drops them. Scores of an earlier build are taken over
    where the same scorer made them of the same image and text.
    """

    folder: ClassVar[str] = "scores"
    reads: ClassVar[tuple[str, ...]] = ("sources", "raw", "signals")
    decides: ClassVar[tuple[str, ...]] = ("score", "select", "sources", "decode")
    decodes: ClassVar[bool] = True
    retries: ClassVar[bool] = True

    config: ScoreConfig
    decode: DecodeConfig
    rules: Mapping[str, Mapping[str, Rule]]  # by source, then by column
    rows_of: str = "signals"

    @classmethod
    def from_recipe(cls, recipe: Recipe, rows_of: str) -> "Score":
        """Return the stage as a recipe has it."""
        return cls(
            config=recipe.score,
            decode=recipe.decode,
            rules=recipe.rules_by_source(),
            rows_of=rows_of,
        )

    def schema(self) -> pa.Schema:
        """Return the schema of the side-cars: the key, what was scored, a column a score.

        The metadata of a score names its scorer, weights and preprocessing.
        """
        fields = [*SCORES]
        for scorer in self._scorers:
            about: dict[bytes | str, bytes | str] = {
                b"meaning": b"",
                SCORER: json.dumps(dict(scorer.identity()), sort_keys=True).encode(),
                METHOD: self._method(scorer).encode(),
            }
            for made in scorer.columns:
                about[b"meaning"] = made.meaning.encode()
                fields.append(made.field.with_nullable(True).with_metadata(about))
        return pa.schema(fields)

    @property
    def gpu(self) -> Gpu | None:
        """The GPUs of the recipe."""
        return self.config.gpu if self.config.scorers else None

    def settings(self, shard: int, store: Storage) -> Any:
        """Return the scorers, how images are decoded, and which rows are scored."""
        if not self.config.scorers:
            return []
        methods = [[scorer.columns[0].name, self._method(scorer)] for scorer in self._scorers]
        return [methods, decided(self._rules(shard, store))]

    def process(self, shard: int, store: Storage, scratch: Path) -> ShardResult:
        """Write `scores/NNNNN.parquet`."""
        raw = self.rows("raw", shard, store)
        rows = self.asked(raw, shard, store)
        known = self._known(shard, store, rows)
        rejects: dict[str, Reject] = {}
        clock = DeviceClock()
        todo = {row["key"]: self._missing(known.get(row["key"], {})) for row in rows}
        self._score([row for row in rows if todo[row["key"]]], todo, store, known, rejects, clock)
        found = named(rejects.values(), shard, store)
        keys = [key for key in column(raw, "key") if key not in rejects]
        about = {row["key"]: row for row in rows}
        blank = {"image_sha256": "", "text_digest": ""}
        table = pa.Table.from_pylist(
            [{**blank, **about.get(key, {}), **known.get(key, {}), "key": key} for key in keys],
            schema=self.schema(),
        )
        return ShardResult(
            table=table,
            rows_in=raw.num_rows,
            rejects=found,
            waited=clock.share,
        )

    @property
    def _scorers(self) -> tuple[Scorer, ...]:
        """The scorers, for what they say of themselves; no model is loaded."""
        described = Device(precision=self.config.precision)
        return tuple(make_scorer(config, described) for config in self.config.scorers)

    def _method(self, scorer: Scorer) -> str:
        """Hash all that decides a scorer's values beside image and text."""
        decode = self.decode.decides()
        precision = self.config.precision
        return fingerprint(METHOD_VERSION, dict(scorer.identity()), precision, decode)

    def _rules(self, shard: int, store: Storage) -> dict[str, Rule]:
        """Return the rules of the shard's source that read no score."""
        scored = {each.name for each in columns_of(self.config.scorers)}
        return measured_first(self.rules[read_plan(store)[shard].source], scored)[0]

    def asked(self, raw: pa.Table, shard: int, store: Storage) -> list[dict[str, Any]]:
        """Return the rows to score, with their text and the digest of it."""
        if not self.config.scorers:
            return []
        rules = self._rules(shard, store)
        keys = raw["key"].combine_chunks()
        names = [*columns_in(rules), "text", "title"]
        values = read_values(store, shard, keys, list(dict.fromkeys(names)), ("signals",))
        passes = passing(values, rules)
        texts = map(primary_text, column(values, "text"), column(values, "title"))
        rows = raw.append_column("described", pa.array(map(clean, texts), pa.string()))
        return [
            {
                **row,
                "image_sha256": row["sha256"],
                "text_digest": blake2b(row["described"].encode(), digest_size=16).hexdigest(),
            }
            for row in rows.filter(passes).to_pylist()
        ]

    def _known(
        self, shard: int, store: Storage, rows: Sequence[dict[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        """Return the scores of an earlier build, by row: of the same method, image and text."""
        path = sidecar_path(self.folder, shard)
        if not rows or read_origin(store, path) is None:
            return {}
        before, schema = read_table(store, path), self.schema()
        same = [
            made.name
            for made in list(schema)[len(SCORES) :]
            if made.name in before.schema.names
            and (before.schema.field(made.name).metadata or {}).get(METHOD)
            == (made.metadata or {})[METHOD]
        ]
        found = {row["key"]: row for row in before.select([*SCORES.names, *same]).to_pylist()}
        return {
            row["key"]: {name: old[name] for name in same if old[name] is not None}
            for row in rows
            if (old := found.get(row["key"]))
            and (old["image_sha256"], old["text_digest"])
            == (row["image_sha256"], row["text_digest"])
        }

    def _missing(self, known: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the numbers of the scorers that a row has no scores of."""
        return tuple(
            number
            for number, scorer in enumerate(self._scorers)
            if any(made.name not in known for made in scorer.columns)
        )

    def _score(
        self,
        rows: Sequence[dict[str, Any]],
        todo: Mapping[str, tuple[int, ...]],
        store: Storage,
        known: dict[str, dict[str, Any]],
        rejects: dict[str, Reject],
        clock: DeviceClock,
    ) -> None:
        """Put the scores that are missing into `known`, and the images without into `rejects`."""
        if not rows:
            return
        if gpu := self.gpu:
            require_gpu(self.name, f"score.gpu ({gpu.type})", "--set score.gpu=null")
        work = ScoreBatches(config=self.config, decode=self.decode, clock=clock)
        for result in work.run(self._requests(rows, todo, store, rejects)):
            if isinstance(result, Reject):
                rejects.setdefault(result.id, result)
            else:
                known.setdefault(result.key, {}).update(result.values)

    def _requests(
        self,
        rows: Sequence[dict[str, Any]],
        todo: Mapping[str, tuple[int, ...]],
        store: Storage,
        rejects: dict[str, Reject],
    ) -> Iterator[ScoreRequest]:
        for batch in batches(rows, READ_ROWS):
            for row, body in zip(batch, read_each(batch, store), strict=True):
                key = row["key"]
                if isinstance(body, CorpusError):
                    rejects[key] = Reject(id=key, reason=UNREADABLE_BYTES, detail=str(body))
                else:
                    yield ScoreRequest(key=key, body=body, text=row["described"], scorers=todo[key])
