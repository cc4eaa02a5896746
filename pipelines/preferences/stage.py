"""The preferences stage: draw images of every prompt, choose a pair, write pairs as a shard.

A shard of prompts is the unit of work, of retry and of durability, and becomes one output shard.
Keys are hashes, so prompts lie in random order without a shuffle.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa

from model.preferences.pairs import Dropped, choose
from model.preferences.sampling import Drawn
from pipelines.preferences.drawing import Drawing, scores_of
from pipelines.preferences.inputs import Prepared
from pipelines.preferences.sample import facts_of, sample_json, sample_members
from pipelines.preferences.tools import Tools, ToolsPlan, tools
from pipelines.runtime.gpu import require_gpu
from pipelines.runtime.sidecar import (
    Counts,
    Reject,
    make_origin,
    read_table,
    sidecar_path,
    write_sidecar,
)
from pipelines.runtime.stage import MapStage, ShardResult
from pipelines.shards.tar_writer import TarWriter, describe_tar
from pipelines.shards.write_shard import FOLDER, output_name
from schemas.fingerprint import fingerprint
from schemas.recipe import DecodeConfig, ShardConfig
from schemas.sample import CONTRACT_VERSION
from schemas.sections import Gpu
from schemas.store.storage import Storage
from schemas.subsets import Subset
from schemas.tables import PREFERENCES, SHARD_INDEX

PairsOf = Literal["paper", "scored"]
"""paper: the image of the prompt is chosen over the model's; scored: the model's best image is
chosen over its worst."""


@dataclass(frozen=True, kw_only=True)
class MakePreferences(MapStage):
    """The stage that makes the pairs of one shard of prompts."""

    name: ClassVar[str] = "preferences"
    folder: ClassVar[str] = "preferences"
    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("prompts",)
    decodes: ClassVar[bool] = True

    tools: ToolsPlan
    pairs: PairsOf
    samples: int  # images drawn a prompt
    margin: float  # smallest difference of scores between chosen and rejected
    batch: int  # images drawn at once
    subset: Subset
    member: str  # name of the codes' member, without `chosen.` or `rejected.`
    shard: ShardConfig
    decode: DecodeConfig
    gpu: Gpu | None = None
    rows_of: str = "prompts"

    def schema(self) -> pa.Schema:
        """Return the schema of the side-cars."""
        return PREFERENCES

    def settings(self, shard: int, store: Storage) -> Any:
        """Return the settings that decide the pairs."""
        return self.made_by()

    def made_by(self) -> dict[str, Any]:
        """Return model, sampling, scorer, and how pairs are chosen and written.

        The batch size is included: it can change the last digit of a float, and so a code.
        """
        plain = ("pairs", "samples", "margin", "batch", "member")
        return {
            "contract": CONTRACT_VERSION,
            **self.tools.settings(),
            **{name: getattr(self, name) for name in plain},
            "subset": self.subset.name,
            "shard": self.shard.model_dump(mode="json"),
            "decode": self.decode.model_dump(mode="json"),
        }

    def process(self, shard: int, store: Storage, scratch: Path) -> ShardResult:
        """Write `shards/SUBSET-NNNNNN.tar` and its index, and `preferences/NNNNN.parquet`."""
        if self.gpu:
            require_gpu(self.name, f"--gpu {self.gpu.type}", "the same command without it")
        loaded = tools(self.tools)
        rows = read_table(store, sidecar_path("prompts", shard)).to_pylist()
        rejects: list[Reject] = []
        described: list[dict[str, Any]] = []
        samples: dict[str, dict[str, bytes]] = {}
        drawing = Drawing(
            store=store,
            decode=self.decode,
            samples=self.samples,
            batch=self.batch,
            with_given=self.pairs == "paper",
        )
        for prepared, drawn in drawing(rows, loaded, rejects):
            pair = self._pair(prepared, drawn, loaded)
            if isinstance(pair, Reject):
                rejects.append(pair)
                continue
            described.append(pair)
            samples[pair["key"]] = self._sample(prepared, drawn, pair)
        described.sort(key=lambda row: row["key"])
        return ShardResult(
            table=pa.Table.from_pylist(described, schema=PREFERENCES),
            rows_in=len(rows),
            rejects=rejects,
            files=self._files(shard, scratch, samples) if samples else {},
        )

    def _pair(
        self, prepared: Prepared, drawn: Sequence[Drawn], loaded: Tools
    ) -> dict[str, Any] | Reject:
        """Return the chosen pair as a row of PREFERENCES, or the reason why there is none."""
        key, scores = prepared.row["key"], scores_of(prepared, drawn, loaded)
        if not all(map(math.isfinite, scores)):
            return Reject(id=key, reason="score_not_finite", detail=f"scores {scores}")
        given = scores.pop() if scores and prepared.given is not None else 0.0
        pair = choose(scores, given if prepared.given is not None else None, self.margin)
        if isinstance(pair, Dropped):
            return Reject(id=key, reason=pair.reason, detail=pair.detail, dropped=True)
        return {
            "key": key,
            "seeds": [each.seed for each in drawn],
            "scores": scores,
            "given_score": given,
            "chosen": pair.chosen,
            "rejected": pair.rejected,
            "margin": pair.margin,
            "model": self.tools.model_sha256,
            "device": loaded.device,
        }

    def _sample(
        self, prepared: Prepared, drawn: Sequence[Drawn], pair: dict[str, Any]
    ) -> dict[str, bytes]:
        json = sample_json(prepared.row, pair, facts_of(self.made_by()), self.subset)
        return sample_members(prepared, drawn, pair, json, self.member, self.subset, self.shard)

    def _files(
        self, shard: int, scratch: Path, samples: Mapping[str, Mapping[str, bytes]]
    ) -> dict[str, Path]:
        """Write tar and index to `scratch`; return their paths by the names to publish."""
        tar = scratch / "shard.tar"
        with TarWriter(tar) as writer:
            rows = [row for key in sorted(samples) for row in writer.add_sample(key, samples[key])]
        index = pa.Table.from_pylist(rows, schema=SHARD_INDEX)
        made_of = fingerprint(self.name, self.version, self.made_by())
        counts = Counts(rows_in=len(samples), kept=len(samples))
        origin = make_origin(self.name, made_of, index, counts, tar=describe_tar(tar))
        write_sidecar(Storage(str(scratch)), "index.parquet", index, origin)
        name = f"{FOLDER}/{output_name(self.subset.name, shard)}"
        return {f"{name}.tar": tar, f"{name}.parquet": scratch / "index.parquet"}
