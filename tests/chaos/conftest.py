"""A corpus of four small shards, its images on a server that can go away, and its quiet build."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chaos_server import ChaosServer
from corpus import DEMO_LIST, Corpus

IMAGES = 15
GO_WRONG = ("wild/gone.png", "wild/html_as_png.png", "wild/no_ai.png", "wild/truncated.png")


@pytest.fixture(scope="session")
def chaos_server() -> Iterator[ChaosServer]:
    """The bundled images, on one port for the whole session."""
    server = ChaosServer()
    yield server
    server.go_away()


@pytest.fixture
def server_is_there(chaos_server: ChaosServer) -> Iterator[ChaosServer]:
    """A server that serves, whatever the test before did."""
    chaos_server.come_back()
    yield chaos_server
    chaos_server.come_back()


@pytest.fixture(scope="session")
def lay_out(
    chaos_server: ChaosServer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path | str], Corpus]:
    """Return a function that lays out the corpus to be built in a folder."""
    rows = [json.loads(line) for line in DEMO_LIST.read_text().splitlines()]
    real = [row for row in rows if "expect" not in row][:: 300 // IMAGES][:IMAGES]
    wrong = [row for row in rows if row.get("url", "").endswith(GO_WRONG)]
    listed = tmp_path_factory.mktemp("chaos") / "rows.jsonl"
    listed.write_text("".join(f"{json.dumps(row)}\n" for row in [*real, *wrong]))
    sets = (
        f"sources.openclipart.path={listed}",
        f"sources.openclipart.base_url={chaos_server.base_url}",
        "crawl.retries=0",
        "rows_per_shard=5",
        "shard.samples=3",
    )
    return lambda out: Corpus(out=out, sets=sets)


@pytest.fixture(scope="session")
def undisturbed(
    lay_out: Callable[[Path | str], Corpus],
    chaos_server: ChaosServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Corpus:
    """The corpus as it comes out when nothing happens; tests must not change it."""
    chaos_server.come_back()
    corpus = lay_out(tmp_path_factory.mktemp("undisturbed") / "corpus")
    corpus.build()
    return corpus


@pytest.fixture
def corpus(
    lay_out: Callable[[Path | str], Corpus],
    undisturbed: Corpus,
    server_is_there: ChaosServer,
    tmp_path: Path,
) -> Corpus:
    """The corpus, not built yet."""
    return lay_out(tmp_path / "corpus")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Return a function that makes, then grows, a file system of so many KiB; needs root."""
    mount = tmp_path / "small"
    mount.mkdir()

    def resize(kib: int) -> Path:
        again = ["-o", "remount"] if mount.is_mount() else []
        command = ["mount", *again, "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(mount)]
        if subprocess.run(command).returncode:
            pytest.skip("cannot mount a small file system here; needs root")
        return mount

    yield resize
    if mount.is_mount():
        subprocess.run(["umount", str(mount)], check=True)
