"""Many requests at once: each ends in one result, retried if it may pass, within its limits."""

import asyncio
import os
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ThreadedResolver
from fetching import fails, fetch, limits, succeeds
from misbehaving_server import JPEG, Server, misbehaving_server

from pipelines.fetch import fetcher
from pipelines.fetch.fetcher import Fetched, FetchFailure, HttpFetcher, fetch_all
from pipelines.fetch.hosts import DOWN_S
from pipelines.fetch.resolver import CheckedResolver
from pipelines.runtime.retry_failed import is_temporary


def fetch_each(urls: list[str], **changes: Any) -> list[Fetched | FetchFailure]:
    """Fetch URLs; return their results in order."""
    results: dict[int, Fetched | FetchFailure] = {}
    fetch_all(enumerate(urls), limits(**changes), results.__setitem__)
    return [results[n] for n in range(len(urls))]


@pytest.fixture
def server() -> Iterator[Server]:
    with misbehaving_server() as running:
        yield running


def test_an_image_arrives_byte_for_byte_with_its_headers(server: Server) -> None:
    expected = Fetched(
        body=JPEG,
        final_url=f"{server.url}/image/a",
        status=200,
        content_type="image/jpeg",
        opt_outs="",
    )
    assert fetch(f"{server.url}/image/a") == expected


def test_the_request_names_us_and_asks_for_no_compression(server: Server) -> None:
    fetch(f"{server.url}/image/a", user_agent="bot/2")
    assert "User-Agent: bot/2\r\n" in server.heads["/image/a"]
    assert "Accept-Encoding: identity\r\n" in server.heads["/image/a"]


def test_the_fetcher_object_does_what_the_function_does(server: Server) -> None:
    results: dict[int, Fetched | FetchFailure] = {}
    urls = [f"{server.url}/image/a", f"{server.url}/missing"]
    HttpFetcher(limits())(enumerate(urls), results.__setitem__)
    assert isinstance(results[0], Fetched)
    assert isinstance(results[1], FetchFailure)


@pytest.mark.parametrize(
    ("door", "error", "tries"),
    [
        ("missing", "http_404", 1),
        ("broken", "http_500", 3),
        ("to-nowhere", "http_302", 1),
        ("too-big", "too_large", 1),
        ("shorter-than-said", "connection_error", 3),
        ("half-chunked", "connection_error", 3),
        ("noise", "connection_error", 1),
        ("bad-length", "connection_error", 1),
        ("page", "not_an_image", 1),
        ("gzipped-page", "not_an_image", 1),
        ("not-gzipped", "not_an_image", 1),
        ("gzipped-bomb", "too_large", 1),
        ("svg", "unsupported_image", 1),
        ("jp2", "unsupported_image", 1),
        ("to-controls", "bad_url", 1),
        ("empty", "empty_body", 1),
        ("to-file", "bad_url", 1),
        ("to-garbage", "bad_url", 1),
        ("to-bytes", "bad_url", 1),
    ],
)
def test_a_bad_answer_has_its_class_and_is_retried_only_if_it_may_pass(
    server: Server, door: str, error: str, tries: int
) -> None:
    failure = fails(f"{server.url}/{door}", retries=2, max_bytes=1_000_000)
    assert failure.error == error, failure
    assert failure.detail.startswith(f"{server.url}/{door}: ")
    assert failure.detail.count(f"{server.url}/{door}") == 1
    assert not failure.dropped
    assert server.tries(f"/{door}") == tries


def test_the_status_stands_beside_the_error(server: Server) -> None:
    assert fails(f"{server.url}/missing").status == 404


def test_a_500_and_then_an_image_is_an_image(server: Server) -> None:
    assert succeeds(f"{server.url}/heals").body == JPEG
    assert server.tries("/heals") == 2


def test_retry_after_is_waited_for(server: Server) -> None:
    succeeds(f"{server.url}/busy")
    first, second = server.hits["/busy"]
    assert second - first >= 1.0


def test_a_host_that_asks_for_a_longer_wait_than_allowed_is_asked_no_more(server: Server) -> None:
    urls = [f"{server.url}/busy-for-hours", *(f"{server.url}/image/{n}" for n in range(20))]
    results = fetch_each(urls, max_per_host=1)
    errors = [each.error for each in results if isinstance(each, FetchFailure)]
    assert errors == ["http_503", *["host_busy"] * 20]
    assert all(is_temporary(error) for error in errors)
    assert "Retry-After of 7,200 s, max_retry_after_s is 30" in results[1].detail  # type: ignore[union-attr]
    assert sum(map(len, server.hits.values())) == 1


def test_a_wish_for_patience_holds_for_the_host(server: Server) -> None:
    urls = [f"{server.url}/busy", *(f"{server.url}/image/{n}" for n in range(5))]
    results = fetch_each(urls, max_per_host=1)
    assert all(isinstance(each, Fetched) for each in results)
    first = server.hits["/busy"][0]
    others = [moment for path, moments in server.hits.items() for moment in moments]
    assert sorted(moment - first >= 1.0 for moment in others) == [False, *[True] * 6]


def test_a_reset_connection_is_retried_and_then_a_connection_error(server: Server) -> None:
    assert fails(f"{server.url}/resets", retries=0).error == "connection_error"
    without_retries = server.tries("/resets")
    fails(f"{server.url}/resets", retries=2)
    assert server.tries("/resets") == without_retries * 4


def test_a_refused_connection_is_a_connection_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    assert fails(f"http://127.0.0.1:{port}/").error == "connection_error"


def test_plain_http_behind_https_is_a_tls_error(server: Server) -> None:
    assert fails(server.url.replace("http:", "https:") + "/image").error == "tls_error"


def test_a_name_that_does_not_resolve_is_a_dns_error() -> None:
    failure = fails("http://no-such-host.invalid/a.jpg", retries=0)
    assert failure.error == "dns_error"
    assert "no-such-host.invalid" in failure.detail


def test_a_server_that_drips_is_left_in_time_and_not_asked_again(server: Server) -> None:
    start = time.monotonic()
    assert fails(f"{server.url}/drips", timeout_s=0.4).error == "timeout"
    assert 0.4 <= time.monotonic() - start < 30
    assert server.tries("/drips") == 1


def test_cookies_are_not_kept(server: Server) -> None:
    succeeds(f"{server.url}/cookie")
    assert "cookie:" not in server.heads["/image/cookie"].lower()


def test_a_proxy_of_the_environment_is_not_used(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    succeeds(f"{server.url}/image")


def test_requests_run_at_once_and_no_more_than_allowed(server: Server) -> None:
    requests = [(n, f"{server.url}/holds/{n}") for n in range(48)]
    seen: list[int] = []
    fetch_all(requests, limits(concurrency=12, max_per_host=0), lambda n, _: seen.append(n))
    assert 8 <= server.most_in_flight <= 12
    assert sorted(seen) == list(range(48))


def test_one_host_gets_no_more_requests_at_once_than_its_share(server: Server) -> None:
    requests = [(n, f"{server.url}/holds/{n}") for n in range(12)]
    fetch_all(requests, limits(concurrency=12, max_per_host=3), lambda n, _: None)
    assert server.most_in_flight == 3


def test_the_wait_for_a_turn_at_a_host_is_outside_the_time_limit(server: Server) -> None:
    requests = [(n, f"{server.url}/holds/{n}") for n in range(8)]
    results: dict[int, Fetched | FetchFailure] = {}
    fetch_all(requests, limits(max_per_host=1, timeout_s=0.6), results.__setitem__)
    assert all(isinstance(each, Fetched) for each in results.values()), results


def test_a_host_that_hangs_is_given_up_and_delays_no_other(server: Server) -> None:
    with misbehaving_server() as dead:
        urls = [f"{dead.url}/hangs/{n}" for n in range(10_000)]
        urls += [f"{server.url}/image/{n}" for n in range(20)]
        results = fetch_each(urls, timeout_s=5.0, host_failures=3)
        asked = sum(map(len, dead.hits.values()))
    errors = Counter(each.error for each in results if isinstance(each, FetchFailure))
    assert errors == {"timeout": asked, "host_down": 10_000 - asked}
    assert 3 <= asked <= 16 + 2  # a request may start between two failures
    assert all(isinstance(each, Fetched) for each in results[10_000:])
    assert is_temporary("host_down")


def test_a_host_that_was_down_gets_one_request_after_a_while(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = server.url.removeprefix("http://")
    monkeypatch.setitem(fetcher._DOWN, name, time.monotonic())
    urls = [f"{server.url}/image/{n}" for n in range(9)]
    first = fetch_each(urls)
    assert [each.error for each in first if isinstance(each, FetchFailure)] == ["host_down"] * 9
    assert not server.hits
    monkeypatch.setitem(fetcher._DOWN, name, time.monotonic() - DOWN_S)
    assert all(isinstance(each, Fetched) for each in fetch_each(urls))
    assert name not in fetcher._DOWN


def test_requests_to_a_host_keep_their_distance(server: Server) -> None:
    fetch_each([f"{server.url}/image/{n}" for n in range(5)], min_delay_s=0.2)
    moments = sorted(moment for each in server.hits.values() for moment in each)
    assert moments[-1] - moments[0] > 0.5  # four pauses, but for what the first was late


def test_a_redirect_waits_for_its_turn_at_its_own_host(server: Server) -> None:
    results = fetch_each([f"{server.url}/to-holds/{n}" for n in range(9)], max_per_host=2)
    assert all(isinstance(each, Fetched) for each in results)
    assert server.most_in_flight <= 2


def test_a_name_that_is_unknown_is_looked_up_once() -> None:
    asked: list[str] = []

    class Unknown(ThreadedResolver):
        async def resolve(self, host: str, port: int = 0, family: Any = 0) -> Any:
            asked.append(host)
            raise socket.gaierror(socket.EAI_NONAME, "unknown")

    async def look_up() -> None:
        resolver = CheckedResolver(Unknown())
        for _ in range(5):
            with pytest.raises(OSError, match="unknown"):
                await resolver.resolve("nowhere.invalid")

    asyncio.run(look_up())
    assert asked == ["nowhere.invalid"]


def test_results_come_in_the_order_of_completion_in_the_calling_thread(server: Server) -> None:
    requests = [(0, f"{server.url}/holds/x"), (1, f"{server.url}/image")]
    seen: list[tuple[int, int]] = []
    fetch_all(requests, limits(), lambda n, _: seen.append((n, threading.get_ident())))
    assert seen == [(1, threading.get_ident()), (0, threading.get_ident())]


def test_no_requests_are_no_results() -> None:
    fetch_all([], limits(), lambda n, _: pytest.fail("called"))


def test_a_bug_in_the_sink_propagates_and_ends_the_fetch(server: Server) -> None:
    calls: list[int] = []

    def sink(index: int, result: Fetched | FetchFailure) -> None:
        calls.append(index)
        raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        fetch_all([(n, f"{server.url}/image/{n}") for n in range(20)], limits(), sink)
    assert len(calls) == 1


def test_a_machine_out_of_file_descriptors_is_not_the_fault_of_the_url(server: Server) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def requests() -> Iterator[tuple[int, str]]:
        with Path(os.devnull).open() as lowest_free:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free.fileno(), hard))
        yield 0, f"{server.url}/image"

    try:
        with pytest.raises(OSError, match="Too many open files"):
            fetch_all(requests(), limits(concurrency=1), lambda n, _: None)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"retries": -1}, {"max_per_host": -1}])
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        limits(**wrong)
