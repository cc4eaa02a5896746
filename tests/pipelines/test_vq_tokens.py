"""Codes are those of the tokenizer, made once, and taken over only where they are the same."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from filters.decode import decode
from model.tokenizers.prepare import cover_crop, to_model_input
from model.tokenizers.var_vqvae import VarVqvae
from pipelines.sidecar import dead_letters_path, read_table
from pipelines.stage import ShardReport, run_shard, wanted_fingerprint
from pipelines.vq_tokens import VqTokens, loaded_tokenizer
from schemas.keys import sample_key
from schemas.recipe import Decode
from schemas.recipe import VqTokens as VqTokensRecipe

RECIPE = VqTokensRecipe(preset="small", batch_size=2)
ARRAYS = "tokens/00000.tokens256.npy"


def stage(decoded: Decode | None = None, **changes: object) -> VqTokens:
    return VqTokens(recipe=RECIPE.model_copy(update=changes), decode=decoded or Decode())


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images of each call of the tokenizer."""
    calls: list[int] = []
    encode = VarVqvae.encode

    def counting(tokenizer: VarVqvae, images_NCHW):
        calls.append(len(images_NCHW))
        return encode(tokenizer, images_NCHW)

    monkeypatch.setattr(VarVqvae, "encode", counting)
    return calls


@pytest.fixture
def images(desk, picture: Callable[..., bytes]) -> dict[str, bytes]:
    files = {name: picture(n, (60 + n, 40)) for n, name in enumerate("abc")}
    desk.put_images(0, files)
    return {sample_key("web", name): file for name, file in files.items()}


def select(desk, keys) -> None:
    desk.put("selection", 0, [{"key": key, "kept": True} for key in keys])


def codes(desk) -> dict[str, np.ndarray]:
    rows = desk.rows("tokens", 0)
    bodies = desk.store.read_ranges([(r["file"], r["offset"], r["length"]) for r in rows])
    return {
        row["key"]: np.frombuffer(body, row["dtype"])
        for row, body in zip(rows, bodies, strict=True)
    }


def run(desk, made_by: VqTokens) -> ShardReport:
    return run_shard(made_by, 0, desk.store)


def test_codes_are_those_of_the_prepared_image(desk, images: dict[str, bytes]):
    select(desk, images)
    report = run(desk, stage())
    assert (report.rows_in, report.kept, report.dead) == (3, 3, {})
    found = codes(desk)
    tokenizer = loaded_tokenizer(RECIPE)
    for key, file in images.items():
        pixels = cover_crop(decode(file, max_pixels=10**6), 256, 256)
        expected = tokenizer.encode(to_model_input(pixels[None])).values_BL[0]
        assert found[key].dtype == np.uint16
        np.testing.assert_array_equal(found[key], expected)
    assert len({array.tobytes() for array in found.values()}) == 3


def test_each_row_says_where_its_codes_lie_and_what_they_are(desk, images: dict[str, bytes]):
    select(desk, images)
    run(desk, stage())
    stacked = np.load(io.BytesIO(desk.store.read(ARRAYS)))
    rows = desk.rows("tokens", 0)
    assert [row["key"] for row in rows] == sorted(images)
    for row, array in zip(rows, stacked, strict=True):
        assert row["member"] == "tokens256.npy"
        assert row["image_sha256"] == hashlib.sha256(images[row["key"]]).hexdigest()
        assert row["sha256"] == hashlib.sha256(array.tobytes()).hexdigest()
        np.testing.assert_array_equal(codes(desk)[row["key"]], array)


def test_only_selected_images_are_encoded(desk, images: dict[str, bytes], encoded: list[int]):
    select(desk, sorted(images)[:2])
    assert run(desk, stage()).rows_in == 2
    assert encoded == [2]


def test_how_images_are_batched_does_not_matter(desk, images: dict[str, bytes]):
    select(desk, images)
    run(desk, stage(batch_size=1))
    one = desk.store.read(ARRAYS), desk.store.read("tokens/00000.parquet")
    for name in (ARRAYS, "tokens/00000.parquet"):
        desk.store.remove(name)
    run(desk, stage(batch_size=16))
    assert (desk.store.read(ARRAYS), desk.store.read("tokens/00000.parquet")) == one


def test_after_a_changed_selection_only_new_images_are_encoded(
    desk, images: dict[str, bytes], encoded: list[int]
):
    a, b, c = images
    select(desk, [a, b])
    run(desk, stage())
    before = codes(desk)
    select(desk, [b, c])
    assert not run(desk, stage()).skipped
    assert encoded == [2, 1]
    after = codes(desk)
    assert set(after) == {b, c}
    np.testing.assert_array_equal(after[b], before[b])


@pytest.mark.parametrize(
    "changed", [stage(seed=1), stage(decoded=Decode(background="#000000"))], ids=["seed", "decode"]
)
def test_codes_made_in_another_way_are_not_taken_over(
    desk, images: dict[str, bytes], encoded: list[int], changed: VqTokens
):
    select(desk, images)
    run(desk, stage())
    run(desk, changed)
    assert sum(encoded) == 6


def test_codes_of_other_bytes_are_not_taken_over(
    desk, images: dict[str, bytes], encoded: list[int], picture: Callable[..., bytes]
):
    select(desk, images)
    run(desk, stage())
    desk.put_images(0, {"a": picture(9), "b": picture(1, (61, 40)), "c": picture(2, (62, 40))})
    run(desk, stage())
    assert sum(encoded) == 3 + 1


@pytest.mark.parametrize(("damage", "again"), [("cut", 3), ("gone", 3), ("flipped", 1)])
def test_an_array_file_that_is_not_as_written_is_not_trusted(
    desk, images: dict[str, bytes], encoded: list[int], damage: str, again: int
):
    select(desk, images)
    run(desk, stage())
    before = codes(desk)
    path = Path(desk.store.root, ARRAYS)
    data = path.read_bytes()
    changed = {"cut": data[:-100], "gone": None, "flipped": data[:-1] + bytes([data[-1] ^ 1])}
    path.unlink()
    if (left := changed[damage]) is not None:
        path.write_bytes(left)
    desk.put("selection", 0, [{"key": key, "kept": True, "reason": "again"} for key in images])
    encoded.clear()
    run(desk, stage())
    assert sum(encoded) == again
    assert {key: array.tobytes() for key, array in codes(desk).items()} == {
        key: array.tobytes() for key, array in before.items()
    }


def test_an_image_too_long_to_be_cropped_is_dead(desk, picture: Callable[..., bytes]):
    file = io.BytesIO()
    Image.new("RGB", (3000, 1)).save(file, "PNG")
    desk.put_images(0, {"long": file.getvalue(), "fine": picture(0)})
    select(desk, [sample_key("web", name) for name in ("long", "fine")])
    report = run(desk, stage(decoded=Decode(max_pixels=1_000_000)))
    assert (report.kept, report.dead) == (1, {"extreme_aspect": 1})
    (letter,) = read_table(desk.store, dead_letters_path("vq_tokens", 0)).to_pylist()
    assert letter["id"] == sample_key("web", "long")
    assert "3000 x 1 px" in letter["detail"]


def test_a_file_that_no_longer_decodes_is_dead(desk, picture: Callable[..., bytes]):
    desk.put_images(0, {"big": picture(0, (200, 100)), "fine": picture(1)})
    select(desk, [sample_key("web", name) for name in ("big", "fine")])
    report = run(desk, stage(decoded=Decode(max_pixels=66_000)))
    assert (report.kept, report.dead) == (0, {"extreme_aspect": 2})


def test_a_shard_with_nothing_selected_loads_no_tokenizer(
    desk, images: dict[str, bytes], encoded: list[int]
):
    select(desk, [])
    assert run(desk, stage()).rows_in == 0
    assert encoded == []
    assert desk.store.listing("tokens").keys() == {"00000.parquet"}


def test_where_weights_lie_and_how_they_are_batched_make_no_shard_again(
    desk, images: dict[str, bytes]
):
    select(desk, images)
    prints = [
        wanted_fingerprint(made_by, 0, desk.store)
        for made_by in (
            stage(),
            stage(batch_size=7),
            stage(checkpoint="elsewhere.pth"),
            stage(checkpoint_sha256="a" * 64),
            stage(seed=3),
            stage(preset="full"),
        )
    ]
    assert prints[0] == prints[1] == prints[2]
    assert len(set(prints)) == 4
