"""Every door of the fetcher, against a real server on this machine that misbehaves by the byte."""

from __future__ import annotations

import asyncio
import gzip
import io
import ipaddress
import itertools
import os
import resource
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from PIL import Image

from pipelines import addresses
from pipelines.addresses import CheckedResolver, PrivateAddressError, is_public, literal_address
from pipelines.fetch import Fetched, FetchFailure, FetchLimits, HttpFetcher, check_url, fetch_all
from pipelines.responses import forbidding_directive, image_format, retry_after_s


def an_image(name: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 30, 90)).save(file, name)
    return file.getvalue()


JPEG = an_image("JPEG")
Door = Callable[["Server", asyncio.StreamWriter, int], Awaitable[None]]
DOORS: dict[str, Door] = {}


class Server:
    """One answer a connection, chosen by the first part of the path."""

    def __init__(self) -> None:
        self.hits: defaultdict[str, list[float]] = defaultdict(list)  # moments by path
        self.heads: dict[str, str] = {}  # the request as it came
        self.in_flight = 0
        self.most_in_flight = 0
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.readexactly(1)
            if first == b"\x16":  # the greeting of a TLS client, which gets no such answer
                writer.write(reply())
                return writer.close()
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split()[1]
            self.hits[path].append(time.monotonic())
            self.heads[path] = head
            await DOORS[path.split("/")[1]](self, writer, len(self.hits[path]))
            await writer.drain()
            writer.close()
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()

    def tries(self, path: str) -> int:
        return len(self.hits[path])


def reply(*headers: str, body: bytes = JPEG, status: str = "200 OK", length: int = -1) -> bytes:
    size = len(body) if length < 0 else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def plain(name: str, answer: bytes) -> None:
    async def door(server: Server, writer: asyncio.StreamWriter, visit: int) -> None:
        writer.write(answer)

    DOORS[name] = door


def by_visit(name: str, *answers: bytes) -> None:
    async def door(server: Server, writer: asyncio.StreamWriter, visit: int) -> None:
        writer.write(answers[min(visit, len(answers)) - 1])

    DOORS[name] = door


def door(run: Door) -> Door:
    DOORS[run.__name__.replace("_", "-")] = run
    return run


def moved(to: str, status: str = "302 Found") -> bytes:
    return reply(f"Location: {to}", status=status, body=b"")


plain("image", reply("Content-Type: image/jpeg"))
plain("missing", reply(status="404 Not Found", body=b"no"))
plain("broken", reply(status="500 Oh", body=b"no"))
by_visit("heals", reply(status="500 Oh", body=b"no"), reply())
by_visit("busy", reply("Retry-After: 1", status="429 Too Many", body=b""), reply())
by_visit("busy-for-hours", reply("Retry-After: 7200", status="503 Later", body=b""), reply())
plain("hop1", moved("../hop2/x", "301 Moved"))
plain("hop2", moved("/image/end", "308 Moved"))
plain("loop", moved("/loop/again"))
plain("to-file", moved("file:///etc/passwd"))
plain("to-private", moved("http://169.254.169.254/latest/meta-data"))
plain("to-garbage", moved("http://[::1/"))
plain("to-bytes", b"HTTP/1.1 302 Found\r\nLocation: http://h\xff\xfe/\r\n\r\n")
plain("to-nowhere", reply(status="302 Found", body=b""))
plain("too-big", reply(body=b"", length=10**12))
plain("longer-than-said", reply(length=len(JPEG) - 100))
plain("shorter-than-said", reply(length=len(JPEG) + 100))
plain("half-chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n" + JPEG[:9])
plain("odd-type", reply("Content-Type: image/\xe9"))
plain("until-close", b"HTTP/1.1 200 OK\r\n\r\n" + JPEG)
plain("gzipped", reply("Content-Encoding: gzip", body=gzip.compress(JPEG)))
plain("page", reply("Content-Type: image/png", body=b"<html>Sorry</html>"))
plain("empty", reply("Content-Type: image/png", body=b""))
plain("noise", b"\x16\x03\x01 what?\r\n\r\n")
plain("bad-length", b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n")
plain("cookie", moved("/image/cookie").replace(b"\r\n\r\n", b"\r\nSet-Cookie: id=7\r\n\r\n"))
plain("noai", reply("X-Robots-Tag: noindex-ish", "X-Robots-Tag: all, NoAI", body=b"secret"))
plain("other-bot", reply("X-Robots-Tag: otherbot: noai, noindex"))


@door
async def resets(server: Server, writer: asyncio.StreamWriter, visit: int) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@door
async def endless(server: Server, writer: asyncio.StreamWriter, visit: int) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + JPEG)
    while True:
        writer.write(bytes(10_000))
        await writer.drain()


@door
async def drips(server: Server, writer: asyncio.StreamWriter, visit: int) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(1000):
        writer.write(b"\xff")
        await writer.drain()
        await asyncio.sleep(0.05)


@door
async def holds(server: Server, writer: asyncio.StreamWriter, visit: int) -> None:
    server.in_flight += 1
    server.most_in_flight = max(server.most_in_flight, server.in_flight)
    await asyncio.sleep(0.1)
    server.in_flight -= 1
    writer.write(reply())


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    loop = asyncio.new_event_loop()
    listening = loop.run_until_complete(asyncio.start_server(server.answer, "127.0.0.1", 0))
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    listening.close()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def limits(**changes: Any) -> FetchLimits:
    settings = {"allow_private_addresses": True, "backoff_s": 0.01, "timeout_s": 10.0}
    return FetchLimits(**(settings | changes))


def fetch(url: str, **changes: Any) -> Fetched | FetchFailure:
    results: dict[int, Fetched | FetchFailure] = {}
    fetch_all([(7, url)], limits(**changes), results.__setitem__)
    assert list(results) == [7]
    return results[7]


def fails(url: str, **changes: Any) -> FetchFailure:
    result = fetch(url, **changes)
    assert isinstance(result, FetchFailure), result
    return result


def succeeds(url: str, **changes: Any) -> Fetched:
    result = fetch(url, **changes)
    assert isinstance(result, Fetched), result
    return result


def test_an_image_arrives_byte_for_byte_with_its_headers(server: Server) -> None:
    expected = Fetched(
        body=JPEG,
        final_url=f"{server.url}/image/a",
        status=200,
        content_type="image/jpeg",
        robots="",
    )
    assert fetch(f"{server.url}/image/a") == expected


def test_a_body_that_ends_with_the_connection_arrives(server: Server) -> None:
    assert succeeds(f"{server.url}/until-close").body == JPEG


def test_a_header_that_is_no_utf8_can_be_stored(server: Server) -> None:
    assert succeeds(f"{server.url}/odd-type").content_type == "image/\ufffd"


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
        ("noise", "connection_error", 3),
        ("bad-length", "connection_error", 3),
        ("page", "not_an_image", 1),
        ("gzipped", "not_an_image", 1),
        ("empty", "empty_body", 1),
        ("to-file", "bad_url", 1),
        ("to-garbage", "bad_url", 1),
        ("to-bytes", "bad_url", 1),
    ],
)
def test_a_bad_answer_has_its_class_and_is_retried_only_if_it_may_pass(
    server: Server, door: str, error: str, tries: int
) -> None:
    failure = fails(f"{server.url}/{door}", retries=2)
    assert failure.error == error, failure
    assert not failure.dropped
    assert server.tries(f"/{door}") == tries


def test_the_status_stands_beside_the_error(server: Server) -> None:
    assert fails(f"{server.url}/missing").status == 404


def test_a_page_declared_as_an_image_is_shown_in_the_detail(server: Server) -> None:
    failure = fails(f"{server.url}/page")
    assert "<html>" in failure.detail
    assert "image/png" in failure.detail


def test_a_compressed_body_is_named_as_such(server: Server) -> None:
    assert "gzip" in fails(f"{server.url}/gzipped").detail


def test_a_body_longer_than_said_ends_where_it_was_said_to(server: Server) -> None:
    result = fetch(f"{server.url}/longer-than-said", retries=0)
    if isinstance(result, Fetched):
        assert result.body == JPEG[:-100]
    else:
        assert result.error == "connection_error"


def test_a_500_and_then_an_image_is_an_image(server: Server) -> None:
    assert succeeds(f"{server.url}/heals").body == JPEG
    assert server.tries("/heals") == 2


def test_retry_after_is_waited_for(server: Server) -> None:
    succeeds(f"{server.url}/busy")
    first, second = server.hits["/busy"]
    assert second - first >= 1.0


def test_retry_after_is_capped(server: Server) -> None:
    start = time.monotonic()
    succeeds(f"{server.url}/busy-for-hours", max_retry_after_s=0.1)
    assert time.monotonic() - start < 5


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


def test_a_body_without_end_is_cut_off(server: Server) -> None:
    assert fails(f"{server.url}/endless", max_bytes=100_000).error == "too_large"


@pytest.mark.parametrize(("spare", "kind"), [(-1, FetchFailure), (0, Fetched), (1, Fetched)])
def test_a_body_may_have_max_bytes_and_no_more(server: Server, spare: int, kind: type) -> None:
    for door in ("image", "until-close"):
        assert isinstance(fetch(f"{server.url}/{door}", max_bytes=len(JPEG) + spare), kind)


def test_a_server_that_drips_is_left_in_time_and_not_asked_again(server: Server) -> None:
    start = time.monotonic()
    assert fails(f"{server.url}/drips", timeout_s=0.4).error == "timeout"
    assert 0.4 <= time.monotonic() - start < 5
    assert server.tries("/drips") == 1


def test_redirects_are_followed_to_the_image(server: Server) -> None:
    assert succeeds(f"{server.url}/hop1/x", max_redirects=2).final_url == f"{server.url}/image/end"


def test_one_redirect_over_the_limit_is_too_many(server: Server) -> None:
    assert fails(f"{server.url}/hop1/x", max_redirects=1).error == "too_many_redirects"


def test_a_redirect_loop_ends(server: Server) -> None:
    assert fails(f"{server.url}/loop/x", max_redirects=5).error == "too_many_redirects"
    assert server.tries("/loop/x") + server.tries("/loop/again") == 6


def test_cookies_are_not_kept(server: Server) -> None:
    succeeds(f"{server.url}/cookie")
    assert "cookie:" not in server.heads["/image/cookie"].lower()


def test_a_proxy_of_the_environment_is_not_used(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    succeeds(f"{server.url}/image")


def test_an_opt_out_is_a_decision_and_not_an_error(server: Server) -> None:
    failure = fails(f"{server.url}/noai")
    assert (failure.error, failure.dropped, failure.status) == ("robots_noai", True, 200)
    assert "noindex-ish, all, NoAI" in failure.detail


def test_an_opt_out_not_respected_is_kept_beside_the_image(server: Server) -> None:
    assert succeeds(f"{server.url}/other-bot").robots == "otherbot: noai, noindex"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], None),
        (["all"], None),
        (["noai"], "noai"),
        (["NOINDEX , nofollow"], "noindex"),
        (["nofollow", "noimageai"], "noimageai"),
        (["none"], "noindex"),
        (["noindex; noai"], "noai"),
        (["vargpt-corpus: noai"], "noai"),
        (["VarGPT-Corpus: nofollow, noai"], "noai"),
        (["*: noai"], "noai"),
        (["otherbot: noai"], None),
        (["otherbot: noai, noindex"], None),
        (["otherbot: noai, vargpt-corpus: noindex"], "noindex"),
        (["noai, otherbot: nofollow"], "noai"),
        (["otherbot: nofollow", "noai"], "noai"),
        (["max-snippet: 5, noai"], "noai"),
        (["unavailable_after: Friday, 25 Jun 2010 15:00:00 PST, noai"], "noai"),
        (["noarchive, nosnippet"], None),
    ],
)
def test_robots_headers_are_read_as_written(headers: list[str], expected: str | None) -> None:
    respected = ("noai", "noimageai", "noindex")
    assert forbidding_directive(headers, respected, "vargpt-corpus/0.1") == expected


def test_our_name_is_found_inside_a_longer_user_agent() -> None:
    user_agent = "Mozilla/5.0 (compatible; our-bot/1; +https://bot.example)"
    assert forbidding_directive(["our-bot: noai"], ["noai"], user_agent) == "noai"


def test_a_directive_the_user_does_not_respect_is_not_found() -> None:
    assert forbidding_directive(["noindex, none"], ("noai",), "us") is None


@pytest.mark.parametrize(
    ("value", "sent", "expected"),
    [
        ("12", "", 12.0),
        ("", "", 0.0),
        ("-3", "", 0.0),
        ("soon", "", 0.0),
        ("9" * 5000, "", 0.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", "Wed, 21 Oct 2015 07:28:00 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:28:30 -0000", "Wed, 21 Oct 2015 07:28:00 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:30 GMT", 0.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", "yesterday", 0.0),
        ("Mon, 01 Jan 0001 00:00:00 +2359", "", 0.0),
    ],
)
def test_retry_after_is_read(value: str, sent: str, expected: float) -> None:
    assert retry_after_s({"Retry-After": value, "Date": sent}) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("JPEG", "jpeg"),
        ("PNG", "png"),
        ("GIF", "gif"),
        ("WEBP", "webp"),
        ("BMP", "bmp"),
        ("TIFF", "tiff"),
        ("AVIF", "heif"),
    ],
)
def test_what_pillow_writes_is_an_image(name: str, expected: str) -> None:
    assert image_format(an_image(name)) == expected


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"<svg/>", b"BMW is a maker of cars", b"RIFF1234WAVE", b"1234ftypmp42"]
)
def test_what_is_no_image_has_no_format(body: bytes) -> None:
    assert image_format(body) is None


PRIVATE_HOSTS = [
    "127.0.0.1",
    "127.0.0.1.",
    "2130706433",
    "0x7f000001",
    "0X7F.1",
    "0177.0.0.1",
    "017700000001",
    "127.1",
    "0",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "192.88.99.1",
    "224.0.0.1",
    "255.255.255.255",
    "[::]",
    "[::1]",
    "[::127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::10.0.0.1]",
    "[64:ff9b:1::1]",
    "[2002:7f00:1::]",
    "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[5f00::1]",
    "[fc00::1]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
    "\u2460\u2461\u2466.0.0.1",
]


@pytest.mark.parametrize("host", PRIVATE_HOSTS)
def test_a_private_address_is_refused_however_it_is_spelt(host: str) -> None:
    failure = fails(f"http://{host}:9/", allow_private_addresses=False)
    assert failure.error == "private_address", failure


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.0",
        "172.32.0.1",
        "2606:4700::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::",
    ],
)
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("host", ["134744072", "8.8.2056", "010.8.8.8", "8.8.8.8."])
def test_a_public_address_in_an_odd_form_is_a_bad_url(host: str) -> None:
    assert fails(f"http://{host}:9/", allow_private_addresses=False).error == "bad_url"


def test_a_host_that_is_a_name_is_no_literal() -> None:
    assert literal_address("1e100.net") is None
    assert literal_address("0x7f.example") is None


def test_a_redirect_to_a_private_address_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stands for a public server: this address alone, of all the private ones, is let pass.
    monkeypatch.setattr(addresses, "is_public", lambda address: str(address) == "127.0.0.1")
    failure = fails(f"{server.url}/to-private", allow_private_addresses=False)
    assert failure.error == "private_address"
    assert "169.254.169.254" in failure.detail
    assert server.tries("/to-private") == 1


def test_a_name_of_this_machine_is_refused(server: Server) -> None:
    url = server.url.replace("127.0.0.1", "localhost") + "/image"
    assert fails(url, allow_private_addresses=False).error == "private_address"
    assert server.tries("/image") == 0
    assert succeeds(url, allow_private_addresses=True).body == JPEG


class Names(AbstractResolver):
    """A name server in the hands of an enemy: a list of addresses for each question."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = iter(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=each, port=port, family=family, proto=0, flags=0)
            for each in next(self.answers)
        ]

    async def close(self) -> None:
        pass


def test_only_the_public_addresses_of_a_name_are_passed_on() -> None:
    resolver = CheckedResolver(Names(["10.0.0.1", "8.8.8.8", "::1"]))
    found = asyncio.run(resolver.resolve("mixed.example"))
    assert [each["host"] for each in found] == ["8.8.8.8"]


def test_a_name_that_turns_private_later_is_refused_then() -> None:
    resolver = CheckedResolver(Names(["8.8.8.8"], ["127.0.0.1"]))
    assert asyncio.run(resolver.resolve("turning.example"))
    with pytest.raises(PrivateAddressError, match=r"turning\.example resolves to 127\.0\.0\.1"):
        asyncio.run(resolver.resolve("turning.example"))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "scheme ''"),
        ("a.jpg", "scheme ''"),
        ("//host/a.jpg", "scheme ''"),
        ("ftp://host/a.jpg", "scheme 'ftp'"),
        ("file:///etc/passwd", "scheme 'file'"),
        ("data:image/png;base64,AAAA", "scheme 'data'"),
        ("http:///a.jpg", "no host"),
        ("http://[]@", "no host"),
        ("http://host:0/", "port 0"),
        ("http://host:65536/", "cannot parse"),
        ("http://host:http/", "cannot parse"),
        ("http://[::1/", "cannot parse"),
        ("http://host\\@other/", "cannot parse"),
        ("http://host/\ud800.jpg", "unusable character"),
        ("http://me:secret@host/", "user or password"),
        ("http://me@host/", "user or password"),
        ("http://host/a\r\nHost: other", "unusable character '\\r'"),
        ("http://host/\x00", "unusable character"),
        ("http://ho st/", "not a domain name"),
        ("http://host..example/", "not a domain name"),
        ("http://*.example/", "not a domain name"),
        ("http://" + "a" * 64 + ".example/", "not a domain name"),
        ("http://%31%32%37.0.0.1/", "escape or IPv6 zone"),
        ("http://[fe80::1%25eth0]/", "escape or IPv6 zone"),
        ("http://1.2.3.4.5/", "ends in a number"),
        ("http://host.256/", "ends in a number"),
        ("http://08.8.8.8/", "ends in a number"),
    ],
)
def test_a_malformed_url_is_told_why(url: str, reason: str) -> None:
    assert reason in (check_url(url) or "")
    assert fails(url).error == "bad_url"


@pytest.mark.parametrize(
    "url",
    [
        "http://host/a.jpg",
        "HTTPS://Host.Example:8443/a%20b.jpg?x=1&y=2#z",
        "http://host/a b|c.jpg",
        "http://b\u00fccher.example/\u00e9.png",
        "http://under_score.example.",
        "http://8.8.8.8/",
        "http://[2606:4700::1]:80/",
    ],
)
def test_a_well_formed_url_has_no_reason(url: str) -> None:
    assert check_url(url) is None


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


def test_requests_are_taken_only_as_results_are_handed_over(server: Server) -> None:
    taken = itertools.count()
    ahead: list[int] = []
    results: list[int] = []

    def requests() -> Iterator[tuple[int, str]]:
        for n in range(40):
            ahead.append(next(taken) + 1 - len(results))
            yield n, f"{server.url}/image/{n}"

    fetch_all(requests(), limits(concurrency=5), lambda n, _: results.append(n))
    assert len(results) == 40
    assert max(ahead) <= 5


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
