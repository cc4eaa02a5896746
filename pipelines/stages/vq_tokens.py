"""vq_tokens: turn every image that has a pair into multi-scale codes, once."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from filters.face_blur import FaceBlur
from pipelines.runtime.device import DeviceClock
from pipelines.runtime.face_boxes import face_blur, read_boxes
from pipelines.runtime.gpu import require_gpu
from pipelines.runtime.images import UNREADABLE_BYTES, batches, named, read_each
from pipelines.runtime.sidecar import Reject, blank_row, read_table, sidecar_path
from pipelines.runtime.spool import Spool
from pipelines.runtime.stage import MapStage, ShardResult
from pipelines.sources.shard_subsets import ShardSubsets
from pipelines.tokens.batches import TokenBatches, TokenRequest
from pipelines.tokens.token_arrays import TokenArrays
from pipelines.tokens.tokenizers import Target, targets
from schemas.fingerprint import fingerprint
from schemas.keys import shard_name
from schemas.recipe import BlurConfig, DecodeConfig, Recipe, VqTokensConfig
from schemas.sections import Gpu
from schemas.store.storage import CorpusError, Storage
from schemas.subsets import SUBSETS, T2I, Subset
from schemas.tables import TOKENS

READ_ROWS = 64
METHOD_VERSION = 4  # raised when codes change for the same image; that of the stage is another

# Columns of TOKENS that are copied when an array of an earlier build is reused.
KEPT_ABOUT = (
    "aspect",
    "device",
    "pass_images",
    "compared",
    "differing",
    "psnr",
    "ssim",
    "method",
    "image_sha256",
)


@dataclass(frozen=True, kw_only=True)
class VqTokens(MapStage):
    """Tokenize the images of one shard that have a pair, at every resolution, by every tokenizer.

    Codes of an earlier build are taken over where the same method made them from the same bytes,
    so a changed selection or caption costs only the images that are new in it, and a further
    resolution only its own codes.
    """

    folder: ClassVar[str] = "tokens"
    reads: ClassVar[tuple[str, ...]] = ("raw",)
    version: ClassVar[int] = 7  # 7: samples of several images, or of none to generate
    decides: ClassVar[tuple[str, ...]] = ("vq_tokens", "decode", "blur")
    row_key: ClassVar[tuple[str, ...]] = ("key", "member")
    decodes: ClassVar[bool] = True
    retries: ClassVar[bool] = True

    config: VqTokensConfig
    decode: DecodeConfig
    blur: BlurConfig | None = None
    subsets: ShardSubsets = field(default_factory=ShardSubsets)
    rows_of: str = "pairs"

    @classmethod
    def from_recipe(cls, recipe: Recipe, rows_of: str) -> "VqTokens":
        """Return the stage as a recipe has it."""
        return cls(
            config=recipe.vq_tokens,
            decode=recipe.decode,
            blur=recipe.blur,
            subsets=ShardSubsets.from_recipe(recipe),
            rows_of=rows_of,
        )

    @property
    def inputs(self) -> tuple[str, ...]:
        """Name the folders that its output depends on; on scores, if faces are blurred."""
        scores = ("scores",) if self.blur else ()
        return (*super().inputs, *scores)

    def schema(self) -> pa.Schema:
        """Return the schema of the side-cars."""
        return TOKENS

    @property
    def gpu(self) -> Gpu | None:
        """The GPUs of the recipe."""
        return self.config.gpu

    @property
    def members(self) -> tuple[str, ...]:
        """Return the members of samples that it makes arrays for."""
        made = [member for target in targets(self.config) for member in target.members]
        subsets = (T2I, *(SUBSETS[name] for _, name in self.subsets.by_source))
        found = (name for subset in subsets for each in made for name in subset.of_images(each))
        return tuple(dict.fromkeys(found))

    def settings(self, shard: int, store: Storage) -> Any:
        """Return the tokenizers, their weights, and how pixels are prepared."""
        made: list[Any] = [[each.members, self._method(each)] for each in targets(self.config)]
        if (subset := self.subsets.of(shard, store)) != T2I:
            made.append(subset.name)
        if self.config.reconstruction:
            made.append(["reconstruction", self.config.min_psnr, self.config.min_ssim])
        if self.blur:
            made.append(["blur", self.blur.model_dump(mode="json")])
        return made

    def process(self, shard: int, store: Storage, scratch: Path) -> ShardResult:
        """Write `tokens/NNNNN.MEMBER` for each member, and `tokens/NNNNN.parquet`."""
        faces = read_boxes(store, shard, self.blur)
        subset = self.subsets.of(shard, store)
        rows = self.rows("raw", shard, store).to_pylist()
        images = [
            image for row in rows for image in generated_images(row, subset, faces, self.blur)
        ]
        clock = DeviceClock()
        with Spool(scratch) as spool:
            arrays = TokenArrays(spool=spool)
            wanted = self._wanted(images)
            _take_over(shard, store, wanted, arrays, measured=self.config.reconstruction)
            found = self._tokenize(images, store, wanted, arrays, clock)
            found |= self._unlike(rows, subset, arrays, found)
            rejects = {reject.id: reject for reject in named(found.values(), shard, store)}
            made = self._outcome(shard, scratch, rows, subset, arrays, rejects)
            return replace(made, waited=clock.share)

    @property
    def methods(self) -> dict[str, str]:
        """The method of each member: a hash of all that decides it beside the image."""
        return {member: self._method(t) for t in targets(self.config) for member in t.members}

    def _wanted(self, rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str], tuple[str, str]]:
        """Map key and member to the method and the sha256 of the image of the array to make."""
        methods = self.methods.items()
        return {
            (row["key"], f"{row['prefix']}{member}"): (blurred(method, row["blur"]), row["sha256"])
            for row in rows
            for member, method in methods
        }

    def _method(self, target: Target) -> str:
        """Hash all that decides the codes of a target beside the image."""
        tokenizer = target.tokenizer.model_dump(
            mode="json", exclude={"name", "checkpoint", "resolutions", "features"}
        )
        recipe = self.config.model_dump(mode="json", include={"aspects", "views", "precision"})
        # Not of codes that were made before there was a choice.
        fit = [] if self.config.fit == "crop" else [self.config.fit]
        decode = self.decode.decides()
        parts = [tokenizer, target.resolution, recipe, decode, *fit]
        return fingerprint(self.name, METHOD_VERSION, *parts)

    def _tokenize(
        self,
        rows: Sequence[dict[str, Any]],
        store: Storage,
        made_of: Mapping[tuple[str, str], tuple[str, str]],
        arrays: TokenArrays,
        clock: DeviceClock,
    ) -> dict[str, Reject]:
        """Put what is that is not there yet; return the images that could not be."""
        missing = [(row, self._missing(row["key"], row["prefix"], arrays)) for row in rows]
        todo = [{**row, "targets": wanted} for row, wanted in missing if wanted]
        if not todo:  # and no library of tensors is loaded for it
            return {}
        if gpu := self.gpu:
            asked = f"vq_tokens.gpu ({gpu.type})"
            require_gpu(self.name, asked, "--set vq_tokens.gpu=null")
        rejects: dict[str, Reject] = {}
        requests = self._requests(todo, store, rejects)
        for result in TokenBatches(recipe=self.config, decode=self.decode, clock=clock).run(
            requests
        ):
            if isinstance(result, Reject):
                rejects.setdefault(result.id, result)
                continue
            key, prefix = result.request.key, result.request.prefix
            for member, array in result.arrays.items():
                method, image = made_of[key, f"{prefix}{member}"]
                about = {**result.about, "method": method, "image_sha256": image}
                arrays.add(key, f"{prefix}{member}", array, about)
        return rejects

    def _unlike(
        self,
        rows: Sequence[dict[str, Any]],
        subset: Subset,
        arrays: TokenArrays,
        found: Mapping[str, Reject],
    ) -> dict[str, Reject]:
        """Return the samples that are dropped: badly drawn by their codes, or of two shapes."""
        least = {"psnr": self.config.min_psnr, "ssim": self.config.min_ssim}
        bounds = {name: bound for name, bound in least.items() if bound is not None}
        codes = [target.members[0] for target in targets(self.config)]
        members = [name for each in codes for name in subset.of_images(each)]
        dropped: dict[str, Reject] = {}
        for row in rows if members else ():
            if (key := row["key"]) in found:
                continue
            aspects = sorted({arrays.about(key, member)["aspect"] for member in members})
            if len(aspects) > 1:
                detail = f"its images have the shapes {aspects}, a pair needs one"
                dropped[key] = Reject(id=key, reason="other_shape", detail=detail, dropped=True)
            for name, bound in bounds.items():
                value, member = min((arrays.about(key, m)[name], m) for m in members)
                if not value >= bound:
                    detail = f"{name} of {member} is {value:.3f}, vq_tokens.min_{name} is {bound}"
                    reject = Reject(id=key, reason=f"{name}_min", detail=detail, dropped=True)
                    dropped.setdefault(key, reject)
        return dropped

    def _missing(self, key: str, prefix: str, arrays: TokenArrays) -> list[Target]:
        """Return the targets whose arrays of an image are not there."""
        return [
            target
            for target in targets(self.config)
            if any((key, f"{prefix}{member}") not in arrays for member in target.members)
        ]

    def _requests(
        self,
        rows: Sequence[dict[str, Any]],
        store: Storage,
        rejects: dict[str, Reject],
    ) -> Iterator[TokenRequest]:
        for batch in batches(rows, READ_ROWS):
            for row, body in zip(batch, read_each(batch, store), strict=True):
                if isinstance(body, CorpusError):
                    rejects[row["key"]] = Reject(
                        id=row["key"], reason=UNREADABLE_BYTES, detail=str(body)
                    )
                else:
                    yield TokenRequest(
                        key=row["key"],
                        body=body,
                        targets=row["targets"],
                        blur=row["blur"],
                        prefix=row["prefix"],
                    )

    def _outcome(
        self,
        shard: int,
        scratch: Path,
        rows: Sequence[dict[str, Any]],
        subset: Subset,
        arrays: TokenArrays,
        rejects: Mapping[str, Reject],
    ) -> ShardResult:
        made = [row["key"] for row in rows if row["key"] not in rejects]
        described: list[dict[str, Any]] = []
        if not subset.generated:
            described += [without_arrays(row) for row in rows]
        files: dict[str, Path] = {}
        names = [member for target in targets(self.config) for member in target.members]
        members = [name for member in names for name in subset.of_images(member)]
        for member in members if made else ():
            local = scratch / member
            file = f"tokens/{shard_name(shard)}.{member}"
            described += [{**row, "file": file} for row in arrays.write(member, made, local)]
            files[file] = local
        described.sort(key=lambda row: (row["key"], row["member"]))
        return ShardResult(
            table=pa.Table.from_pylist(described, schema=TOKENS),
            rows_in=len(rows),
            rejects=list(rejects.values()),
            kept=len(made),
            files=files,
        )


def generated_images(
    row: dict[str, Any], subset: Subset, faces: Mapping[str, Any], blur: BlurConfig | None
) -> Iterator[dict[str, Any]]:
    """Yield the images of a row of `raw/` that are tokenized, with the prefix of their members.

    Args:
        row: the row.
        subset: of the sample.
        faces: boxes by key, of main images alone; a recipe that blurs has no others.
        blur: of the recipe.
    """
    further = {f"{image['role']}.": image for image in row["images"]}
    found = face_blur(faces.get(row["key"], ()), blur)
    for prefix in subset.generated:
        yield {**row, **further.get(prefix, {}), "prefix": prefix, "blur": found}


def without_arrays(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of TOKENS of a sample whose image is only talked about."""
    known = {"key": row["key"], "image_sha256": row["sha256"], "shape": [], "aspect": 1.0}
    return {**blank_row(TOKENS), **known, "psnr": None, "ssim": None}


def blurred(method: str, blur: FaceBlur) -> str:
    """Return the method of an image's codes: another one where faces of it are blurred."""
    return fingerprint(method, blur.margin, blur.boxes) if blur else method


def _take_over(
    shard: int,
    store: Storage,
    wanted: Mapping[tuple[str, str], tuple[str, str]],
    arrays: TokenArrays,
    *,
    measured: bool,
) -> None:
    """Spool the arrays that an earlier build made of the same bytes by the same method.

    Where `measured`, only those whose reconstruction was.
    """
    path = sidecar_path("tokens", shard)
    if not store.exists(path):
        return
    known = [
        row
        for row in read_table(store, path).to_pylist()
        if wanted.get((row["key"], row["member"])) == (row["method"], row["image_sha256"])
        and not (measured and row.get("psnr") is None)
    ]
    for batch in batches(known, READ_ROWS):
        try:
            bodies = store.read_ranges(
                [(row["file"], row["offset"], row["length"]) for row in batch]
            )
        except CorpusError:  # the array file is gone or was replaced: nothing to take over
            continue
        for row, body in zip(batch, bodies, strict=True):
            if hashlib.sha256(body).hexdigest() == row["sha256"]:
                array = np.frombuffer(body, row["dtype"]).reshape(row["shape"])
                about = {name: row.get(name) for name in KEPT_ABOUT}
                if not measured:
                    about |= {"psnr": None, "ssim": None}
                arrays.add(row["key"], row["member"], array, about)
