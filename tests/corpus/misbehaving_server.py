"""A web server on this machine that misbehaves by the byte, as its path says."""

import asyncio
import gzip
import io
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from PIL import Image


def an_image(name: str) -> bytes:
    """Return a small image file of a format that Pillow writes."""
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
        """Note the request and let its door answer."""
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
        """Return how often a path was asked for."""
        return len(self.hits[path])


def reply(*headers: str, body: bytes = JPEG, status: str = "200 OK", length: int = -1) -> bytes:
    """Return a whole answer; `length` is what its Content-Length says, if not the truth."""
    size = len(body) if length < 0 else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def plain(name: str, answer: bytes) -> None:
    """Make an outcome that always answers the same."""

    async def door(server: Server, writer: asyncio.StreamWriter, visit: int) -> None:
        writer.write(answer)

    DOORS[name] = door


def by_visit(name: str, *answers: bytes) -> None:
    """Make an outcome with an answer for each visit to a path, the last for all after it."""

    async def door(server: Server, writer: asyncio.StreamWriter, visit: int) -> None:
        writer.write(answers[min(visit, len(answers)) - 1])

    DOORS[name] = door


def door(run: Door) -> Door:
    """Make an outcome of a function, by its name."""
    DOORS[run.__name__.replace("_", "-")] = run
    return run


def moved(to: str, status: str = "302 Found") -> bytes:
    """Return a redirect."""
    return reply(f"Location: {to}", status=status, body=b"")


plain("image", reply("Content-Type: image/jpeg"))
plain("missing", reply(status="404 Not Found", body=b"no"))
plain("broken", reply(status="500 Oh", body=b"no"))
by_visit("heals", reply(status="500 Oh", body=b"no"), reply())
by_visit("busy", reply("Retry-After: 1", status="429 Too Many", body=b""), reply())
by_visit("busy-for-hours", reply("Retry-After: 7200", status="503 Later", body=b""), reply())
plain("hop1", moved("../hop2/x", "301 Moved"))
plain("hop2", moved("/image/end", "308 Moved"))
plain("to-holds", moved("/holds/end"))
plain("loop", moved("/loop/again"))
plain("to-file", moved("file:///etc/passwd"))
plain("to-private", moved("http://169.254.169.254/latest/meta-data"))
plain("to-garbage", moved("http://[::1/"))
plain("to-bytes", b"HTTP/1.1 302 Found\r\nLocation: http://h\xff\xfe/\r\n\r\n")
plain("to-encoded", moved("/image/a%2Cb%28c%29//d/e;f?x=%2F%3D&y=p+q;[1]&z=%7e"))
plain("to-relative", moved("../image/%2e%2C/x%2fy?"))
plain("to-utf8", moved("/image/caf\xc3\xa9 d.jpg"))  # the bytes of UTF-8
plain("to-latin1", moved("/image/caf\xe9.jpg"))
plain("to-controls", reply("Location: /image/a\x01b", status="302 Found", body=b""))
plain("to-nowhere", reply(status="302 Found", body=b""))
plain("too-big", reply(body=b"", length=10**12))
plain("longer-than-said", reply(length=len(JPEG) - 100))
plain("shorter-than-said", reply(length=len(JPEG) + 100))
plain("half-chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n" + JPEG[:9])
plain("odd-type", reply("Content-Type: image/\xe9"))
plain("until-close", b"HTTP/1.1 200 OK\r\n\r\n" + JPEG)
plain("gzipped", reply("Content-Encoding: gzip", body=gzip.compress(JPEG)))
plain("gzipped-page", reply("Content-Encoding: gzip", body=gzip.compress(b"<html>Sorry</html>")))
plain("gzipped-bomb", reply("Content-Encoding: gzip", body=gzip.compress(JPEG + bytes(10**7))))
plain("called-gzipped", reply("Content-Encoding: gzip"))
plain("called-compressed", reply("Content-Encoding: x-ours, utf-8"))
plain("not-gzipped", reply("Content-Encoding: gzip", body=b"<html>Sorry</html>"))
plain("svg", reply("Content-Type: image/svg+xml", body=b"<?xml version='1.0'?><svg/>"))
plain("jp2", reply("Content-Type: image/jp2", body=an_image("JPEG2000")))
plain("page", reply("Content-Type: image/png", body=b"<html>Sorry</html>"))
plain("empty", reply("Content-Type: image/png", body=b""))
plain("noise", b"\x16\x03\x01 what?\r\n\r\n")
plain("bad-length", b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n")
plain("cookie", moved("/image/cookie").replace(b"\r\n\r\n", b"\r\nSet-Cookie: id=7\r\n\r\n"))
plain("noai", reply("X-Robots-Tag: noindex-ish", "X-Robots-Tag: all, NoAI", body=b"secret"))
plain("other-bot", reply("X-Robots-Tag: otherbot: noai, noindex"))
plain("reserved", reply("tdm-reservation: 1", "TDM-Policy: https://a.example/p", body=b"secret"))
plain("granted", reply("TDM-Reservation: 0", "Content-Usage: train-ai=y"))
plain("no-training", reply("Content-Usage: search=y", "Content-Usage: train-ai=n", body=b"secret"))
plain("signalled", reply("Content-Signal: search=yes, ai-train=no", body=b"secret"))
plain("not-found-noai", reply("X-Robots-Tag: noai", status="404 Not Found", body=b"no"))
plain(
    "to-other-bot", moved("/other-bot/end").replace(b"Location", b"TDM-Reservation: 0\r\nLocation")
)
plain("to-reserved", moved("/reserved/end"))
plain("noai-hop", moved("/image/end").replace(b"Location", b"X-Robots-Tag: noai\r\nLocation"))


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


@door
async def hangs(server: Server, writer: asyncio.StreamWriter, visit: int) -> None:
    await asyncio.sleep(3600)


@contextmanager
def misbehaving_server() -> Iterator[Server]:
    """Run the server in a thread until the block ends."""
    server = Server()
    loop = asyncio.new_event_loop()
    listening = loop.run_until_complete(asyncio.start_server(server.answer, "127.0.0.1", 0))
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        listening.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
