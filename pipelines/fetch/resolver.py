"""The resolver of a crawl, which returns only addresses that may be connected to."""

from __future__ import annotations

import ipaddress
import socket
import time

from aiohttp.abc import AbstractResolver, ResolveResult

from pipelines.fetch.addresses import PrivateAddressError, why_closed

UNKNOWN_S = 60.0  # a name that is unknown is not looked up again before


class CheckedResolver(AbstractResolver):
    """Resolves names with another resolver and keeps the addresses that may be connected to.

    A name that does not exist is remembered for a while; a list may have thousands of its URLs.
    """

    def __init__(self, resolver: AbstractResolver, *, allow_private: bool = False) -> None:
        self._resolver = resolver
        self._allow_private = allow_private
        self._unknown: dict[str, tuple[float, OSError]] = {}  # by name: when it failed, and how

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of `host` that may be connected to.

        Raises:
            OSError: the name does not resolve.
            PrivateAddressError: the name resolves only to other addresses.
        """
        found = await self._known(host, port, family)
        reasons = [
            why_closed(ipaddress.ip_address(each["host"]), allow_private=self._allow_private)
            for each in found
        ]
        if found and all(reasons):
            addresses = ", ".join(each["host"] for each in found)
            raise PrivateAddressError(f"{host} resolves to {addresses}, which is {reasons[0]}")
        return [each for each, reason in zip(found, reasons, strict=True) if not reason]

    async def _known(
        self, host: str, port: int, family: socket.AddressFamily
    ) -> list[ResolveResult]:
        moment, error = self._unknown.get(host, (0.0, None))
        if error and time.monotonic() < moment + UNKNOWN_S:
            raise OSError(error.errno, error.strerror)
        try:
            return await self._resolver.resolve(host, port, family)
        except OSError as error:
            if error.errno != socket.EAI_AGAIN:  # that is of the name server
                self._unknown[host] = (time.monotonic(), error)
            raise

    async def close(self) -> None:
        """Close the inner resolver."""
        await self._resolver.close()
