"""The resolver of a crawl: names resolve to addresses that may be connected to, or to none."""

from __future__ import annotations

import ipaddress
import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from pipelines.fetch.addresses import PrivateAddressError, why_closed


class CheckedResolver(AbstractResolver):
    """Resolve names by another resolver and pass on the addresses that may be connected to."""

    def __init__(self, resolver: AbstractResolver, *, allow_private: bool = False) -> None:
        self._resolver = resolver
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of `host` that may be connected to.

        Raises:
            OSError: the name does not resolve.
            PrivateAddressError: it does, and to no such address.
        """
        found = await self._resolver.resolve(host, port, family)
        reasons = [
            why_closed(ipaddress.ip_address(each["host"]), allow_private=self._allow_private)
            for each in found
        ]
        if found and all(reasons):
            addresses = ", ".join(each["host"] for each in found)
            raise PrivateAddressError(f"{host} resolves to {addresses}, which is {reasons[0]}")
        return [each for each, reason in zip(found, reasons, strict=True) if not reason]

    async def close(self) -> None:
        """Close the resolver underneath."""
        await self._resolver.close()
