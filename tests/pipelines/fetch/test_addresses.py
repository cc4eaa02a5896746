"""No URL, redirect or name leads the fetcher to an address that is not public, however spelt."""

import asyncio
import ipaddress
import socket
from collections.abc import Iterator

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from fetching import fails, succeeds
from misbehaving_server import JPEG, Server, misbehaving_server

from pipelines.fetch import addresses
from pipelines.fetch.addresses import (
    PrivateAddressError,
    check_url,
    is_never_open,
    is_public,
    literal_address,
)
from pipelines.fetch.resolver import CheckedResolver

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


@pytest.fixture
def server() -> Iterator[Server]:
    with misbehaving_server() as running:
        yield running


def test_redirects_are_followed_to_the_image(server: Server) -> None:
    assert succeeds(f"{server.url}/hop1/x", max_redirects=2).final_url == f"{server.url}/image/end"


def test_one_redirect_over_the_limit_is_too_many(server: Server) -> None:
    assert fails(f"{server.url}/hop1/x", max_redirects=1).error == "too_many_redirects"


def test_a_redirect_loop_ends(server: Server) -> None:
    assert fails(f"{server.url}/loop/x", max_redirects=5).error == "too_many_redirects"
    assert server.tries("/loop/x") + server.tries("/loop/again") == 6


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


NEVER_OPEN = [
    "169.254.169.254",
    "169.254.170.2",
    "2852039166",
    "0xa9fea9fe",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "224.0.0.1",
    "255.255.255.255",
    "[::ffff:169.254.169.254]",
    "[::ffff:6464:64c8]",
    "[::169.254.169.254]",
    "[::ffff:0:169.254.169.254]",
    "[64:ff9b::169.254.169.254]",
    "[64:ff9b:1::169.254.169.254]",
    "[2002:a9fe:a9fe::1]",
    "[2001:0:4136:e378:8000:63bf:5601:5601]",
    "[fe80::1]",
    "[fe80::a9fe:a9fe]",
    "[fd00:ec2::254]",
    "[fd20:ce::254]",
    "[ff02::1]",
]


@pytest.mark.parametrize("allow", [True, False])
@pytest.mark.parametrize("host", NEVER_OPEN)
def test_no_key_opens_link_local_and_metadata_addresses(host: str, allow: bool) -> None:
    failure = fails(f"http://{host}:9/", allow_private_addresses=allow)
    assert failure.error == "private_address", failure
    assert "no recipe opens" in failure.detail


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "fc00::1"],
)
def test_the_key_opens_loopback_and_private_networks(address: str) -> None:
    names = CheckedResolver(Names([address]), allow_private=True)
    assert [each["host"] for each in asyncio.run(names.resolve("inner.example"))] == [address]
    assert not is_never_open(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254"])
def test_no_name_leads_to_a_metadata_address_with_the_key(address: str) -> None:
    names = CheckedResolver(Names([address]), allow_private=True)
    with pytest.raises(PrivateAddressError, match=r"inner\.example resolves to .* no recipe opens"):
        asyncio.run(names.resolve("inner.example"))
    mixed = CheckedResolver(Names([address, "10.0.0.1"]), allow_private=True)
    assert [each["host"] for each in asyncio.run(mixed.resolve("inner.example"))] == ["10.0.0.1"]


def test_no_redirect_leads_to_a_metadata_address_with_the_key(server: Server) -> None:
    failure = fails(f"{server.url}/to-private", allow_private_addresses=True)
    assert failure.error == "private_address"
    assert failure.detail.startswith(f"{server.url}/to-private: redirected to http://169.254.")


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


@pytest.mark.parametrize(("size", "reason"), [(8192, None), (8193, "8,193 bytes, over 8,192")])
def test_a_url_has_no_more_bytes_than_servers_take(size: int, reason: str | None) -> None:
    start = "http://a.example/\u00e9"  # of 2 bytes
    url = start + "a" * (size - len(start.encode()))
    assert check_url(url) == reason
