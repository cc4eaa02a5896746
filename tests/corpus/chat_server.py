"""A server with OpenAI's chat API that misbehaves as it is told; also a stand-in for vLLM.

    python tests/corpus/chat_server.py serve MODEL --port 8000

What it answers shows what it was asked: the prompt, a hash of the image's bytes, the seed.
"""

import argparse
import asyncio
import base64
import gzip
import hashlib
import json
import os
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

PROBE = "Say OK."
STALL_S = 30.0
SAYS = "{prompt} {image} {seed}"
REPLIES = {  # bodies with status 200 that are no answers
    "garbage": b'{"choices": [{"mess',
    "page": b"<html>Welcome to this network</html>",
    "no choices": b'{"choices": [], "model": "m"}',
    "error": b'{"error": {"message": "the upstream provider failed", "code": 502}}',
    "number": b'{"choices": [{"message": {"content": 7}}]}',
    "surrogate": b'{"choices": [{"message": {"content": "a \\ud800 b"}}]}',
    "huge": b'{"choices": [{"message": {"content": "' + b"a" * 200_000 + b'"}}]}',
}


@dataclass(kw_only=True)
class ChatServer:
    """What to do to requests, and what was done; all may change as it runs.

    A fault is a status, with a Retry-After in seconds behind it if there is one ("429 2"), a key
    of REPLIES, or one of: reset, cut, stall, gzip, redirect, other (the answer to another request),
    "" for none.
    """

    faults: dict[str, Sequence[str]] = field(default_factory=dict)  # by prompt, one a visit
    always: str = ""  # the fault of all requests that have none of their own
    delay_s: float = 0.0  # of an answer
    most: int = 10**6  # in flight; the answer to more is 429
    retry_after_s: str = ""  # of that answer
    says: str = SAYS
    writes: Callable[[str], str] | None = None  # a text of the prompt, instead of `says`
    limit_key: str = "max_tokens"  # the name of the bound of an answer
    echoes: bool = True  # the request's id
    url: str = ""
    port: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    in_flight: int = 0
    counts: list[tuple[float, int]] = field(default_factory=list)  # moment, requests in flight
    answered: Counter[str] = field(default_factory=Counter)  # by what it said
    visits: Counter[str] = field(default_factory=Counter)  # by prompt

    @property
    def peak(self) -> int:
        """How many requests were in flight at once, at most."""
        return max((count for _, count in self.counts), default=0)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request, or do to it what was asked for."""
        self.in_flight += 1
        self.counts.append((time.monotonic(), self.in_flight))
        try:
            body = await request.json()
            prompt, _ = asked(body)
            self.bodies.append(body)
            self.headers.append(request.headers)
            self.visits[prompt] += 1
            fault = self._fault(prompt)
            if not fault.startswith("429"):
                await asyncio.sleep(STALL_S if fault == "stall" else self.delay_s)
            return await self._answer(request, body, prompt, fault)
        finally:
            self.in_flight -= 1

    def _fault(self, prompt: str) -> str:
        if self.in_flight > self.most:
            return f"429 {self.retry_after_s}"
        if own := self.faults.get(prompt):
            return own[min(self.visits[prompt], len(own)) - 1]
        return self.always

    async def _answer(
        self, request: web.Request, body: dict[str, Any], prompt: str, fault: str
    ) -> web.StreamResponse:
        if self.limit_key not in body:
            error = {"message": f"Unsupported parameter: use {self.limit_key!r}"}
            return web.json_response({"error": error}, status=400)
        if fault[:3].isdigit():
            return _status(fault, request)
        if fault in REPLIES:
            return web.Response(body=REPLIES[fault], content_type="application/json")
        if fault == "reset":
            return _reset(request)
        if fault == "redirect":
            raise web.HTTPTemporaryRedirect("http://127.0.0.1:1/v1/chat/completions")
        if fault == "other":
            text = self._reply_to_another(prompt)
        else:
            text = self._reply(body, request.headers)
        if fault == "gzip":
            headers = {"Content-Encoding": "gzip"}
            return web.Response(body=gzip.compress(text), headers=headers)
        if fault == "cut":
            response = web.StreamResponse(headers={"Content-Length": str(len(text))})
            await response.prepare(request)
            await response.write(text[: len(text) // 2])
            return _reset(request)
        if not fault:
            self.answered[json.loads(text)["choices"][0]["message"]["content"]] += 1
        return web.Response(body=text, content_type="application/json")

    def _reply_to_another(self, prompt: str) -> bytes:
        for body, headers in zip(self.bodies, self.headers, strict=True):
            if asked(body)[0] != prompt:
                return self._reply(body, headers)
        raise AssertionError("no other request has come")

    def _reply(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
        prompt, image = asked(body)
        sent = headers.get("X-Request-ID", "") if self.echoes else "unknown"
        own = self.writes and self.writes(prompt)
        choice = {
            "message": {"content": own or caption(prompt, image, body["seed"], self.says)},
            "finish_reason": "length" if body[self.limit_key] < 5 else "stop",
        }
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": 7}
        reply = {"id": f"chatcmpl-{sent}", "model": body["model"], "usage": usage}
        return json.dumps({**reply, "choices": [choice]}).encode()

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        """Listen on `port`, or a free one, from when `ready` is set until `stop` is."""
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await runner.setup()
        listening = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        await web.SockSite(runner, listening).start()
        self.port = listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        ready.set()
        await stop.wait()
        await runner.cleanup()


def asked(body: Mapping[str, Any]) -> tuple[str, bytes]:
    """Return the prompt and the image of a request."""
    content = body["messages"][0]["content"]
    if isinstance(content, str):
        return content, b""
    image, text = content
    start, _, data = image["image_url"]["url"].partition(",")
    assert start == "data:image/jpeg;base64"
    return text["text"], base64.b64decode(data)


def caption(prompt: str, image: bytes, seed: int, says: str = SAYS) -> str:
    """Return the caption that the server writes."""
    return says.format(prompt=prompt, image=hashlib.sha256(image).hexdigest()[:8], seed=seed)


def _status(fault: str, request: web.Request) -> web.Response:
    status, _, pause = fault.partition(" ")
    key = request.headers.get("Authorization", "")
    error: dict[str, Any] = {"message": f"{status} for {key or 'nobody'}", "code": None}
    if pause == "quota":
        error, pause = {"message": "pay", "code": "insufficient_quota"}, ""
    headers = {"Retry-After": pause} if pause else {}
    return web.json_response({"error": error}, status=int(status), headers=headers)


def _reset(request: web.Request) -> web.StreamResponse:
    """End a connection by a TCP reset."""
    if (transport := request.transport) is not None:
        no_lingering = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, no_lingering
        )
        transport.abort()
    return web.Response()


@contextmanager
def running(server: ChatServer) -> Iterator[ChatServer]:
    """Run a server in a thread until the block ends; it may run again on the same port."""
    loop = asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(server.serve(ready, stop),))
    thread.start()
    try:
        ready.wait()
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def chat_server(**settings: Any) -> Any:
    """Run a server; `settings` are fields of ChatServer."""
    return running(ChatServer(**settings))


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve as `vllm serve` does, until killed; the model's name may ask for trouble."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("serve", choices=["serve"])
    parser.add_argument("model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--served-model-name", default="")
    parser.add_argument("--delay-s", type=float, default=0.0)
    parser.add_argument("--most", type=int, default=10**6, help="requests at once; 429 above")
    chosen = parser.parse_args(arguments)
    print(f"loading {chosen.model}, process {os.getpid()}", flush=True)
    if chosen.model == "too-large":
        print("torch.OutOfMemoryError: CUDA out of memory", file=sys.stderr)
        return 1
    server = ChatServer(port=chosen.port, delay_s=chosen.delay_s, most=chosen.most)
    with running(server):
        threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
