"""Output shards: what is in a tar, that it never varies, and when it is written again."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from filters.decode import decode
from pipelines.engines.engine import Engine, shard_numbers
from pipelines.runtime.sidecar import read_origin, read_table
from pipelines.runtime.stage import MapStage, run_shard
from pipelines.shards.manifest import old_shards
from pipelines.shards.sample_image import fitted_size
from pipelines.stage_table import make_stages
from pipelines.stages.dedup import Dedup
from pipelines.stages.pair import Pair
from pipelines.stages.shard import (
    SAMPLES_A_TASK,
    Shard,
    SubsetOutputs,
    json_rows,
    listing_path,
    output_shard_count,
)
from schemas.keys import output_shard
from schemas.recipe import Recipe
from schemas.recipe_file import parse_recipe
from schemas.store.storage import CorpusError, Storage
from schemas.subsets import T2I

SHARDS = 2
IMAGES = 5  # a shard
KINDS = ("PNG", "JPEG")  # of the images of each shard
RECIPE = parse_recipe(
    {
        "name": "small",
        "sources": [{"name": "web", "kind": "list", "path": "a.csv"}],
        "dedup": {"phash_distance": None},
        "vq_tokens": {
            "tokenizers": [
                {"tokenizer": "infinity_bsq"},
                {"tokenizer": "var_vqvae", "name": "var", "features": True},
            ],
        },
        "shard": {"samples": 4, "short_side": 64},
    }
)
OUTPUTS = 3
MEMBERS = {  # in the order of a tar
    "tokens256.npy": (np.uint32, (521,)),
    "var256.npy": (np.uint16, (680,)),
    "var_features256.npy": (np.float16, (32, 16, 16)),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, make_desk, picture: Callable[..., bytes]):
    """A corpus of which all but the output shards is made."""
    desk = make_desk(tmp_path_factory.mktemp("prepared"))
    desk.put_plan(["web"] * SHARDS)
    for shard in range(SHARDS):
        images = {
            f"{shard}-{n}": picture(shard * IMAGES + n, (90 + n * 30, 60 + n * 10), KINDS[shard])
            for n in range(IMAGES)
        }
        desk.put_images(shard, images, text="a red fox in the snow", tags=["fox", "snow"])
    store, shards = desk.store, range(SHARDS)
    for stage in make_stages(RECIPE):
        if isinstance(stage, Dedup):
            Engine(processes=1).run(
                lambda root, made=stage: made.expand(shard_numbers(root, shards), store, "f" * 32),
                name="dedup",
            )
        elif isinstance(stage, MapStage) and stage.folder not in ("sources", "raw"):
            for shard in shards:
                run_shard(stage, shard, store)
    return desk


@pytest.fixture
def copy(prepared, tmp_path: Path, make_desk):
    """A copy of it that a test may change."""
    for name, data in prepared.files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return make_desk(tmp_path)


def write(
    store: Storage,
    outputs: int = OUTPUTS,
    recipe: Recipe = RECIPE,
    order: Sequence[int] = (0, 1),
    groups: int = 1,
    samples_a_task: int = SAMPLES_A_TASK,
) -> list[list[Any]]:
    writer = Shard(recipe=recipe, samples_a_task=samples_a_task)
    of = SubsetOutputs(subset=T2I, shards=order, samples=0, outputs=outputs, groups=groups)
    Engine(processes=1).run(lambda root: writer.expand(root, store, [of]), name="shard")
    return json.loads(store.read(listing_path("t2i")))


def tars(desk) -> dict[str, bytes]:
    return {name: data for name, data in desk.files().items() if name.startswith("shards/")}


def members(data: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]


def samples(desk) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    for name, data in tars(desk).items():
        if name.endswith(".tar"):
            for member, body in members(data):
                key, _, extension = member.partition(".")
                found.setdefault(key, {})[extension] = body
    return found


def touched(desk) -> dict[str, tuple[int, int]]:
    stats = {path.name: path.stat() for path in Path(desk.store.root, "shards").glob("*.tar")}
    return {name: (stat.st_mtime_ns, stat.st_ino) for name, stat in stats.items()}


def test_every_sample_is_once_in_its_shard_in_key_order(copy):
    listed = write(copy.store)
    keys = {row["key"] for shard in range(SHARDS) for row in copy.rows("pairs", shard)}
    numbers = sorted({output_shard(key, OUTPUTS) for key in keys})
    assert [path for path, *_ in listed] == [f"shards/t2i-{n:06d}.tar" for n in numbers]
    assert len(keys) == SHARDS * IMAGES
    found: list[str] = []
    for number, (path, size, sha256, count, _) in zip(numbers, listed, strict=True):
        data = copy.store.read(path)
        names = [name for name, _ in members(data)]
        here = sorted({name.split(".")[0] for name in names})
        assert (size, sha256, count) == (len(data), hashlib.sha256(data).hexdigest(), len(here))
        assert names == [f"{key}.{ext}" for key in here for ext in ("jpg", "json", *MEMBERS)]
        assert all(output_shard(key, OUTPUTS) == number for key in here)
        found += here
    assert sorted(found) == sorted(keys)


def test_the_index_says_where_each_member_lies(copy):
    for path, *_ in write(copy.store):
        index = read_table(copy.store, path.replace(".tar", ".parquet")).to_pylist()
        bodies = copy.store.read_ranges([(path, row["offset"], row["length"]) for row in index])
        found = [
            (f"{row['key']}.{row['member']}", body) for row, body in zip(index, bodies, strict=True)
        ]
        assert found == members(copy.store.read(path))


def test_images_decode_and_are_fitted_to_the_short_side(copy):
    write(copy.store)
    signals = {row["key"]: row for shard in range(SHARDS) for row in copy.rows("signals", shard)}
    shrunk = 0
    for key, parts in samples(copy).items():
        image = decode(parts["jpg"], max_pixels=10**6)
        size = (signals[key]["width"], signals[key]["height"])
        assert image.size == fitted_size(*size, 64)
        assert Image.open(io.BytesIO(parts["jpg"])).format == "JPEG"
        sample = json.loads(parts["json"])
        assert (sample["width"], sample["height"]) == image.size
        shrunk += image.size != size
    assert 0 < shrunk < SHARDS * IMAGES


def test_a_jpeg_within_the_short_side_keeps_its_bytes_unless_all_are_to_be_encoded(copy):
    raw = {row["key"]: row for row in copy.rows("raw", 1)}
    places = [(row["file"], row["offset"], row["length"]) for row in raw.values()]
    fetched = dict(zip(raw, copy.store.read_ranges(places), strict=True))
    fits = {row["key"] for row in copy.rows("signals", 1) if row["short_side"] <= 64}
    kept: dict[str, set[str]] = {}
    for reencode in ("needed", "always"):
        shard = RECIPE.shard.model_copy(update={"reencode": reencode})
        write(copy.store, recipe=RECIPE.model_copy(update={"shard": shard}))
        found = samples(copy)
        kept[reencode] = {key for key in fetched if found[key]["jpg"] == fetched[key]}
    assert kept == {"needed": fits, "always": set()}
    assert 0 < len(fits) < IMAGES


def test_the_tokens_are_those_of_the_side_car(copy):
    write(copy.store)
    found = samples(copy)
    for shard in range(SHARDS):
        for row in copy.rows("tokens", shard):
            codes = np.load(io.BytesIO(found[row["key"]][row["member"]]))
            assert (codes.dtype, codes.shape) == MEMBERS[row["member"]]
            assert hashlib.sha256(codes.tobytes()).hexdigest() == row["sha256"]


def test_integers_of_64_bits_without_a_sign_are_written_in_hex_whatever_their_name():
    table = pa.table(
        {
            "key": ["a", "b"],
            "other_hash": pa.array([255, 2**64 - 1], pa.uint64()),
            "bytes": pa.array([255, 2**62], pa.int64()),
            "phash": pa.array([1, 2], pa.int64()),
        }
    )
    assert json_rows(table) == [
        {"key": "a", "other_hash": "00000000000000ff", "bytes": 255, "phash": 1},
        {"key": "b", "other_hash": "f" * 16, "bytes": 2**62, "phash": 2},
    ]


def test_the_json_of_every_sample_has_one_schema_and_floats_are_written_as_floats(copy):
    write(copy.store)
    schemas = set()
    for parts in samples(copy).values():
        sample = json.loads(parts["json"])
        assert list(sample) == list(T2I.fields)
        types = [(name, type(value).__name__) for name, value in sample["signals"].items()]
        schemas.add(tuple(types))
        assert sample["recipe"] == RECIPE.fingerprint()
        assert len(sample["signals"]["phash"]) == 16
        assert sample["tags"] == "fox, snow"
    assert len(schemas) == 1
    assert ("aspect", "float") in next(iter(schemas))


def test_the_json_joins_the_side_cars_of_its_row(copy):
    write(copy.store)
    row = copy.rows("sources", 1)[0]
    sample = json.loads(samples(copy)[row["key"]]["json"])
    signals, pair = copy.rows("signals", 1)[0], copy.rows("pairs", 1)[0]
    assert (sample["url"], sample["text"]) == (row["url"], "a red fox in the snow")
    assert (sample["messages"], sample["template"]) == (pair["messages"], pair["template"])
    assert sample["sha256"] == copy.rows("raw", 1)[0]["sha256"]
    assert sample["signals"]["aspect"] == signals["aspect"]
    assert int(sample["signals"]["phash"], 16) == signals["phash"]


def test_bytes_do_not_depend_on_the_order_of_shards_or_the_number_of_groups(copy):
    write(copy.store)
    first = tars(copy)
    for name in first:
        copy.store.remove(name)
    write(copy.store, order=(1, 0), groups=3, samples_a_task=RECIPE.shard.samples)
    assert tars(copy) == first


def test_a_fresh_shard_is_not_written_again_and_a_lost_one_is(copy):
    listed = write(copy.store)
    before, bytes_before = touched(copy), tars(copy)
    assert write(copy.store) == listed
    assert touched(copy) == before
    copy.store.remove(listed[1][0])
    assert write(copy.store) == listed
    assert tars(copy) == bytes_before
    after = touched(copy)
    assert [name for name in after if after[name] != before[name]] == [Path(listed[1][0]).name]


def test_only_the_shard_of_a_changed_sample_is_written_again(copy):
    write(copy.store)
    before = touched(copy)
    row = copy.rows("captions", 0)[0]
    captions = [r | {"caption": "a blue fox"} if r == row else r for r in copy.rows("captions", 0)]
    copy.put("captions", 0, captions)
    run_shard(Pair(config=RECIPE.pair), 0, copy.store)
    write(copy.store)
    after = touched(copy)
    changed = f"t2i-{output_shard(row['key'], OUTPUTS):06d}.tar"
    assert [name for name in after if after[name] != before[name]] == [changed]


def test_other_settings_of_images_write_every_shard_again(copy):
    write(copy.store)
    before = touched(copy)
    shard = RECIPE.shard.model_copy(update={"jpeg_quality": 60})
    write(copy.store, recipe=RECIPE.model_copy(update={"shard": shard}))
    after = touched(copy)
    assert all(after[name] != before[name] for name in before)


def test_shards_whose_group_vanished_are_removed(copy):
    write(copy.store, outputs=8)
    many = set(copy.store.listing("shards"))
    listed = write(copy.store, outputs=2)
    shards = [{"path": path} for path, *_ in listed]
    manifest = {"subsets": {"t2i": {"shards": shards}}}
    for path in old_shards(copy.store, manifest, {"t2i": range(8)}):
        copy.store.remove(path)
    assert set(copy.store.listing("shards")) == {
        "t2i.json",
        *(f"t2i-00000{n}.{kind}" for n in range(2) for kind in ("tar", "parquet")),
    }
    assert len(many) > 5


def test_a_row_without_tokens_is_no_sample(copy):
    tokens = copy.rows("tokens", 1)
    copy.put("tokens", 1, [row for row in tokens if row["key"] != tokens[0]["key"]])
    assert sum(count for *_, count, _ in write(copy.store)) == SHARDS * IMAGES - 1
    assert tokens[0]["key"] not in samples(copy)


def test_damaged_codes_are_reported(copy):
    path = Path(copy.store.root, "tokens/00000.tokens256.npy")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=r"tokens/00000\.tokens256\.npy: codes of [0-9a-f]{32}"):
        write(copy.store)


def test_an_index_is_never_beside_a_tar_that_it_does_not_describe(
    copy, monkeypatch: pytest.MonkeyPatch
):
    listed = write(copy.store, outputs=1)
    commit = Storage.commit_file

    def killed_after(store: Storage, path: str, local: Path) -> None:
        commit(store, path, local)
        raise RuntimeError("killed")

    shard = RECIPE.shard.model_copy(update={"jpeg_quality": 60})
    with monkeypatch.context() as patched:
        patched.setattr(Storage, "commit_file", killed_after)
        with pytest.raises(RuntimeError, match="killed"):
            write(copy.store, outputs=1, recipe=RECIPE.model_copy(update={"shard": shard}))
    assert read_origin(copy.store, "shards/t2i-000000.parquet") is None
    assert write(copy.store, outputs=1) == listed
    assert hashlib.sha256(copy.store.read(listed[0][0])).hexdigest() == listed[0][2]


@pytest.mark.parametrize(
    ("samples", "per_shard", "shards"), [(1, 5, 1), (5, 5, 1), (6, 5, 2), (11, 5, 3), (3, 1, 3)]
)
def test_shards_are_as_many_as_hold_the_samples(samples: int, per_shard: int, shards: int):
    assert output_shard_count(samples, per_shard) == shards


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((511, 700), (511, 700)),
        ((512, 700), (512, 700)),
        ((513, 700), (512, 699)),
        ((2048, 1024), (1024, 512)),
        ((65_500, 40), (65_500, 40)),
        ((131_000, 40), (65_500, 20)),
        ((1, 70_000), (1, 65_500)),
    ],
)
def test_images_are_shrunk_and_never_enlarged(size: tuple[int, int], fitted: tuple[int, int]):
    assert fitted_size(*size, 512) == fitted
