"""preferences: draw images of every prompt, choose one over another, write them as a shard.

The unit of work, of retry and of durability is a shard of prompts, which becomes one output shard:
keys are hashes, so that neighbours have nothing in common, and nothing need be shuffled.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa
from PIL.Image import Image

from model.preferences.pairs import (
    GIVEN,
    Dropped,
    Pair,
    best_and_worst,
    given_and_first,
    given_and_worst,
)
from model.preferences.sampling import Drawn
from model.preferences.scorers import scored
from model.tokenizers.protocol import CodeArray
from pipelines.preference_inputs import Prepare, Prepared
from pipelines.preference_tools import Tools, ToolsPlan, tools
from pipelines.sidecar import Counts, Reject, make_origin, read_table, sidecar_path, write_sidecar
from pipelines.stage import Outcome
from pipelines.storage import Storage
from pipelines.tar_writer import write_samples
from pipelines.tokenizers import device_lock
from pipelines.write_shard import FOLDER, jpeg, npy, output_name
from schemas.fingerprint import fingerprint
from schemas.recipe import Decode
from schemas.recipe import Shard as ShardRecipe
from schemas.sample import CONTRACT_VERSION, PREFERENCE_FIELDS, encode_json
from schemas.tables import PREFERENCES, SHARD_INDEX

PairsOf = Literal["paper", "scored"]
"""paper: the image that a prompt came with over the model's; scored: the model's best over its
worst."""


@dataclass(frozen=True, kw_only=True)
class MakePreferences:
    """Make the pairs of one shard of prompts."""

    name: ClassVar[str] = "preferences"
    folder: ClassVar[str] = "preferences"
    inputs: ClassVar[tuple[str, ...]] = ("prompts",)
    version: ClassVar[int] = 1
    decodes: ClassVar[bool] = True

    tools: ToolsPlan
    pairs: PairsOf
    samples: int  # images that the model draws of a prompt
    margin: float  # least difference of scores
    batch: int  # images drawn at once
    subset: str  # preference, or preference_edit where the prompts edit images
    member: str  # of the codes
    shard: ShardRecipe
    decode: Decode

    def settings(self, shard: int, store: Storage) -> Any:
        """Return model, sampling, scorer, and how pairs are chosen and written.

        The size of a batch is among them: it decides the last place of a float, and so, now and
        then, a bit.
        """
        plain = [self.pairs, self.samples, self.margin, self.batch, self.subset, self.member]
        written = [each.model_dump(mode="json") for each in (self.shard, self.decode)]
        return [CONTRACT_VERSION, self.tools.settings(), plain, written]

    def process(self, shard: int, store: Storage, scratch: Path) -> Outcome:
        """Write `shards/SUBSET-NNNNNN.tar` and its index, and `preferences/NNNNN.parquet`."""
        loaded = tools(self.tools)
        rows = read_table(store, sidecar_path("prompts", shard)).to_pylist()
        rejects: list[Reject] = []
        described: list[dict[str, Any]] = []
        samples: dict[str, dict[str, bytes]] = {}
        for prepared, drawn in self._drawn(rows, loaded, store, rejects):
            made = self._pair(prepared, drawn, loaded)
            if isinstance(made, Reject):
                rejects.append(made)
                continue
            described.append(made.row)
            samples[made.row["key"]] = made.members
        described.sort(key=lambda row: row["key"])
        return Outcome(
            table=pa.Table.from_pylist(described, schema=PREFERENCES),
            rows_in=len(rows),
            rejects=rejects,
            files=self._files(shard, store, scratch, samples) if samples else {},
        )

    def _drawn(
        self,
        rows: Sequence[dict[str, Any]],
        loaded: Tools,
        store: Storage,
        rejects: list[Reject],
    ) -> Iterator[tuple[Prepared, list[Drawn]]]:
        """Yield each prompt and its images, in batches of one shape."""
        prepare = Prepare(
            tools=loaded,
            store=store,
            decode=self.decode,
            samples=self.samples,
            with_given=self.pairs == "paper",
        )
        prompts = max(1, self.batch // self.samples)
        for aspect in sorted({row["aspect"] for row in rows}):
            waiting: list[Prepared] = []
            mine = [row for row in rows if row["aspect"] == aspect]
            for number, row in enumerate(mine, start=1):
                with device_lock:
                    prepared = prepare(row)
                if isinstance(prepared, Reject):
                    rejects.append(prepared)
                else:
                    waiting.append(prepared)
                if waiting and (len(waiting) == prompts or number == len(mine)):
                    yield from self._draw(waiting, loaded, aspect)
                    waiting = []

    def _draw(
        self, batch: Sequence[Prepared], loaded: Tools, aspect: float
    ) -> list[tuple[Prepared, list[Drawn]]]:
        asked = [prepared.prompt for prepared in batch]
        with device_lock:
            drawn = loaded.sampler.draw(asked, loaded.tokenizer(aspect))
        return list(zip(batch, drawn, strict=True))

    def _pair(self, prepared: Prepared, drawn: Sequence[Drawn], loaded: Tools) -> "_Made | Reject":
        key = prepared.row["key"]
        scores = self._scores(prepared, drawn, loaded)
        if not all(map(math.isfinite, scores)):
            return Reject(id=key, reason="score_not_finite", detail=f"scores {scores}")
        given_score = scores.pop() if scores and prepared.given is not None else 0.0
        if not scores:
            pair: Pair | Dropped = given_and_first()
        elif prepared.given is not None:
            pair = given_and_worst(given_score, scores, self.margin)
        else:
            pair = best_and_worst(scores, self.margin)
        if isinstance(pair, Dropped):
            return Reject(id=key, reason=pair.reason, detail=pair.detail, dropped=True)
        return _Made(
            row={
                "key": key,
                "seeds": [each.seed for each in drawn],
                "scores": scores,
                "given_score": given_score,
                "chosen": pair.chosen,
                "rejected": pair.rejected,
                "margin": pair.margin,
                "model": self.tools.model_sha256,
                "device": loaded.device,
            },
            members=self._members(prepared, drawn, pair, scores, given_score),
        )

    def _scores(self, prepared: Prepared, drawn: Sequence[Drawn], loaded: Tools) -> list[float]:
        """Score the drawn images, and last the given one if there is one; [] without a scorer."""
        if loaded.scorer is None:
            return []
        images = [each.image for each in drawn]
        images += [] if prepared.given is None else [prepared.given]
        with device_lock:
            return scored(loaded.scorer, images, [prepared.row["text"]] * len(images))

    def _members(
        self,
        prepared: Prepared,
        drawn: Sequence[Drawn],
        pair: Pair,
        scores: Sequence[float],
        given_score: float,
    ) -> dict[str, bytes]:
        row, plan = prepared.row, self.tools
        names = ("key", "messages", "source")
        chosen_image, chosen_codes = _image(prepared, drawn, pair.chosen)
        rejected_image, rejected_codes = _image(prepared, drawn, pair.rejected)
        is_given = pair.chosen == GIVEN
        sample = {name: row[name] for name in names} | {
            "prompt": row["text"],
            "url": row["url"] if is_given else "",
            "licence": row["licence"] if is_given else "",
            "pairs": self.pairs,
            "chosen_seed": "" if is_given else drawn[pair.chosen].seed,
            "rejected_seed": drawn[pair.rejected].seed,
            "chosen_score": given_score if is_given else scores[pair.chosen],
            "rejected_score": scores[pair.rejected] if scores else 0.0,
            "margin": pair.margin,
            "scorer": plan.scorer.name if plan.scorer else "",
            "samples": self.samples,
            "model": plan.model_sha256,
            "sampling": plan.described_sampling(),
            "crop_aspect": row["aspect"],
        }
        members = {
            "chosen.jpg": jpeg(chosen_image, self.shard),
            f"chosen.{self.member}": npy(chosen_codes),
            "json": encode_json(sample, PREFERENCE_FIELDS),
            "rejected.jpg": jpeg(rejected_image, self.shard),
            f"rejected.{self.member}": npy(rejected_codes),
        }
        if prepared.edited is not None:
            members["source.jpg"] = jpeg(prepared.edited, self.shard)
        return members

    def _files(
        self, shard: int, store: Storage, scratch: Path, samples: Mapping[str, Mapping[str, bytes]]
    ) -> dict[str, Path]:
        """Write tar and index, to be published by the caller."""
        tar = scratch / "shard.tar"
        index = pa.Table.from_pylist(write_samples(tar, samples), schema=SHARD_INDEX)
        with open(tar, "rb") as file:
            about = {
                "bytes": tar.stat().st_size,
                "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
            }
        made_of = fingerprint(self.name, self.version, self.settings(shard, store))
        counts = Counts(rows_in=len(samples), kept=len(samples))
        origin = make_origin(self.name, made_of, index, counts, about)
        write_sidecar(Storage(str(scratch)), "index.parquet", index, origin)
        name = f"{FOLDER}/{output_name(self.subset, shard)}"
        return {f"{name}.tar": tar, f"{name}.parquet": scratch / "index.parquet"}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    row: dict[str, Any]  # of schema PREFERENCES
    members: dict[str, bytes]


def _image(prepared: Prepared, drawn: Sequence[Drawn], number: int) -> tuple[Image, CodeArray]:
    if number == GIVEN:
        assert prepared.given is not None
        assert prepared.codes is not None
        return prepared.given, prepared.codes
    return drawn[number].image, drawn[number].codes
