"""Small corpora by the shard contract, for tests of what reads them in training.

No image is tokenized: codes and features are random, images are one colour.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.tokenizers.protocol import Schedule, count_codes, schedule_text
from pipelines.shards.tar_writer import TarWriter
from schemas.keys import sample_key
from schemas.sample import CONTRACT_VERSION
from schemas.subsets import SUBSETS
from schemas.tables import SHARD_INDEX

SQUARE: Mapping[float, Schedule] = {1.0: ((1, 1), (2, 2), (4, 4))}
SHAPES: Mapping[float, Schedule] = {**SQUARE, 2.0: ((1, 1), (2, 1), (4, 2)), 0.5: ((1, 1), (1, 2))}

Members = dict[str, bytes]


@dataclass(kw_only=True)
class ShardMaker:
    """Writes shards of random samples, the same for the same arguments."""

    tokenizer: NetworkTokenizer
    schedules: Mapping[float, Schedule] = field(default_factory=lambda: SQUARE)
    features: bool = False
    views: int = 1
    manifest: dict[str, Any] = field(default_factory=dict)  # changes to what it says

    def write(self, folder: Path, subsets: Mapping[str, Sequence[int]]) -> Path:
        """Write a corpus: of each subset, shards of so many samples."""
        (folder / "shards").mkdir(parents=True)
        described = {
            subset: self._subset(folder, subset, sizes) for subset, sizes in subsets.items()
        }
        manifest = {
            "contract": CONTRACT_VERSION,
            "tokens": self._described(),
            "subsets": described,
            **self.manifest,
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    def members(self, subset: str, key: str) -> Members:
        """Return the members of one sample."""
        chance = np.random.default_rng(list(bytes.fromhex(key)))
        aspect = list(self.schedules)[int(key, 16) % len(self.schedules)]
        members = {"json": _json(subset, key, aspect)}
        for of in SUBSETS[subset].generated:
            arrays = self._arrays(chance, self.schedules[aspect])
            members |= {f"{of}jpg": _jpeg(chance)}
            members |= {f"{of}{member}": array for member, array in arrays.items()}
        if input_image := SUBSETS[subset].input_image:
            members[input_image] = _jpeg(chance)
        return dict(sorted(members.items()))

    def _arrays(self, chance: np.random.Generator, schedule: Schedule) -> Members:
        of, lead = self.tokenizer, (self.views,) if self.views > 1 else ()
        words = (of.code_words,) if of.code_words > 1 else ()
        shape = (*lead, count_codes(schedule), *words)
        codes = chance.integers(0, of.codes_limit, shape, of.codes_dtype)
        arrays = {"tokens256.npy": _npy(codes)}
        if self.features:
            features = chance.standard_normal((*lead, of.channels, *schedule[-1]))
            arrays["features256.npy"] = _npy(features.astype(np.float16))
        return arrays

    def _subset(self, folder: Path, subset: str, sizes: Sequence[int]) -> dict[str, Any]:
        shards = []
        for number, size in enumerate(sizes):
            path = f"shards/{subset}-{number:06d}.tar"
            source = f"{folder.name} {subset}"
            keys = sorted(sample_key(source, f"{number}/{each}") for each in range(size))
            write_shard(folder / path, {key: self.members(subset, key) for key in keys})
            body = (folder / path).read_bytes()
            shards.append(
                {"path": path, "bytes": len(body), "sha256": sha256(body).hexdigest()}
                | {"samples": size}
            )
        return {"samples": sum(sizes), "shards": shards}

    def _described(self) -> list[dict[str, Any]]:
        common = {
            "resolution": 256,
            "views": self.views,
            "schedules": {str(of): schedule_text(each) for of, each in self.schedules.items()},
            **self.tokenizer.describe(),
        }
        codes = {"member": "tokens256.npy", "kind": "codes", **common}
        features = {"member": "features256.npy", "kind": "features", "of": codes["member"]}
        return [codes, {**features, **common}] if self.features else [codes]


def write_shard(path: Path, samples: Mapping[str, Members]) -> None:
    """Write a tar of samples, in the order given, and its index."""
    index = []
    with TarWriter(path) as tar:
        for key, members in samples.items():
            for member, data in members.items():
                offset, length = tar.add(f"{key}.{member}", data)
                index.append({"key": key, "member": member, "offset": offset, "length": length})
    table = pa.Table.from_pylist(index, schema=SHARD_INDEX)
    pq.write_table(table, path.with_suffix(".parquet"))


def keys_of(folder: Path, subset: str) -> list[str]:
    """Return the keys of a subset as its shards hold them."""
    tables = map(pq.read_table, sorted(folder.glob(f"shards/{subset}-*.parquet")))
    return [key for table in tables for key in dict.fromkeys(table["key"].to_pylist())]


def _json(subset: str, key: str, aspect: float) -> bytes:
    name = SUBSETS[subset].kind.name
    kind = {"preference": "t2i", "preference_edit": "edit"}.get(name, name)
    user, answer = {
        "t2i": (f"Please draw {key[:4]}", f"Here is {key[:4]}<image_gen>"),
        "edit": (f"Make <image> look like {key[:4]}", "The output image is: <image_gen>"),
        "understand": (f"<image> What is this, {key[:4]}?", "A colour."),
    }[kind]
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]
    words = "prompt" if SUBSETS[subset].is_pairs else "caption"
    known = {words: key[:4], "source": "made up", "url": f"made-up/{key}", "licence": "CC0"}
    sample = {"key": key, "messages": messages, "crop_aspect": aspect, **known}
    return json.dumps(sample).encode()


def _jpeg(chance: np.random.Generator) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 56), tuple(chance.integers(0, 256, 3).tolist())).save(file, "JPEG")
    return file.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()
