"""No decoder holds its process for longer than it may, in whatever process."""

import io
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from deadly import hang_once
from PIL import Image

from filters.decode import DecodeError, decode
from pipelines.engines.lasting_pool import LastingPool
from pipelines.runtime.decode_clock import within

LONG_S = 60.0


def test_a_call_in_time_returns_or_raises_as_it_would_without() -> None:
    assert within(LONG_S, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(LONG_S, lambda: 1 // 0)
    assert within(LONG_S, lambda: 8) == 8


def test_a_call_that_takes_longer_is_left_behind_at_its_limit() -> None:
    free = threading.Event()
    started = time.monotonic()
    with pytest.raises(DecodeError) as caught:
        within(0.2, lambda: free.wait(LONG_S))
    assert 0.2 <= time.monotonic() - started < LONG_S
    assert str(caught.value) == (
        "decode_timeout: not decoded in 0.2 s, which decode.timeout_s allows"
    )
    free.set()
    assert within(LONG_S, lambda: "the next") == "the next"


def test_one_thread_serves_call_after_call_and_none_is_left() -> None:
    within(LONG_S, threading.get_ident)
    before = threading.active_count()
    idents = {within(LONG_S, threading.get_ident) for _ in range(100)}
    assert len(idents) == 1
    assert threading.get_ident() not in idents
    assert threading.active_count() <= before
    with pytest.raises(DecodeError):
        within(0.01, lambda: time.sleep(0.2))
    time.sleep(0.5)
    within(LONG_S, threading.get_ident)
    assert threading.active_count() <= before + 1


def test_many_threads_have_a_clock_each() -> None:
    found: list[object] = []

    def run(number: int) -> None:
        try:
            found.append(within(0.5, lambda: time.sleep(LONG_S if number % 2 else 0) or number))
        except DecodeError as error:
            found.append(error.reason)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, found)) == ["0", "2", "4", *["decode_timeout"] * 3]


NOISE = np.random.default_rng(0).integers(0, 256, (1_800, 1_800, 3), dtype=np.uint8)
WAYS = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("PNG", {"compress_level": 1}),
    ("WEBP", {"method": 0}),
    ("WEBP", {"method": 0, "lossless": True, "quality": 0}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "jpeg"}),
]


@pytest.mark.parametrize(("name", "options"), WAYS)
def test_other_threads_run_while_pillow_decodes(name: str, options: dict) -> None:
    file = io.BytesIO()
    Image.fromarray(NOISE).save(file, name, **options)
    body = file.getvalue()
    ticks = 0
    done = threading.Event()

    def decode_it() -> None:
        for _ in range(3):
            decode(body, max_pixels=10**8)
        done.set()

    thread = threading.Thread(target=decode_it)
    thread.start()
    while not done.wait(0.002):
        ticks += 1
    thread.join()
    assert ticks > 6


@pytest.mark.parametrize("way", ["hangs", "hangs and keeps the lock"])
def test_a_worker_of_the_pool_gets_past_a_decoder_that_hangs(way: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    mark.touch()
    pool = LastingPool(1)
    call = pool.submit(hang_once, str(mark), way, 0.5)
    if way == "hangs":
        with pytest.raises(DecodeError, match="decode_timeout"):
            call.result()
    else:  # its worker is ended by the kernel, and the call made again
        assert call.result() == "done"
    assert not mark.exists()
    pool.shutdown()
