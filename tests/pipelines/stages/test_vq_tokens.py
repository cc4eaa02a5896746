"""Codes are those of the tokenizer, made once, and taken over only where they are the same."""

import hashlib
import io
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity

from filters.aspects import nearest_aspect
from filters.decode import decode
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.tokenizers.prepare import cover_crop, to_model_input, to_pixels, view_crop
from model.tokenizers.schedules import pixel_size
from pipelines.runtime.images import decode_image
from pipelines.runtime.sidecar import dead_letters_path, read_table
from pipelines.runtime.stage import ShardReport, run_shard, wanted_fingerprint
from pipelines.stages.vq_tokens import VqTokens
from pipelines.tokens.facts import made_on
from pipelines.tokens.tokenizers import loaded_tokenizer, target_tokenizer, targets
from schemas.keys import sample_key
from schemas.recipe import BsqTokenizer, DecodeConfig, VarTokenizer, VqTokensConfig
from schemas.sections import Gpu
from schemas.store.storage import CorpusError

BSQ = BsqTokenizer()
VAR = VarTokenizer(tokenizer="var_vqvae", name="var")
RANDOM = VarTokenizer(tokenizer="var_vqvae", preset="small")
RECIPE = VqTokensConfig(tokenizers=(BSQ,), batch_size=2)
ARRAYS = "tokens/00000.tokens256.npy"


def stage(decoded: DecodeConfig | None = None, **changes: object) -> VqTokens:
    """Return the stage of a changed recipe; what is no part of that changes its tokenizer."""
    whole = {name: changes.pop(name) for name in [*changes] if name in VqTokensConfig.model_fields}
    if changes:
        whole["tokenizers"] = (BSQ.model_copy(update=changes),)
    return VqTokens(config=RECIPE.model_copy(update=whole), decode=decoded or DecodeConfig())


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images of each call of a tokenizer's encoder."""
    calls: list[int] = []
    features = NetworkTokenizer.features

    def counting(tokenizer: NetworkTokenizer, images_NCHW):
        calls.append(len(images_NCHW))
        return features(tokenizer, images_NCHW)

    monkeypatch.setattr(NetworkTokenizer, "features", counting)
    return calls


@pytest.fixture
def images(desk, picture: Callable[..., bytes]) -> dict[str, bytes]:
    files = {name: picture(n, (60 + n, 40)) for n, name in enumerate("abc")}
    desk.put_images(0, files)
    return {sample_key("web", name): file for name, file in files.items()}


def pair(desk, keys, template: str = "") -> None:
    desk.put("pairs", 0, [{"key": key, "messages": [], "template": template} for key in keys])


def codes(desk, member: str = "tokens256.npy") -> dict[str, np.ndarray]:
    rows = [row for row in desk.rows("tokens", 0) if row["member"] == member]
    bodies = desk.store.read_ranges([(r["file"], r["offset"], r["length"]) for r in rows])
    return {
        row["key"]: np.frombuffer(body, row["dtype"]).reshape(row["shape"])
        for row, body in zip(rows, bodies, strict=True)
    }


def run(desk, made_by: VqTokens) -> ShardReport:
    return run_shard(made_by, 0, desk.store)


def test_codes_are_those_of_the_prepared_image(desk, images: dict[str, bytes]):
    pair(desk, images)
    report = run(desk, stage())
    assert (report.rows_in, report.kept, report.failed) == (3, 3, {})
    found = codes(desk)
    tokenizer = loaded_tokenizer(BSQ, "fp32")
    for key, file in images.items():
        pixels = cover_crop(decode(file, max_pixels=10**6), 256, 256)
        expected = tokenizer.encode(to_model_input(pixels[None])).values_BL[0]
        assert found[key].dtype == np.uint32
        np.testing.assert_array_equal(found[key], expected)
    assert len({array.tobytes() for array in found.values()}) == 3


def test_each_row_says_where_its_codes_lie_and_what_they_are(desk, images: dict[str, bytes]):
    pair(desk, images)
    run(desk, stage())
    stacked = np.load(io.BytesIO(desk.store.read(ARRAYS)))
    rows = desk.rows("tokens", 0)
    assert [row["key"] for row in rows] == sorted(images)
    for row, array in zip(rows, stacked, strict=True):
        assert row["member"] == "tokens256.npy"
        assert row["image_sha256"] == hashlib.sha256(images[row["key"]]).hexdigest()
        assert row["sha256"] == hashlib.sha256(array.tobytes()).hexdigest()
        np.testing.assert_array_equal(codes(desk)[row["key"]], array)


def test_only_images_that_have_a_pair_are_encoded(
    desk, images: dict[str, bytes], encoded: list[int]
):
    pair(desk, sorted(images)[:2])
    assert run(desk, stage()).rows_in == 2
    assert encoded == [2]


def test_how_images_are_batched_does_not_matter(desk, images: dict[str, bytes]):
    pair(desk, images)
    run(desk, stage(batch_size=1))
    one = desk.store.read(ARRAYS), desk.store.read("tokens/00000.parquet")
    for name in (ARRAYS, "tokens/00000.parquet"):
        desk.store.remove(name)
    run(desk, stage(batch_size=16))
    assert (desk.store.read(ARRAYS), desk.store.read("tokens/00000.parquet")) == one


def test_after_changed_pairs_only_new_images_are_encoded(
    desk, images: dict[str, bytes], encoded: list[int]
):
    a, b, c = images
    pair(desk, [a, b])
    run(desk, stage())
    before = codes(desk)
    pair(desk, [b, c])
    assert not run(desk, stage()).skipped
    assert encoded == [2, 1]
    after = codes(desk)
    assert set(after) == {b, c}
    np.testing.assert_array_equal(after[b], before[b])


@pytest.mark.parametrize(
    "changed",
    [stage(seed=1), stage(decoded=DecodeConfig(background="#000000")), stage(precision="bf16")],
    ids=["seed", "decode", "precision"],
)
def test_codes_made_in_another_way_are_not_taken_over(
    desk, images: dict[str, bytes], encoded: list[int], changed: VqTokens
):
    pair(desk, images)
    run(desk, stage())
    run(desk, changed)
    assert sum(encoded) >= 6
    assert {row["method"] for row in desk.rows("tokens", 0)} == {
        changed.settings(0, desk.store)[0][1]
    }


def test_codes_of_other_bytes_are_not_taken_over(
    desk, images: dict[str, bytes], encoded: list[int], picture: Callable[..., bytes]
):
    pair(desk, images)
    run(desk, stage())
    desk.put_images(0, {"a": picture(9), "b": picture(1, (61, 40)), "c": picture(2, (62, 40))})
    run(desk, stage())
    assert sum(encoded) == 3 + 1


@pytest.mark.parametrize(("damage", "again"), [("cut", 2), ("gone", 2), ("flipped", 1)])
def test_an_array_file_that_is_not_as_written_is_not_trusted(
    desk, images: dict[str, bytes], encoded: list[int], damage: str, again: int
):
    pair(desk, images)
    run(desk, stage())
    before = codes(desk)
    path = Path(desk.store.root, ARRAYS)
    data = path.read_bytes()
    changed = {"cut": data[:-100], "gone": None, "flipped": data[:-1] + bytes([data[-1] ^ 1])}
    path.unlink()
    if (left := changed[damage]) is not None:
        path.write_bytes(left)
    left_over = sorted(images)[1:]  # one row fewer, so that the shard is made anew
    pair(desk, left_over)
    encoded.clear()
    run(desk, stage())
    assert sum(encoded) == again
    assert {key: array.tobytes() for key, array in codes(desk).items()} == {
        key: before[key].tobytes() for key in left_over
    }


def test_another_template_costs_nothing(desk, images: dict[str, bytes], encoded: list[int]):
    pair(desk, images)
    run(desk, stage())
    pair(desk, images, template="again")
    encoded.clear()
    assert run(desk, stage()).skipped
    assert not encoded


def test_an_image_too_long_to_be_cropped_is_dead(desk, picture: Callable[..., bytes]):
    file = io.BytesIO()
    Image.new("RGB", (3000, 1)).save(file, "PNG")
    desk.put_images(0, {"long": file.getvalue(), "fine": picture(0)})
    pair(desk, [sample_key("web", name) for name in ("long", "fine")])
    report = run(desk, stage(decoded=DecodeConfig(max_pixels=1_000_000)))
    assert (report.kept, report.failed) == (1, {"extreme_aspect": 1})
    (letter,) = read_table(desk.store, dead_letters_path("vq_tokens", 0)).to_pylist()
    assert letter["id"] == sample_key("web", "long")
    told = "3000 x 1 px covers 256 x 256 px only as 768000 x 256, over decode.max_pixels 1,000,000"
    assert letter["detail"] == f"web: long: {told}"


def test_images_that_cover_too_widely_are_dead(desk, picture: Callable[..., bytes]):
    desk.put_images(0, {"big": picture(0, (200, 100)), "fine": picture(1)})
    pair(desk, [sample_key("web", name) for name in ("big", "fine")])
    report = run(desk, stage(decoded=DecodeConfig(max_pixels=66_000)))
    assert (report.kept, report.failed) == (0, {"extreme_aspect": 2})


def test_a_file_that_no_longer_decodes_costs_itself_alone(desk, picture: Callable[..., bytes]):
    desk.put_images(0, {"cut": picture(0, (200, 100))[:300], "fine": picture(1)})
    pair(desk, [sample_key("web", name) for name in ("cut", "fine")])
    report = run(desk, stage())
    assert (report.kept, sum(report.failed.values())) == (1, 1)
    (letter,) = read_table(desk.store, dead_letters_path("vq_tokens", 0)).to_pylist()
    assert (letter["id"], letter["reason"]) == (sample_key("web", "cut"), "truncated_image")


def test_a_shard_without_pairs_loads_no_tokenizer(
    desk, images: dict[str, bytes], encoded: list[int]
):
    pair(desk, [])
    assert run(desk, stage()).rows_in == 0
    assert encoded == []
    assert desk.store.listing("tokens").keys() == {"00000.parquet"}


def test_where_weights_lie_and_how_they_are_batched_make_no_shard_again(
    desk, images: dict[str, bytes]
):
    pair(desk, images)
    prints = [
        wanted_fingerprint(made_by, 0, desk.store)
        for made_by in (
            stage(),
            stage(batch_size=7),
            stage(checkpoint="elsewhere.pth"),
            stage(checkpoint_sha256="a" * 64),
            stage(seed=3),
            stage(preset="d32"),
            stage(views=2),
            stage(aspects="buckets"),
        )
    ]
    assert prints[0] == prints[1] == prints[2]
    assert len(set(prints)) == 6


def test_several_tokenizers_and_resolutions_come_of_one_decoding(
    desk, images: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
):
    decoded: list[int] = []
    monkeypatch.setattr(
        "pipelines.tokens.batches.decode_image",
        lambda body, settings: decoded.append(1) or decode_image(body, settings),
    )
    pair(desk, images)
    tokenizers = (BSQ.model_copy(update={"resolutions": (256, 512), "features": True}), VAR)
    report = run(desk, stage(tokenizers=tokenizers))
    assert (report.rows_in, report.kept) == (3, 3)
    assert len(decoded) == 3
    shapes = {(row["member"], row["dtype"], *row["shape"]) for row in desk.rows("tokens", 0)}
    assert shapes == {
        ("tokens256.npy", "uint32", 521),
        ("features256.npy", "float16", 32, 16, 16),
        ("tokens512.npy", "uint32", 2521),
        ("features512.npy", "float16", 32, 32, 32),
        ("var256.npy", "uint16", 680),
    }
    tokenizer = loaded_tokenizer(BSQ, "fp32")
    for key, file in images.items():
        pixels = cover_crop(decode(file, max_pixels=10**6), 256, 256)
        features = tokenizer.features(to_model_input(pixels[None]))[0]
        np.testing.assert_array_equal(codes(desk, "features256.npy")[key], features.half())


def test_a_further_resolution_costs_only_its_own_codes(
    desk, images: dict[str, bytes], encoded: list[int]
):
    pair(desk, images)
    run(desk, stage())
    before = codes(desk)
    encoded.clear()
    run(desk, stage(resolutions=(256, 512)))
    assert sum(encoded) == 3
    assert {key: array.tobytes() for key, array in codes(desk).items()} == {
        key: array.tobytes() for key, array in before.items()
    }
    assert set(codes(desk, "tokens512.npy")) == set(images)


def test_views_are_the_centre_and_then_drawn_crops(desk, images: dict[str, bytes]):
    pair(desk, images)
    run(desk, stage(views=3))
    tokenizer = loaded_tokenizer(BSQ, "fp32")
    for key, file in images.items():
        image = decode(file, max_pixels=10**6)
        crops = np.stack([view_crop(image, 256, 256, key=key, view=view) for view in range(3)])
        expected = tokenizer.encode(to_model_input(crops)).values_BL
        np.testing.assert_array_equal(codes(desk)[key], expected)


def test_buckets_take_the_shape_nearest_to_each_image(desk, picture: Callable[..., bytes]):
    sizes = {"wide": (90, 45), "tall": (40, 80), "square": (50, 50)}
    desk.put_images(0, {name: picture(3, size) for name, size in sizes.items()})
    pair(desk, [sample_key("web", name) for name in sizes])
    made_by = stage(aspects="buckets")
    run(desk, made_by)
    rows = {row["key"]: row for row in desk.rows("tokens", 0)}
    found = codes(desk)
    for name, (width, height) in sizes.items():
        key, aspect = sample_key("web", name), nearest_aspect(height, width)
        assert rows[key]["aspect"] == aspect
        tokenizer = target_tokenizer(targets(made_by.config)[0], made_by.config, aspect)
        image = decode(picture(3, (width, height)), max_pixels=10**6)
        pixels = cover_crop(image, *pixel_size(aspect, 256))
        expected = tokenizer.encode(to_model_input(pixels[None])).values_BL[0]
        np.testing.assert_array_equal(found[key], expected)


def test_another_precision_is_compared_with_fp32_on_a_share_of_the_images(
    desk, picture: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pipelines.tokens.batches.CHECKED_SHARE", 0.5)
    files = {f"{n}": picture(n, (60, 60 + n)) for n in range(8)}
    desk.put_images(0, files)
    pair(desk, [sample_key("web", name) for name in files])
    run(desk, stage(precision="bf16"))
    rows = desk.rows("tokens", 0)
    compared = [row for row in rows if row["compared"]]
    assert 0 < len(compared) < len(rows)
    exact = loaded_tokenizer(BSQ, "fp32")
    for row in compared:
        (name,) = (name for name in files if sample_key("web", name) == row["key"])
        pixels = cover_crop(decode(files[name], max_pixels=10**6), 256, 256)
        expected = exact.encode(to_model_input(pixels[None])).values_BL[0]
        differing = sum(int(bits).bit_count() for bits in expected ^ codes(desk)[row["key"]])
        assert (row["compared"], row["differing"]) == (521 * 32, differing)
    assert made_on(desk.store, "tokens256.npy", 1) == {
        "made_on": {"cpu, 1 a pass": 8},
        "compared": 521 * 32 * len(compared),
        "differing": sum(row["differing"] for row in compared),
    }


def test_an_image_whose_features_are_not_finite_is_dead_and_the_rest_goes_on(
    desk, images: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
):
    features = NetworkTokenizer.features
    poison = decode(images[min(images)], max_pixels=10**6)
    poison_pixels = to_model_input(cover_crop(poison, 256, 256)[None])[0]

    def spoiled(tokenizer: NetworkTokenizer, images_NCHW):
        found = features(tokenizer, images_NCHW)
        for number, pixels in enumerate(images_NCHW):
            if pixels.equal(poison_pixels):
                found[number, 0, 0, 0] = float("nan")
        return found

    monkeypatch.setattr(NetworkTokenizer, "features", spoiled)
    pair(desk, images)
    report = run(desk, stage())
    assert (report.kept, report.failed) == (2, {"not_finite": 1})
    (letter,) = read_table(desk.store, dead_letters_path("vq_tokens", 0)).to_pylist()
    assert letter["id"] == min(images)
    assert "NaN" in letter["detail"]


def test_an_image_whose_bytes_changed_after_the_crawl_is_dead_and_the_rest_goes_on(
    desk, images: dict[str, bytes]
):
    pair(desk, images)
    row = desk.rows("raw", 0)[1]
    path = Path(desk.store.locate(row["file"])[1])
    data = bytearray(path.read_bytes())
    data[row["offset"] + row["length"] // 2] ^= 1
    path.write_bytes(data)
    report = run(desk, stage())
    assert (report.kept, report.failed) == (2, {"unreadable_bytes": 1})
    (letter,) = read_table(desk.store, dead_letters_path("vq_tokens", 0)).to_pylist()
    assert letter["id"] == row["key"]
    assert "not what was fetched" in letter["detail"]


def test_a_tokenizer_is_loaded_once_however_many_threads_ask(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipelines.tokens.tokenizers._loaded", {})
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: loaded_tokenizer(RANDOM, "fp32"), range(8)))
    assert len({id(tokenizer) for tokenizer in found}) == 1


def test_a_gpu_that_is_asked_for_and_not_there_is_an_error(
    desk, images: dict[str, bytes], encoded: list[int], monkeypatch: pytest.MonkeyPatch
):
    pair(desk, images)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    asks = stage(gpu=Gpu(type="nvidia-l4"))
    told = rf"vq_tokens: vq_tokens\.gpu \(nvidia-l4\) .* on {socket.gethostname()}.*gpu=null"
    with pytest.raises(CorpusError, match=told):
        run(desk, asks)
    assert encoded == []
    assert not desk.store.exists(ARRAYS)
    assert run(desk, stage()).kept == len(images)
    assert run(desk, asks).skipped  # what is made needs none


def test_a_precision_that_the_device_lacks_stops_with_its_name():
    if torch.cuda.is_available():
        pytest.skip("this machine has tf32")
    with pytest.raises(CorpusError, match=r"vq_tokens\.tokenizers\.tokens: tf32: expected a CUDA"):
        loaded_tokenizer(BSQ, "tf32")


def test_an_image_can_be_contained_instead_of_cropped(desk, images: dict[str, bytes]):
    pair(desk, images)
    run(desk, stage())
    cropped = codes(desk)
    run(desk, stage(DecodeConfig(background="#ff0000"), fit="contain"))
    found = codes(desk)
    tokenizer = loaded_tokenizer(BSQ, "fp32")
    for key, file in images.items():
        image = decode(file, max_pixels=10**6)
        whole = Image.new("RGB", (256, 256), (255, 0, 0))
        height = round(image.height * 256 / image.width)
        whole.paste(image.resize((256, height), Image.Resampling.LANCZOS), (0, (256 - height) // 2))
        expected = tokenizer.encode(to_model_input(np.asarray(whole)[None])).values_BL[0]
        np.testing.assert_array_equal(found[key], expected)
        assert not np.array_equal(found[key], cropped[key])


def test_reconstructions_are_measured_and_bad_ones_dropped(desk, images: dict[str, bytes]):
    pair(desk, images)
    run(desk, stage(reconstruction=True))
    rows = {row["key"]: row for row in desk.rows("tokens", 0)}
    tokenizer = loaded_tokenizer(BSQ, "fp32")
    for key, file in images.items():
        pixels = cover_crop(decode(file, max_pixels=10**6), 256, 256)
        drawn = to_pixels(tokenizer.decode(tokenizer.encode(to_model_input(pixels[None]))))[0]
        error = np.mean((drawn.astype(float) - pixels) ** 2)  # of whole levels: about the same
        assert rows[key]["psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=0.1)
        expected = structural_similarity(
            drawn,
            pixels,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
        )
        assert rows[key]["ssim"] == pytest.approx(expected, abs=0.02)  # of another border
    worst, *others = sorted(rows, key=lambda key: rows[key]["psnr"])
    between = (rows[worst]["psnr"] + rows[others[0]]["psnr"]) / 2
    report = run(desk, stage(reconstruction=True, min_psnr=between))
    assert (report.kept, report.dropped, report.failed) == (2, {"psnr_min": 1}, {})
    assert {row["key"] for row in desk.rows("tokens", 0)} == {*others}
    [letter] = read_table(desk.store, dead_letters_path("vq_tokens", 0)).to_pylist()
    assert letter["id"] == worst
    assert f"vq_tokens.min_psnr is {between}" in letter["detail"]


def test_codes_of_measured_reconstructions_are_taken_over(
    desk, images: dict[str, bytes], encoded: list[int]
):
    pair(desk, images)
    run(desk, stage(reconstruction=True))
    made = sum(encoded)
    run(desk, stage())
    assert sum(encoded) == made
    assert {row["psnr"] for row in desk.rows("tokens", 0)} == {None}
    run(desk, stage(reconstruction=True))  # pixels are needed again
    assert sum(encoded) == 2 * made
