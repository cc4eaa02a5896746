"""Turns of hosts, in a simulated time."""

import heapq
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from pipelines.fetch.hosts import Hosts, Visit
from pipelines.fetch.types import FetchLimits

# Of each URL: its host, and how long a request takes, in s.
LISTS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.5, 1.0, 30.0])), max_size=30)


def visit(index: int, host: str) -> Visit:
    url = URL(f"http://{host}/{index}")
    return Visit(index, str(url), url, 20.0, requested=[url])


def run(urls: list[tuple[str, float]], limits: FetchLimits) -> list[tuple[float, float, str]]:
    """Return begin, end and host of each request, in the order of their begin."""
    hosts, now = Hosts(limits, {}), 0.0
    for index, (host, _) in enumerate(urls):
        hosts.add(visit(index, host))
    running: list[tuple[float, int, Visit]] = []
    found: list[tuple[float, float, str]] = []
    while running or hosts.waiting:
        while len(running) < limits.concurrency and (taken := hosts.take(now)):
            end = now + urls[taken.index][1]
            heapq.heappush(running, (end, taken.index, taken))
            found.append((now, end, taken.host))
        pauses = [] if len(running) == limits.concurrency else [hosts.wait_s(now)]
        moments = [*(now + each for each in pauses if each is not None), *(r[0] for r in running)]
        assert moments, "nothing runs, and nothing will be ready"
        now = min(moments)
        while running and running[0][0] <= now:
            hosts.end(heapq.heappop(running)[2].host)
    return found


@settings(max_examples=100, deadline=None)
@given(LISTS, st.integers(1, 6), st.integers(0, 3), st.sampled_from([0.0, 2.0]))
def test_each_url_has_one_turn_within_the_limits_of_its_host(
    urls: list[tuple[str, float]], concurrency: int, most: int, delay: float
) -> None:
    limits = FetchLimits(concurrency=concurrency, max_per_host=most, min_delay_s=delay)
    found = run(urls, limits)
    assert sorted(host[0] for _, _, host in found) == sorted(host for host, _ in urls)
    for name in "abc":
        mine = [(begin, end) for begin, end, host in found if host.startswith(name)]
        assert all(b[0] - a[0] >= delay - 1e-9 for a, b in pairwise(mine))
        at_once = [sum(a <= begin < b for a, b in mine) for begin, _ in mine]
        assert max(at_once, default=0) <= (most or concurrency)
    at_once = [sum(a <= begin < b for a, b, _ in found) for begin, _, _ in found]
    assert max(at_once, default=0) <= concurrency


def test_a_slow_host_delays_no_other() -> None:
    urls = [("a", 30.0)] * 8 + [("b", 1.0)] * 8
    limits = FetchLimits(concurrency=4, max_per_host=2)
    ends = [end for _, end, host in run(urls, limits) if host.startswith("b")]
    assert max(ends) == 4.0  # as without the other host


def test_a_host_that_is_held_waits_and_the_others_go_on() -> None:
    hosts = Hosts(FetchLimits(), {})
    for index, host in enumerate("ab"):
        hosts.add(visit(index, host))
    hosts.hold("a:80", 5.0)
    taken = hosts.take(0.0)
    assert taken is not None
    assert taken.host == "b:80"
    assert hosts.take(0.0) is None
    assert hosts.wait_s(0.0) == 5.0
    assert hosts.take(5.0) is not None
    assert hosts.waiting == 0


def test_failures_count_only_in_a_row() -> None:
    hosts = Hosts(FetchLimits(host_failures=3), down := {})
    hosts.add(visit(0, "a"))
    assert [hosts.failed("a:80", 0.0) for _ in range(2)] == [False, False]
    hosts.answered("a:80")
    assert [hosts.failed("a:80", 0.0) for _ in range(3)] == [False, False, True]
    assert down == {"a:80": 0.0}
    assert [each.index for each in hosts.drain("a:80")] == [0]
    assert hosts.waiting == 0
