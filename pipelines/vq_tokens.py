"""vq_tokens: turn every kept image into multi-scale codes, once."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.decode import DecodeError
from model.tokenizers.protocol import CodeArray, Tokenizer
from pipelines.caption import selected_keys
from pipelines.images import decode_image, read_images
from pipelines.sidecar import Reject, read_table, sidecar_path
from pipelines.stage import Outcome
from pipelines.storage import CorpusError, Storage
from schemas.fingerprint import fingerprint
from schemas.keys import shard_name
from schemas.recipe import Decode
from schemas.recipe import VqTokens as VqTokensRecipe
from schemas.tables import TOKENS


@dataclass(frozen=True, kw_only=True)
class VqTokens:
    """Tokenize the selected images of one shard.

    Codes of an earlier build are taken over where the same method made them from the same bytes,
    so a changed selection costs only the images that are new in it.
    """

    name: ClassVar[str] = "vq_tokens"
    folder: ClassVar[str] = "tokens"
    inputs: ClassVar[tuple[str, ...]] = ("raw", "selection")
    version: ClassVar[int] = 1

    recipe: VqTokensRecipe
    decode: Decode

    def settings(self, shard: int, store: Storage) -> Any:
        """Return the tokenizer, its weights, and how images are decoded."""
        recipe = self.recipe.model_dump(mode="json", exclude={"checkpoint", "batch_size"})
        return [recipe, self.decode.model_dump(mode="json")]

    def process(self, shard: int, store: Storage, scratch: Path) -> Outcome:
        """Write `tokens/NNNNN.tokens256.npy` and `tokens/NNNNN.parquet`."""
        method = fingerprint(self.name, self.version, self.settings(shard, store))
        raw = read_table(store, sidecar_path("raw", shard))
        rows = raw.filter(pc.is_in(raw["key"], selected_keys(shard, store))).to_pylist()
        codes = _known_codes(shard, store, method, rows)
        rejects: list[Reject] = []
        todo = [row for row in rows if row["key"] not in codes]
        for keys, images in self._prepared(todo, store, rejects):
            codes |= dict(zip(keys, self._encode(images), strict=True))
        return self._outcome(shard, scratch, method, rows, codes, rejects)

    def _prepared(
        self, rows: Sequence[dict[str, Any]], store: Storage, rejects: list[Reject]
    ) -> Iterator[tuple[list[str], np.ndarray]]:
        """Yield keys and uint8 [B, side, side, 3] of the images that can be used."""
        from model.tokenizers.prepare import cover_crop, cover_size

        side = self.recipe.resolution
        for batch in read_images(rows, store, self.recipe.batch_size):
            keys: list[str] = []
            images: list[np.ndarray] = []
            for row, body in batch:
                try:
                    image = decode_image(body, self.decode)
                    width, height = cover_size(image.size, side, side)
                    if width * height > self.decode.max_pixels:
                        detail = f"{image.width} x {image.height} px covers {side} px too widely"
                        raise DecodeError("extreme_aspect", detail)
                except DecodeError as error:
                    rejects.append(Reject(id=row["key"], reason=error.reason, detail=error.detail))
                    continue
                keys.append(row["key"])
                images.append(cover_crop(image, side, side))
            if keys:
                yield keys, np.stack(images)

    def _encode(self, images: np.ndarray) -> list[CodeArray]:
        from model.tokenizers.prepare import to_model_input

        return loaded_tokenizer(self.recipe).encode(to_model_input(images)).pack()

    def _outcome(
        self,
        shard: int,
        scratch: Path,
        method: str,
        rows: Sequence[dict[str, Any]],
        codes: dict[str, CodeArray],
        rejects: Sequence[Reject],
    ) -> Outcome:
        made = [row for row in rows if row["key"] in codes]
        if not made:
            table = TOKENS.empty_table()
            return Outcome(table=table, rows_in=len(rows), rejects=rejects)
        file = f"tokens/{shard_name(shard)}.{self.recipe.member}"
        stacked = np.stack([codes[row["key"]] for row in made])
        local = scratch / "tokens.npy"
        np.save(local, stacked)
        header = local.stat().st_size - stacked.nbytes
        length = stacked[0].nbytes
        described = [
            {
                "key": row["key"],
                "member": self.recipe.member,
                "file": file,
                "offset": header + number * length,
                "length": length,
                "dtype": stacked.dtype.name,
                "method": method,
                "image_sha256": row["sha256"],
                "sha256": hashlib.sha256(stacked[number].tobytes()).hexdigest(),
            }
            for number, row in enumerate(made)
        ]
        table = pa.Table.from_pylist(described, schema=TOKENS)
        return Outcome(table=table, rows_in=len(rows), rejects=rejects, files={file: local})


def loaded_tokenizer(recipe: VqTokensRecipe) -> Tokenizer:
    """Load the recipe's tokenizer, once a process.

    Raises:
        CorpusError: if the checkpoint is not the one that was pinned.
        CheckpointError: if it cannot be read or does not fit.
    """
    return _load(recipe.model_dump_json())


def describe_tokenizer(recipe: VqTokensRecipe) -> dict[str, str | int]:
    """Return what the manifest says of the recipe's tokenizer."""
    return loaded_tokenizer(recipe).describe()


@lru_cache(maxsize=1)
def _load(recipe_json: str) -> Tokenizer:
    import torch

    from model.tokenizers.checkpoint import CheckpointError
    from model.tokenizers.load import load_tokenizer

    recipe = VqTokensRecipe.model_validate_json(recipe_json)
    wanted = recipe.checkpoint_sha256
    # The cores are shared out among processes, and sums split otherwise would round otherwise.
    torch.set_num_threads(1)
    try:
        tokenizer = load_tokenizer(
            recipe.tokenizer,
            preset=recipe.preset,
            checkpoint=recipe.checkpoint,
            seed=recipe.seed,
            device="cuda" if torch.cuda.is_available() else "cpu",
            resolution=recipe.resolution,
        )
    except CheckpointError as error:
        raise CorpusError(f"vq_tokens.checkpoint: {error}") from error
    found = tokenizer.describe()["checkpoint_sha256"]
    if wanted and found != wanted:
        raise CorpusError(f"{recipe.checkpoint}: sha256 is {found}, the recipe says {wanted}")
    return tokenizer


def _known_codes(
    shard: int, store: Storage, method: str, rows: Sequence[dict[str, Any]]
) -> dict[str, CodeArray]:
    """Read the codes that an earlier build made of the same bytes by the same method."""
    path = sidecar_path("tokens", shard)
    if not store.exists(path):
        return {}
    images = {row["key"]: row["sha256"] for row in rows}
    known = [
        row
        for row in read_table(store, path).to_pylist()
        if row["method"] == method and images.get(row["key"]) == row["image_sha256"]
    ]
    try:
        bodies = store.read_ranges([(row["file"], row["offset"], row["length"]) for row in known])
    except CorpusError:  # the array file is gone or was replaced: nothing to take over
        return {}
    return {
        row["key"]: np.frombuffer(body, row["dtype"])
        for row, body in zip(known, bodies, strict=True)
        if hashlib.sha256(body).hexdigest() == row["sha256"]
    }
