"""Which URLs may be asked for, and which addresses may be connected to.

A list of crawled URLs is untrusted input: a host may spell a machine of our own network in many
ways, or a name may resolve to one. Names are resolved once and the connection goes to the very
addresses that were judged, so an answer that changes between check and use changes nothing.
"""

from __future__ import annotations

import ipaddress
import re
import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_UNUSABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # controls, lone surrogates
_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", re.IGNORECASE)
_ENDS_IN_NUMBER = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)", re.IGNORECASE)
_MAX_NAME = 253  # characters of a host name, RFC 1035 section 2.3.4

_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # all that IANA has allocated, RFC 4291
# Blocks `is_global` lets through in some supported Python: 6to4 relays, RFC 9637 documentation.
_ALSO_REFUSED = tuple(map(ipaddress.ip_network, ("192.88.99.0/24", "3fff::/20")))


class PrivateAddressError(Exception):
    """A host is, or resolves only to, addresses outside the public internet."""


def check_url(url: str) -> str | None:
    """Return why `url` cannot be fetched, or None when it is well formed; no network.

    Well formed: http or https, a host that is a name or an IP literal, a port of 1 to 65535, no
    user or password, no control characters or lone surrogates. Spaces and non-ASCII letters are
    quoted on the way out, as browsers do, and are no reason.
    """
    if found := _UNUSABLE.search(url):
        return f"unusable character {found[0]!r} at position {found.start()} of {url!r}"
    try:
        parsed = parse_url(url)
    except ValueError as error:
        return f"cannot parse {url!r}: {error}"
    reason = _why_not(parsed)
    return f"{reason} in {url!r}" if reason else None


def parse_url(text: str, base: URL | None = None) -> URL:
    """Parse a URL, relative to `base` if one is given.

    Raises:
        ValueError: it cannot be parsed.
    """
    try:
        return base.join(URL(text)) if base else URL(text)
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
    """Return the address that `host` spells, or None when it is a name to be resolved.

    IPv4 is read as browsers and the C library read it: one to four parts, each decimal, octal
    (`0177`) or hexadecimal (`0x7f`), and perhaps a final dot. IPv6 comes without brackets.

    Raises:
        ValueError: the host ends in a number, so it can be no name, but is no IPv4 address, or
            has a colon but is no IPv6 address.
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
    """Refuse a URL whose host spells an address that may not be connected to.

    Needed beside `CheckedResolver`, which an HTTP client does not ask about literals.

    Raises:
        PrivateAddressError: the address is not public and `allow_private` is off.
        ValueError: IPv4 spelt otherwise than as four decimal parts.
    """
    host = url.raw_host or ""
    address = literal_address(host)
    if address is None:
        return
    if not allow_private and not is_public(address):
        raise PrivateAddressError(f"{host} is {address}, not a public address")
    # Clients and resolvers disagree on such forms, so none may reach them.
    if address.version == 4 and str(address) != host:
        raise ValueError(f"host {host!r} is an odd form of {address}")


def is_public(address: IPAddress) -> bool:
    """Tell whether an address is one of the public internet's unicast addresses.

    Judged by the IANA special-purpose registries as `ipaddress` knows them. IPv6 forms that carry
    an IPv4 address to its host (mapped, 6to4, NAT64) are judged by that address; other IPv6 must
    lie in 2000::/3, which leaves out unique-local, link-local, multicast and IPv4-compatible.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if (inner := _carried_ipv4(address)) is not None:
            return is_public(inner)
        if address not in _GLOBAL_UNICAST:
            return False
    special = address.is_multicast or any(address in block for block in _ALSO_REFUSED)
    return address.is_global and not special


def _carried_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


class CheckedResolver(AbstractResolver):
    """Resolve names by another resolver and pass on the public addresses only."""

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the public addresses of `host`.

        Raises:
            OSError: the name does not resolve.
            PrivateAddressError: it does, and to no public address.
        """
        found = await self._resolver.resolve(host, port, family)
        public = [each for each in found if is_public(ipaddress.ip_address(each["host"]))]
        if found and not public:
            addresses = ", ".join(each["host"] for each in found)
            raise PrivateAddressError(f"{host} resolves to {addresses}, not a public address")
        return public

    async def close(self) -> None:
        """Close the resolver underneath."""
        await self._resolver.close()
