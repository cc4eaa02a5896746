import io
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from jpegs import of_empty_scans
from PIL import Image

from filters.decode import Scaled, decode_scaled
from filters.phash import phash
from filters.registry import SIGNALS
from filters.signal import Record
from filters.size import Size
from pipelines.runtime import images as images_module
from pipelines.runtime.sidecar import dead_letters_path, read_table
from pipelines.runtime.stage import run_shard, wanted_fingerprint
from pipelines.stages.measure import Measure
from schemas.keys import sample_key
from schemas.recipe import DecodeConfig, MeasureConfig
from schemas.store.storage import CorpusError

STAGE = Measure(config=MeasureConfig(), decode=DecodeConfig(max_pixels=10_000))


@pytest.fixture
def images(picture: Callable[..., bytes]) -> dict[str, bytes]:
    """Files of every outcome of decoding, by what becomes of them."""
    jpeg = picture(1, kind="JPEG")
    return {
        "": picture(0),
        "jpeg": jpeg,
        "gif": picture(2, kind="GIF"),
        "truncated_image": jpeg[: len(jpeg) // 2],
        "too_many_pixels": picture(3, (101, 100)),
        "not_an_image": b"<html>no hotlinking</html>",
        "unsupported_image": b"8BPS" + bytes(60),
        "corrupt_image": b"\x89PNG\r\n\x1a\n" + bytes(60),
    }


def test_every_outcome_of_decoding_is_taken_and_counted(desk, images: dict[str, bytes]):
    desk.put_images(0, images)
    report = run_shard(STAGE, 0, desk.store)
    failed = {name for name in images if name not in ("", "jpeg", "gif")}
    assert (report.rows_in, report.kept) == (8, 3)
    assert report.failed == dict.fromkeys(failed, 1)
    letters = read_table(desk.store, dead_letters_path("measure", 0)).to_pylist()
    assert {letter["id"]: letter["reason"] for letter in letters} == {
        sample_key("web", name): name for name in failed
    }
    names = {sample_key("web", name): name for name in failed}
    for letter in letters:  # each names its image, once
        assert letter["detail"].startswith(f"web: {names[letter['id']]}: ")
        assert letter["detail"].count("web: ") == 1


def test_an_image_of_scans_without_end_is_dead_at_once(desk, picture: Callable[..., bytes]):
    url = "http://host/a%2Cb.jpg"
    desk.put_images(0, {url: of_empty_scans(2_500, 9_000, 9_000), "fine": picture(0)})
    started = time.process_time()
    report = run_shard(Measure(config=MeasureConfig(), decode=DecodeConfig()), 0, desk.store)
    assert time.process_time() - started < 60
    assert (report.kept, report.failed) == (1, {"decode_timeout": 1})
    (letter,) = read_table(desk.store, dead_letters_path("measure", 0)).to_pylist()
    assert letter["detail"] == f"{url}: 2,501 scans of 81,000,000 pixels, at most 61 are decoded"


def test_an_image_that_takes_longer_than_the_recipe_allows_is_dead(
    desk, picture: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
):
    def slow(body: bytes, **options: Any) -> Scaled:
        if body == picture(1):
            time.sleep(60)
        return decode_scaled(body, **options)

    monkeypatch.setattr(images_module, "decode_scaled", slow)
    desk.put_images(0, {str(n): picture(n) for n in range(3)})
    stage = Measure(config=MeasureConfig(), decode=DecodeConfig(timeout_s=0.3))
    report = run_shard(stage, 0, desk.store)
    assert (report.kept, report.failed) == (2, {"decode_timeout": 1})
    (letter,) = read_table(desk.store, dead_letters_path("measure", 0)).to_pylist()
    assert letter["detail"] == ("web: 1: not decoded in 0.3 s, which decode.timeout_s allows")


def test_how_long_an_image_may_take_makes_no_shard_again(desk, images: dict[str, bytes]):
    desk.put_images(0, images)
    stages = [Measure(config=STAGE.config, decode=DecodeConfig(timeout_s=s)) for s in (1, 2)]
    assert len({wanted_fingerprint(stage, 0, desk.store) for stage in stages}) == 1


def test_signals_are_those_of_the_decoded_image_in_key_order(desk, picture: Callable[..., bytes]):
    files = {str(n): picture(n, (60 + n, 40)) for n in range(5)}
    desk.put_images(0, files, text="a red fox", title="fox")
    run_shard(STAGE, 0, desk.store)
    rows = desk.rows("signals", 0)
    assert [row["key"] for row in rows] == sorted(sample_key("web", name) for name in files)
    by_key = {row["key"]: row for row in rows}
    for name, file in files.items():
        row = by_key[sample_key("web", name)]
        assert (row["width"], row["height"], row["file_bytes"]) == (60 + int(name), 40, len(file))
        image = Image.open(io.BytesIO(file)).convert("RGB")
        record = Record(image=image, file_bytes=1, text="", title="", tags=())
        assert row["phash"] == phash(record)
        assert row["text_chars"] == len("a red fox")


def test_large_images_are_measured_scaled_but_their_size_is_that_of_the_file(
    desk, picture: Callable[..., bytes]
):
    files = {kind: picture(4, (1101, 560), kind=kind) for kind in ("JPEG", "PNG")}
    desk.put_images(0, files)
    run_shard(Measure(config=MeasureConfig(), decode=DecodeConfig()), 0, desk.store)
    rows = {row["key"]: row for row in desk.rows("signals", 0)}
    for name, file in files.items():
        row = rows[sample_key("web", name)]
        assert (row["width"], row["height"], row["pixels"]) == (1101, 560, 1101 * 560)
        scaled = decode_scaled(file, max_pixels=10**8, suffices=lambda w, h: w * h >= 76_800)
        assert scaled.image.size == (551, 280)
        record = Record(
            image=scaled.image, box=scaled.box, file_bytes=1, text="", title="", tags=()
        )
        assert row["entropy"] == record.grey.entropy()
        assert row["phash"] == phash(record)


def test_a_signal_without_a_least_side_has_the_whole_image(
    desk, picture: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
):
    sizes: list[tuple[int, int]] = []

    @dataclass
    class Watching:
        columns = Size().columns

        def measure(self, records):
            sizes.extend(record.image.size for record in records)
            return Size().measure(records)

    monkeypatch.setitem(SIGNALS, "size", Watching)
    desk.put_images(0, {"a": picture(4, (1101, 560), kind="JPEG")})
    config = MeasureConfig(signals=("size", "sharpness"))
    run_shard(Measure(config=config, decode=DecodeConfig()), 0, desk.store)
    assert sizes == [(1101, 560)]


def test_only_the_signals_of_the_recipe_are_stored(desk, images: dict[str, bytes]):
    desk.put_images(0, images)
    run_shard(
        Measure(config=MeasureConfig(signals=("size",)), decode=DecodeConfig()), 0, desk.store
    )
    assert "width" in desk.rows("signals", 0)[0]
    assert "phash" not in desk.rows("signals", 0)[0]


def test_a_shard_of_no_usable_image_has_an_empty_side_car(desk):
    desk.put_images(0, {"a": b"nothing"})
    assert run_shard(STAGE, 0, desk.store).failed == {"not_an_image": 1}
    assert read_table(desk.store, "signals/00000.parquet").num_rows == 0


@pytest.mark.parametrize(("rows", "pixels"), [(2, 10**9), (100, 60 * 40 * 2), (100, 1)])
def test_how_images_are_batched_does_not_matter(
    desk, picture: Callable[..., bytes], rows: int, pixels: int
):
    desk.put_images(0, {str(n): picture(n, (60, 40)) for n in range(7)} | {"bad": b"x"})
    run_shard(STAGE, 0, desk.store)
    expected = desk.store.read("signals/00000.parquet")
    desk.store.remove("signals/00000.parquet")
    run_shard(replace(STAGE, batch_rows=rows, batch_pixels=pixels), 0, desk.store)
    assert desk.store.read("signals/00000.parquet") == expected


def test_decoded_images_do_not_pile_up(
    desk, picture: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
):
    sizes: list[int] = []

    @dataclass
    class Counting:
        columns = Size().columns

        def measure(self, records):
            sizes.append(len(records))
            return Size().measure(records)

    monkeypatch.setitem(SIGNALS, "size", Counting)
    desk.put_images(0, {str(n): picture(n, (60, 40)) for n in range(7)})
    config = MeasureConfig(signals=("size",))
    stage = Measure(config=config, decode=DecodeConfig(), batch_pixels=60 * 40 * 2)
    run_shard(stage, 0, desk.store)
    assert sizes == [3, 3, 1]


def test_a_raw_tar_that_rotted_is_named_and_nothing_is_committed(desk, images: dict[str, bytes]):
    desk.put_images(0, images)
    tar = desk.tar(0)
    data = bytearray(tar.read_bytes())
    row = desk.rows("raw", 0)[2]
    data[row["offset"] + 5] ^= 1
    tar.write_bytes(data)
    with pytest.raises(CorpusError, match=rf"raw/00000-\w+\.tar: bytes of {row['key']}"):
        run_shard(STAGE, 0, desk.store)
    assert desk.store.listing("signals") == {}
    assert desk.store.listing("dead_letters/measure") == {}


def test_a_raw_tar_that_was_cut_short_is_named(desk, images: dict[str, bytes]):
    desk.put_images(0, images)
    tar = desk.tar(0)
    tar.write_bytes(tar.read_bytes()[:1500])
    with pytest.raises(CorpusError, match=r"raw/00000-\w+\.tar: ends before byte "):
        run_shard(STAGE, 0, desk.store)


def test_signals_and_decoding_make_a_shard_again(desk, images: dict[str, bytes]):
    desk.put_images(0, images)
    stages = [
        STAGE,
        Measure(config=MeasureConfig(signals=("size",)), decode=STAGE.decode),
        Measure(config=STAGE.config, decode=DecodeConfig(background="#000000")),
    ]
    assert len({wanted_fingerprint(stage, 0, desk.store) for stage in stages}) == 3
