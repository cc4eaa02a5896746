"""Checks which URLs may be requested, and which addresses may be connected to.

A list of URLs to crawl is untrusted input: a host may be a machine of our own network, in many
spellings, or a name may resolve to one. A name is resolved once, and the connection uses the
checked addresses, so a name server that changes its answer after the check has no effect.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator

from yarl import URL

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_UNUSABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # controls, lone surrogates
_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", re.IGNORECASE)
_ENDS_IN_NUMBER = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)", re.IGNORECASE)
_MAX_URL = 8192  # bytes of UTF-8; RFC 9110 section 4.1 asks servers for 8,000 or more
_MAX_NAME = 253  # characters of a host name, RFC 1035 section 2.3.4

_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # everything that IANA allocated, RFC 4291
# Blocks that `is_global` accepts in some Python versions: 6to4 relays, RFC 9637 documentation.
_ALSO_REFUSED = tuple(map(ipaddress.ip_network, ("192.88.99.0/24", "3fff::/20")))

# Closed even with `allow_private_addresses`: link-local, multicast and broadcast, and the metadata
# and key services of clouds: AWS (fd00:ec2::/32), Google (fd20:ce::254), Alibaba
# (100.100.100.200), Oracle (192.0.0.192), Scaleway (fd00:42::42), Azure (168.63.129.16).
_NEVER_OPEN = tuple(
    map(
        ipaddress.ip_network,
        (
            *("169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
            *("100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32"),
            *("fe80::/10", "ff00::/8", "fd00:ec2::/32", "fd20:ce::254/128", "fd00:42::42/128"),
        ),
    )
)
# IPv4-compatible and -translated addresses (RFC 4291, RFC 2765), local NAT64 (RFC 8215).
_ENDS_IN_IPV4 = tuple(map(ipaddress.ip_network, ("::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48")))


class PrivateAddressError(Exception):
    """A host is, or resolves only to, addresses outside the public internet."""


def check_url(url: str) -> str | None:
    """Return the reason why `url` cannot be fetched, or None if it is well formed; uses no network.

    Well formed: http or https, a host that is a name or an IP literal, a port of 1 to 65535, no
    user or password, no control characters or lone surrogates, at most 8,192 bytes. Spaces and
    non-ASCII letters are allowed; they are quoted in the request (`pipelines.fetch.urls`).
    """
    if found := _UNUSABLE.search(url):
        return f"unusable character {found[0]!r} at position {found.start()}"
    if (size := len(url.encode())) > _MAX_URL:
        return f"{size:,} bytes, over {_MAX_URL:,}"
    try:
        return _why_not(parse_url(url))
    except ValueError as error:
        return f"cannot parse it: {error}"


def parse_url(text: str) -> URL:
    """Parse a URL.

    Raises:
        ValueError: the text is no URL.
    """
    try:
        return URL(text)
    except IndexError as error:  # yarl 1.25 raises it for "http://[]@"
        raise ValueError("no host") from error


def _why_not(url: URL) -> str | None:
    if url.scheme not in ("http", "https"):
        return f"scheme {url.scheme!r} is not http or https"
    if not url.raw_host:
        return "no host"
    if url.user is not None or url.password is not None:
        return "user or password"
    if url.port == 0:
        return "port 0"
    return _why_not_host(url.raw_host)


def _why_not_host(host: str) -> str | None:
    if "%" in host:
        return f"escape or IPv6 zone in host {host!r}"
    try:
        address = literal_address(host)
    except ValueError as error:
        return str(error)
    if address is None and (len(host) > _MAX_NAME or not _NAME.fullmatch(host)):
        return f"host {host!r} is not a domain name"
    return None


def literal_address(host: str) -> IPAddress | None:
    """Return the IP address of a literal `host`, or None if it is a name to resolve.

    IPv4 is read as in browsers and the C library: one to four parts, each decimal, octal (`0177`)
    or hexadecimal (`0x7f`), with an optional final dot. IPv6 has no brackets.

    Raises:
        ValueError: the host ends in a number, so it is no name, but is no IPv4 address; or it has a
            colon but is no IPv6 address.
    """
    if ":" in host:
        return ipaddress.IPv6Address(host)
    bare = host.removesuffix(".")
    if not _ENDS_IN_NUMBER.fullmatch(bare):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(bare))
    except OSError:
        raise ValueError(f"host {host!r} ends in a number but is no IPv4 address") from None


def refuse_literal(url: URL, *, allow_private: bool) -> None:
    """Refuse a URL whose host is a literal address that must not be connected to.

    Needed in addition to `CheckedResolver`, because an HTTP client does not resolve literals.

    Raises:
        PrivateAddressError: the address is not public and `allow_private` is off, or it is always
            closed.
        ValueError: an IPv4 address is not written as four decimal parts.
    """
    host = url.raw_host or ""
    address = literal_address(host)
    if address is None:
        return
    if why := why_closed(address, allow_private=allow_private):
        spelt = "" if host == str(address) else f" ({address})"
        raise PrivateAddressError(f"{host}{spelt} is {why}")
    # Clients and resolvers read such forms differently, so they are refused.
    if address.version == 4 and str(address) != host:
        raise ValueError(f"host {host!r} is an odd form of {address}")


def why_closed(address: IPAddress, *, allow_private: bool) -> str:
    """Return the reason why an address must not be connected to, or ''."""
    if not is_never_open(address):
        return "" if allow_private or is_public(address) else "not a public address"
    return "a link-local, metadata or multicast address, and no recipe opens those"


def is_never_open(address: IPAddress) -> bool:
    """Return whether an address is closed even if private addresses are allowed.

    Metadata services reveal the keys of the requesting machine, and link-local addresses are in its
    own network. IPv6 forms that contain an IPv4 address are also checked by that address.
    """
    if any(address in block for block in _NEVER_OPEN):
        return True
    return isinstance(address, ipaddress.IPv6Address) and any(
        is_never_open(inner) for inner in _all_carried(address)
    )


def _all_carried(address: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """Yield the IPv4 addresses inside an IPv6 address of any form, public or not."""
    if (inner := _carried_ipv4(address)) is not None:
        yield inner
    if address.teredo is not None:
        yield from address.teredo
    if any(address in block for block in _ENDS_IN_IPV4) and not address.is_loopback:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def is_public(address: IPAddress) -> bool:
    """Return whether an address is a unicast address of the public internet.

    Based on the IANA special-purpose registries in `ipaddress`. IPv6 forms that lead to an IPv4
    host (mapped, 6to4, NAT64) are checked by the IPv4 address. Other IPv6 must be in 2000::/3,
    which excludes unique-local, link-local, multicast and IPv4-compatible addresses.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if (inner := _carried_ipv4(address)) is not None:
            return is_public(inner)
        if address not in _GLOBAL_UNICAST:
            return False
    if is_never_open(address):
        return False
    special = address.is_multicast or any(address in block for block in _ALSO_REFUSED)
    return address.is_global and not special


def _carried_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
