import asyncio
import time
from collections.abc import Awaitable, Callable

from pipelines.captions.throttle import Throttle


def run(work: Callable[[Throttle], Awaitable[None]], most: int = 16) -> Throttle:
    async def within() -> Throttle:
        throttle = Throttle(most, 0.1)
        await work(throttle)
        return throttle

    return asyncio.run(within())


def test_requests_of_one_round_halve_the_limit_once() -> None:
    async def work(throttle: Throttle) -> None:
        async with throttle.slot() as first, throttle.slot() as second:
            throttle.too_many(first, 0)
            throttle.too_many(second, 0)
            assert throttle.limit == 8
        async with throttle.slot() as third:
            throttle.too_many(third, 0)

    assert run(work).limit == 4


def test_the_limit_stays_one_or_more() -> None:
    async def work(throttle: Throttle) -> None:
        for _ in range(9):
            async with throttle.slot() as since:
                throttle.too_many(since, 0)

    assert run(work).limit == 1


def test_a_round_of_answers_raises_the_limit_by_one_up_to_the_most() -> None:
    async def work(throttle: Throttle) -> None:
        throttle.limit = 4.0
        for _ in range(5):
            throttle.answered()
        assert 5 <= throttle.limit < 5.3
        for _ in range(200):
            throttle.answered()

    assert run(work).limit == 16


def test_no_more_than_the_limit_are_in_flight() -> None:
    peaks = []

    async def work(throttle: Throttle) -> None:
        held = 0

        async def one() -> None:
            nonlocal held
            async with throttle.slot():
                held += 1
                peaks.append(held)
                await asyncio.sleep(0)
                held -= 1

        throttle.limit = 3.9
        await asyncio.gather(*(one() for _ in range(20)))

    run(work)
    assert max(peaks) == 3
    assert len(peaks) == 20


def test_a_pause_holds_back_all_and_is_cut_to_the_longest() -> None:
    async def work(throttle: Throttle) -> None:
        async with throttle.slot() as since:
            throttle.too_many(since, 7200)
        begun = time.monotonic()
        async with throttle.slot():
            assert 0.09 < time.monotonic() - begun < 60  # of 7,200 s

    run(work)


def test_a_request_that_is_given_up_frees_its_slot() -> None:
    async def work(throttle: Throttle) -> None:
        async def stuck() -> None:
            async with throttle.slot():
                await asyncio.sleep(9)

        tasks = [asyncio.create_task(stuck()) for _ in range(3)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        async with asyncio.timeout(1), throttle.slot():
            pass

    run(work, most=1)
