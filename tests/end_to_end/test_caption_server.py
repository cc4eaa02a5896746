"""A build whose captions a server writes: stopped or killed, it asks no stored answer again."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import frugal_build
import pyarrow.parquet as pq
import pytest
from chat_server import PROBE, ChatServer, caption, chat_server
from corpus import ROOT
from frugal_build import FLUSH_ANSWERS
from tiny import Tiny, draw_images

from filters.captioner import EngineError
from pipelines.captions import engines
from pipelines.verify.job import verify
from schemas.store.storage import CorpusError, Storage

IMAGES = 6
KILLS = 3
TIMEOUT_S = 120
KEY = "sk-secret-0123456789"
PROMPT = "What is drawn here?"
SAYS = "Waves in the colours of sample {image}."
NO_IMAGE = caption(PROBE, b"", 0, SAYS)  # the answer to a question whether the server is ready


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("TEST_KEY", KEY)
    monkeypatch.setattr(engines, "_made", {})
    with chat_server(says=SAYS) as server:
        yield server


def captioned(server: ChatServer, concurrency: int = 1) -> dict[str, Any]:
    return {
        "styles": [{"style": "mine", "prompt": PROMPT}],
        "engines": [
            {
                "engine": "openai",
                "name": "vlm",
                "url": server.url,
                "model": "m",
                "key_env": "TEST_KEY",
                "concurrency": concurrency,
            }
        ],
    }


def captions(tiny: Tiny) -> list[str]:
    paths = sorted((tiny.out / "captions").glob("0*.parquet"))
    return [row["caption"] for path in paths for row in pq.read_table(path).to_pylist()]


def answers(server: ChatServer) -> Counter[str]:
    """Count what was answered to rows, by its text."""
    return server.answered - Counter({NO_IMAGE: server.visits[PROBE]})


def test_a_stopped_build_asks_only_for_the_answers_that_it_lacks(
    tmp_path: Path, server: ChatServer
) -> None:
    tiny = Tiny(folder=tmp_path)
    draw_images(tmp_path / "images", range(IMAGES))
    recipe = tiny.recipe(caption=captioned(server))
    server.faults = {PROMPT: ["", "500", "", "", "401"]}
    with pytest.raises((EngineError, CorpusError), match="refuses the key in the environment"):
        tiny.build(recipe, until="caption")
    assert sum(answers(server).values()) == 3
    server.faults = {}
    tiny.build(recipe, until="caption")
    assert answers(server) == Counter(captions(tiny))
    assert set(answers(server).values()) == {1}
    assert len(captions(tiny)) == IMAGES
    assert server.headers[-1]["Authorization"] == f"Bearer {KEY}"
    written = [path for path in tiny.out.rglob("*") if path.is_file()]
    assert [path for path in written if KEY.encode() in path.read_bytes()] == []


def test_tokens_and_money_are_in_the_manifest_and_the_report(
    tmp_path: Path, server: ChatServer
) -> None:
    tiny = Tiny(folder=tmp_path)
    draw_images(tmp_path / "images", range(IMAGES))
    caption = captioned(server)
    tokens = {"prompt_tokens": IMAGES * len(PROMPT.split()), "completion_tokens": IMAGES * 7}
    line = {"engine": "vlm", "answers": IMAGES, **tokens}
    assert tiny.build(tiny.recipe(caption=caption))["answers"] == [line]
    before = tiny.files()
    [engine] = caption["engines"]
    engine |= {"prompt_price": 1e6, "completion_price": 2e6}  # money for a token: 1, 2
    money = tokens["prompt_tokens"] + 2 * tokens["completion_tokens"]
    assert tiny.build(tiny.recipe(caption=caption))["answers"] == [{**line, "money": money}]
    now = tiny.files()
    assert {name for name in now if now[name] != before[name]} == {"manifest.json", "recipe.yaml"}
    assert f"at the recipe's prices {money}.00" in (tiny.out / "report.html").read_text()
    assert sum(answers(server).values()) == IMAGES
    assert not verify(Storage(str(tiny.out)))


def command(tiny: Tiny, recipe: str) -> list[str]:
    build = [sys.executable, frugal_build.__file__, "build", recipe]
    return [*build, "--out", str(tiny.out), "--processes", "1"]


def build_and_kill(build: list[str], server: ChatServer, answered: int) -> None:
    """Start a build, and kill all its processes once the server has answered so many requests."""
    until = time.monotonic() + TIMEOUT_S
    running = subprocess.Popen(build, cwd=ROOT, start_new_session=True)
    while sum(answers(server).values()) < answered:
        assert running.poll() is None, "the build ended before it was killed"
        assert time.monotonic() < until
        time.sleep(0.001)
    os.killpg(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    while server.in_flight:
        assert time.monotonic() < until
        time.sleep(0.001)


def stored(tiny: Tiny) -> set[str]:
    """Return the texts of the answers that are written."""
    paths = (tiny.out / "answers").glob("*/[!.]*.parquet")
    return {row["text"] for path in paths for row in pq.read_table(path).to_pylist()}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_build_that_is_killed_again_and_again_asks_for_no_stored_answer(
    tmp_path: Path, server: ChatServer
) -> None:
    concurrency, images = 2, 4 * IMAGES
    tiny = Tiny(folder=tmp_path)
    draw_images(tmp_path / "images", range(images))
    parts = {"caption": captioned(server, concurrency), "rows_per_shard": images // 2}
    recipe = tiny.write_recipe(**parts)
    tiny.build(tiny.recipe(**parts))
    undisturbed = tiny.files()
    assert sum(answers(server).values()) == images
    tiny.out.rename(tmp_path / "undisturbed")
    server.answered.clear()
    server.visits.clear()
    server.delay_s = 0.02
    draw = random.Random(0)
    before: Counter[str] = Counter()
    kept: set[str] = set()
    for _ in range(KILLS):
        more = draw.randint(5, 7)
        build_and_kill(command(tiny, recipe), server, sum(before.values()) + more)
        now = answers(server)
        assert {text: now[text] for text in kept} == {text: before[text] for text in kept}
        before, kept = now, stored(tiny)
    tiny.build(tiny.recipe(**parts))
    now = answers(server)
    assert {text: now[text] for text in kept} == {text: before[text] for text in kept}
    assert sum(now.values()) - images <= KILLS * (FLUSH_ANSWERS + concurrency)
    made = tiny.files()
    of_answers = {name for name in made if name.startswith("answers/")}
    assert {name: made[name] for name in made.keys() - of_answers} == {
        name: body for name, body in undisturbed.items() if not name.startswith("answers/")
    }
