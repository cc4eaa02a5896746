"""Images a second through the client of caption servers, against simpler ways to ask.

    python tests/benchmarks/bench_captions.py [--images 256] [--delay-s 0.25]

The server is a process of this machine that answers each request after a known delay: once without
a limit, once with 429 to more than 24 requests at once. The peers use the same package, `openai`,
with its own retries: one request after the other, and `asyncio.gather` over all images.
"""

import argparse
import asyncio
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import openai
from measuring import ROOT, report, spread
from PIL import Image

from filters.captioner import Answer, Asked
from pipelines.captions.chat import Sampling, request_body
from pipelines.captions.openai_client import OpenAiCaptioner
from pipelines.captions.shared_server import free_port
from schemas.caption_config import OpenAiEngine

RUNS = 3
ONE_BY_ONE = 24  # images: at one a delay it takes long
SIDE = 512  # px
MOST = 24  # requests at once, of the server with a limit
SAMPLING = Sampling(model="m", temperature=0.0, top_p=1.0)
CONCURRENCY = (16, 64)

Ask = Callable[[str, list[Asked]], int]
"""(url, requests) -> how many were answered."""


def pictures(count: int, max_new_tokens: int = 256) -> list[Asked]:
    """Return requests about smooth pictures, which JPEG packs about as well as photographs."""
    random = np.random.default_rng(0)
    return [
        Asked(
            digest=f"{number:032x}",
            prompt="Describe the image.",
            image=picture(random),
            seed=number,
            max_new_tokens=max_new_tokens,
        )
        for number in range(count)
    ]


def picture(random: np.random.Generator) -> bytes:
    small = Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    file = io.BytesIO()
    small.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


@contextmanager
def server(delay_s: float, most: int) -> Iterator[str]:
    """Run a server; give its URL."""
    port = free_port()
    program = [sys.executable, str(ROOT / "tests/corpus/chat_server.py"), "serve", "m"]
    settings = ["--port", str(port), "--delay-s", str(delay_s), "--most", str(most)]
    with subprocess.Popen([*program, *settings], stdout=subprocess.DEVNULL) as process:
        try:
            while not listens(port):
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def by_client(concurrency: int) -> Ask:
    def ask(url: str, requests: list[Asked]) -> int:
        config = OpenAiEngine(
            engine="openai", name="m", url=url, model="m", concurrency=concurrency, attempts=12
        )
        engine = OpenAiCaptioner(config)
        answered = sum(isinstance(each, Answer) for each in engine.answers(requests))
        engine.close()
        return answered

    return ask


def one_by_one(url: str, requests: list[Asked]) -> int:
    client = openai.OpenAI(base_url=url, api_key="none")
    answered = 0
    for asked in requests:
        with suppress(openai.APIError):
            client.chat.completions.create(**request_body(asked, SAMPLING))
            answered += 1
    return answered


def gathered(url: str, requests: list[Asked]) -> int:
    async def all_at_once() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
            calls = (
                client.chat.completions.create(**request_body(asked, SAMPLING))
                for asked in requests
            )
            return await asyncio.gather(*calls, return_exceptions=True)

    return sum(not isinstance(each, BaseException) for each in asyncio.run(all_at_once()))


def figures(ask: Ask, url: str, requests: list[Asked]) -> dict[str, Any]:
    rates, lost, cpu_ms = [], [], []
    for _ in range(RUNS):
        began, cpu_began = time.monotonic(), time.process_time()
        answered = ask(url, requests)
        rates.append(answered / (time.monotonic() - began))
        cpu_ms.append(1000 * (time.process_time() - cpu_began) / len(requests))
        lost.append(len(requests) - answered)
    return {
        "images": len(requests),
        "images_per_s": spread(rates),
        "unanswered": lost,
        "cpu_ms_per_image": spread(cpu_ms),
    }


def compare(requests: list[Asked], delay_s: float, most: int) -> dict[str, Any]:
    ways: dict[str, Ask] = {f"client, {n} at once": by_client(n) for n in CONCURRENCY}
    with server(delay_s, most) as url:
        return {
            **{name: figures(ask, url, requests) for name, ask in ways.items()},
            "asyncio.gather": figures(gathered, url, requests),
            "one by one": figures(one_by_one, url, requests[:ONE_BY_ONE]),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--delay-s", type=float, default=0.25)
    options = parser.parse_args()
    requests = pictures(options.images)
    load = os.getloadavg()[0]
    report(
        "captions",
        {
            "delay_s": options.delay_s,
            "image_bytes": sum(len(asked.image) for asked in requests) // len(requests),
            "load": round(load, 2),
            "no limit": compare(requests, options.delay_s, 10**6),
            f"429 above {MOST} at once": compare(requests, options.delay_s, MOST),
        },
    )


if __name__ == "__main__":
    main()
