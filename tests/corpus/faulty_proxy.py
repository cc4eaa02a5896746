"""An HTTP proxy in front of a store that fails now and then, in the ways stores and networks do.

    python tests/corpus/faulty_proxy.py --target http://127.0.0.1:9000 --share 0.1 --seed 3

prints its address as one JSON line, and what it did as another when it is told to end. Whether a
request fails, and how, is drawn from the seed and the request's number: no clock, no luck.
"""

import argparse
import asyncio
import hashlib
import json
import signal
import socket
import struct
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import aiohttp
from aiohttp import web
from yarl import URL

RETRY_AFTER = " retry-after"  # appended to a status: the answer says to come back in a second
RESET_BEFORE = "reset before"  # the store has not seen the request
RESET_AFTER = "reset after"  # the store has done what it was asked to, the client hears an error
CUT = "cut"  # the answer ends in the middle of its body
FAULTS = (
    "429",
    f"429{RETRY_AFTER}",
    "500",
    "503",
    f"503{RETRY_AFTER}",
    RESET_BEFORE,
    RESET_AFTER,
    CUT,
)
# Headers that are of a connection, or set anew by who sends.
OF_A_CONNECTION = ("connection", "content-length", "expect", "keep-alive", "transfer-encoding")


class Seen(NamedTuple):
    """A request that came by."""

    method: str
    path: str  # with the query, as it was sent
    fault: str  # one of FAULTS, "" if it was passed on and answered whole
    status: int  # of the store's answer, or of the proxy's own; 0 if there was none


@dataclass(kw_only=True)
class FaultyProxy:
    """What to do to requests, and what was done; `share` and `faults` may change as it runs."""

    target: str  # http://host:port of the store
    share: float = 0.0  # of the requests that fail
    seed: int = 0
    faults: Sequence[str] = FAULTS  # each as often; any status of three digits may be one
    address: str = ""  # http://host:port of the proxy, once it runs
    seen: list[Seen] = field(default_factory=list)
    drawn: int = 0  # requests so far

    @property
    def counts(self) -> dict[str, int]:
        """How many requests met each fault, and how many none."""
        return dict(sorted(Counter(seen.fault or "none" for seen in self.seen).items()))

    def draw(self) -> str:
        """Return how the next request fails, "" if it does not.

        >>> proxy = FaultyProxy(target="", share=0.5, seed=1)
        >>> [proxy.draw() for _ in range(6)]
        ['500', '', 'reset after', 'reset after', '', '']
        """
        self.drawn += 1
        number = f"{self.seed}/{self.drawn}".encode()
        chance = int.from_bytes(hashlib.blake2b(number, digest_size=6).digest()) / 2**48
        if chance >= self.share:
            return ""
        return self.faults[int(chance / self.share * len(self.faults))]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, or end its connection."""
        fault = self.draw()
        if fault == RESET_BEFORE:
            self._note(request, fault, 0)
            return _reset(request)
        body = await request.content.read()
        if fault[:3].isdigit():
            status = int(fault[:3])
            self._note(request, fault, status)
            headers = {"Retry-After": "1"} if fault.endswith(RETRY_AFTER) else {}
            return web.Response(status=status, text=f"{fault}, says the proxy", headers=headers)
        try:
            return await self._pass_on(request, body, fault)
        except aiohttp.ClientError as error:
            self._note(request, fault, 0)
            return web.Response(status=502, text=f"the store does not answer: {error}")

    async def _pass_on(self, request: web.Request, body: bytes, fault: str) -> web.StreamResponse:
        async with self._session.request(
            request.method,
            URL(self.target + request.raw_path, encoded=True),
            headers=_end_to_end(request.headers),
            data=body,
            allow_redirects=False,
        ) as answer:
            data = await answer.read()
        self._note(request, fault, answer.status)
        if fault == RESET_AFTER or (fault == CUT and not data):
            return _reset(request)
        response = web.StreamResponse(
            status=answer.status, reason=answer.reason, headers=_end_to_end(answer.headers)
        )
        # Of the store's answer, because a HEAD's has a length and no body.
        response.headers["Content-Length"] = answer.headers.get("Content-Length", str(len(data)))
        with suppress(ConnectionError):  # of a client that has gone
            await response.prepare(request)
            await response.write(data[: len(data) // 2] if fault == CUT else data)
        return _reset(request) if fault == CUT else response

    def _note(self, request: web.Request, fault: str, status: int) -> None:
        self.seen.append(Seen(request.method, request.raw_path, fault, status))

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        """Listen on a free port of the local host from when `ready` is set until `stop` is."""
        made_up = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        self._session = aiohttp.ClientSession(
            connector=connector, auto_decompress=False, skip_auto_headers=made_up
        )
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(app, access_log=None)
        async with self._session:
            await runner.setup()
            listening = socket.create_server(("127.0.0.1", 0), backlog=256)
            await web.SockSite(runner, listening).start()
            self.address = "http://{}:{}".format(*listening.getsockname())
            ready.set()
            await stop.wait()
            await runner.cleanup()


@contextmanager
def faulty_proxy(target: str, **settings: float | Sequence[str]) -> Iterator[FaultyProxy]:
    """Run a proxy in a thread until the block ends; `settings` are fields of FaultyProxy."""
    proxy = FaultyProxy(target=target, **settings)  # type: ignore[arg-type]
    loop = asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(proxy.serve(ready, stop),))
    thread.start()
    try:
        ready.wait()
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def _end_to_end(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers.items() if name.lower() not in OF_A_CONNECTION]


def _reset(request: web.Request) -> web.StreamResponse:
    """End a connection by a TCP reset, once what was written has left."""
    transport = request.transport
    if transport is not None:
        no_lingering = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, no_lingering
        )
        transport.abort()
    return web.Response()  # which nobody gets


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a proxy until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", required=True, metavar="URL", help="http://host:port")
    parser.add_argument("--share", type=float, default=0.1, help="of requests that fail")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--faults", nargs="+", default=FAULTS, metavar="FAULT", help=f"of {', '.join(FAULTS)}"
    )
    chosen = parser.parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with faulty_proxy(**vars(chosen)) as proxy:
        print(json.dumps({"address": proxy.address}), flush=True)
        ended.wait()
    print(json.dumps({"requests": proxy.drawn, "faults": proxy.counts}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
