"""Side-cars of a corpus that never was: no pixels, but what metadata of crawled images is like.

A quarter of the rows are copies of popular images, of which the nth comes in proportion to
n ** -0.6: of 8.3 M rows, 12,000 show the most popular. Half of the copies are byte for byte, the
others have other bytes, some of the 6 bits changed that are weak in the image's pHash, and colours
changed by 0 to 3 levels, as by another size or quality. 1 row in 200 is a blank image of some
colour, all of one pHash; 1 in 200 repeats a URL of any shard. One text in ten is a common one.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from filters.registry import SIGNALS, columns
from pipelines.runtime.sidecar import Counts, make_origin, read_table, sidecar_path, write_sidecar
from pipelines.sources.listing import Unit
from pipelines.sources.plan import PLAN
from schemas.keys import sample_key, shard_name
from schemas.store.storage import Storage
from schemas.tables import RAW, SOURCES, TOKENS, signals_schema

SOURCE = "web"
SIGNALS_SCHEMA = signals_schema([column.field for column in columns(SIGNALS)])
COPIES, SAME_BYTES, BLANK, REPEATED_URL, COMMON_TEXT = 0.25, 0.5, 0.005, 0.005, 0.1
POWER = 0.6  # of how often popular images and common texts come
WEAK_BITS, FLIPPED = 6, 0.2  # of an image's pHash, and how often each is flipped in a copy
LAYOUT = 48  # bytes
TOKEN_CODES = {"tokens256.npy": 521, "tokens512.npy": 2521}  # as VARGPT-v1.1's tokenizer makes
WORDS = np.array([f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "ra", "li")])


@dataclass(frozen=True, kw_only=True)
class SyntheticShard:
    """One shard of a corpus of `rows` rows in all, `per_shard` a shard."""

    rows: int
    per_shard: int
    store: Storage

    def __call__(self, shard: int) -> int:
        """Write `sources/`, `raw/` and `signals/`; return the rows."""
        rng = np.random.default_rng(shard)
        first = shard * self.per_shard
        numbers = np.arange(first, min(self.rows, first + self.per_shard), dtype=np.uint64)
        repeated = rng.random(len(numbers)) < REPEATED_URL
        numbers[repeated] = rng.integers(0, self.rows, repeated.sum())
        keys = {self._key(number): number for number in numbers.tolist()}
        order = sorted(keys)
        numbers = np.array([keys[key] for key in order], np.uint64)
        self._put("sources", shard, _sources(order, numbers, rng))
        images = Images(rng, numbers, popular=max(1, self.rows // 20))
        self._put("raw", shard, _raw(order, numbers, images))
        self._put("signals", shard, _signals(order, images, rng))
        return len(order)

    def _key(self, number: int) -> str:
        return sample_key(SOURCE, _url(number))

    def _put(self, folder: str, shard: int, table: pa.Table) -> None:
        put(self.store, folder, shard, table)


class Images:
    """What rows show: every array has one entry a row."""

    def __init__(self, rng: np.random.Generator, numbers: np.ndarray, popular: int) -> None:
        count = len(numbers)
        copied = rng.random(count) < COPIES
        which = draw_popular(rng, popular, count).astype(np.uint64)
        image = np.where(copied, which, numbers + np.uint64(1 << 40))
        altered = copied & (rng.random(count) >= SAME_BYTES)
        blank = rng.random(count) < BLANK
        # Each altered copy is a file of its own.
        self.file = scrambled(image + np.where(altered, numbers << np.uint64(20), np.uint64(0)))
        self.phash = scrambled(image, salt=1)
        for weak in range(WEAK_BITS):
            bit = np.uint64(1) << (scrambled(image, salt=30 + weak) % np.uint64(64))
            flipped = altered & (rng.random(count) < FLIPPED)
            self.phash ^= np.where(flipped, bit, np.uint64(0))
        layout = np.stack([scrambled(image, salt=2 + n) for n in range(LAYOUT // 8)], axis=1)
        levels = layout.view(np.uint8).astype(np.int16) + altered[:, None] * rng.integers(
            -3, 4, (count, LAYOUT)
        )
        self.layout = np.clip(levels, 0, 255).astype(np.uint8)
        self.phash[blank] = 1 << 63
        self.layout[blank] = np.tile(rng.integers(0, 256, (blank.sum(), 3)), LAYOUT // 3)
        self.file[blank] = scrambled(numbers[blank], salt=9)
        scale = np.where(altered, rng.choice([0.25, 0.5, 0.75], count), 1)
        self.width, self.height = (
            (scale * (256 + scrambled(image, salt=salt) % np.uint64(1500))).astype(np.int32)
            for salt in (20, 21)
        )
        self.blank = blank


def draw_popular(rng: np.random.Generator, of: int, count: int) -> np.ndarray:
    """Draw from `of` things, the nth in proportion to n ** -POWER."""
    return (of * rng.random(count) ** (1 / (1 - POWER))).astype(np.int64)


def scrambled(words: np.ndarray, salt: int = 0) -> np.ndarray:
    """Return a random word for each, always the same (SplitMix64)."""
    words = words + np.uint64((salt + 1) * 0x9E3779B97F4A7C15 % 2**64)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


@dataclass(frozen=True, kw_only=True)
class SyntheticTokens:
    """Write `tokens/` for the rows of a shard that have a pair; their arrays lie nowhere."""

    store: Storage

    def __call__(self, shard: int) -> int:
        keys = read_table(self.store, sidecar_path("pairs", shard), ["key"])["key"].to_pylist()
        rows = [
            {
                "key": key,
                "member": member,
                "file": f"tokens/{shard_name(shard)}.{member}",
                "offset": place * codes * 4,
                "length": codes * 4,
                "dtype": "uint32",
                "shape": [codes],
                "aspect": 1.0,
                "device": "cuda",
                "pass_images": 16,
                "compared": 0,
                "differing": 0,
                "method": "0" * 32,
                "image_sha256": key * 2,
                "sha256": key * 2,
            }
            for place, key in enumerate(keys)
            for member, codes in TOKEN_CODES.items()
        ]
        table = pa.Table.from_pylist(rows, schema=TOKENS)
        put(self.store, "tokens", shard, table, kept=len(keys))
        return len(keys)


def put(store: Storage, folder: str, shard: int, table: pa.Table, kept: int | None = None) -> None:
    """Publish a side-car."""
    kept = table.num_rows if kept is None else kept
    counts = Counts(rows_in=kept, kept=kept)
    origin = make_origin(folder, "0" * 32, table, counts)
    write_sidecar(store, sidecar_path(folder, shard), table, origin)


def put_plan(store: Storage, shards: int) -> None:
    """Publish a plan of one source."""
    unit = asdict(Unit(source=SOURCE, path="", version="", start=0, end=0))
    plan = {SOURCE: {"made_of": "", "units": [unit] * shards}}
    store.commit_bytes(PLAN, json.dumps(plan).encode())


def _url(number: int) -> str:
    return f"https://host{number % 9973}.example/images/{number:x}.jpg"


def _sources(keys: list[str], numbers: np.ndarray, rng: np.random.Generator) -> pa.Table:
    count = len(keys)
    words = WORDS[rng.integers(0, len(WORDS), (count, 12))].tolist()
    texts = [" ".join(some) for some in words]
    common = np.flatnonzero(rng.random(count) < COMMON_TEXT)
    for row, which in zip(common.tolist(), draw_popular(rng, 5000, len(common)), strict=True):
        texts[row] = f"picture of thing {which}"
    tags = [some[:size] for some, size in zip(words, rng.integers(0, 5, count), strict=True)]
    return _table(
        SOURCES,
        count,
        key=keys,
        source=[SOURCE] * count,
        url=[_url(number) for number in numbers.tolist()],
        text=texts,
        tags=tags,
        licence=["CC-BY-4.0"] * count,
    )


def _raw(keys: list[str], numbers: np.ndarray, images: Images) -> pa.Table:
    digits = np.stack([scrambled(images.file, salt) for salt in range(4)], axis=1).tobytes().hex()
    count = len(keys)
    return _table(
        RAW,
        count,
        key=keys,
        file=["raw/00000.tar"] * count,
        offset=(numbers % np.uint64(1 << 30)).astype(np.int64),
        length=np.full(count, 100_000),
        sha256=[digits[64 * row : 64 * row + 64] for row in range(count)],
        status=np.full(count, 200, np.int16),
        content_type=["image/jpeg"] * count,
    )


def _signals(keys: list[str], images: Images, rng: np.random.Generator) -> pa.Table:
    count = len(keys)
    digits = images.layout.tobytes().hex()
    width, height = images.width.astype(np.int64), images.height.astype(np.int64)
    return _table(
        SIGNALS_SCHEMA,
        count,
        key=keys,
        width=width,
        height=height,
        short_side=np.minimum(width, height),
        aspect=width / height,
        pixels=width * height,
        file_bytes=np.full(count, 100_000),
        blank_fraction=np.where(images.blank, 1.0, rng.beta(1, 4, count)),
        entropy=rng.uniform(3, 8, count),
        sharpness=rng.lognormal(5, 1.5, count),
        phash=images.phash,
        colour_layout=[digits[96 * row : 96 * row + 96] for row in range(count)],
        text_chars=np.full(count, 60),
        text_words=np.full(count, 12),
        text_url=rng.random(count) < 0.01,
        text_filename=rng.random(count) < 0.02,
    )


def _table(schema: pa.Schema, count: int, **values: Any) -> pa.Table:
    """Fill columns that are not given with what stands for nothing."""
    blank = {pa.string(): "", pa.bool_(): False}
    return pa.table(
        [
            pa.array(values.get(field.name, [blank.get(field.type, 0)] * count), field.type)
            if field.name in values or not pa.types.is_list(field.type)
            else pa.array([[]] * count, field.type)
            for field in schema
        ],
        schema=schema,
    )
