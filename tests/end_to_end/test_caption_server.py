"""A build whose captions a server writes: stopped, it asks no answered row again."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from chat_server import PROBE, ChatServer, caption, chat_server
from tiny import Tiny, draw_images

from filters.captioner import EngineError
from pipelines.captions import engines
from schemas.store.storage import CorpusError

IMAGES = 6
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


def captioned(server: ChatServer) -> dict[str, Any]:
    return {
        "styles": [{"style": "mine", "prompt": PROMPT}],
        "engines": [
            {
                "engine": "openai",
                "name": "vlm",
                "url": server.url,
                "model": "m",
                "key_env": "TEST_KEY",
                "concurrency": 1,
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
