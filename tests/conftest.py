"""A small corpus, really crawled and built by the command line, for every test that reads one."""

import gc
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from corpus import DEMO_LIST, ROOT, Corpus
from hypothesis import settings
from serve import CorpusServer, running_server

from pipelines.engines.profile import load_profile
from pipelines.engines.spark.cluster import running_cluster

# Loading a CLIP takes seconds in each process.
UNSCORED = ("score.scorers=[]", "dedup.semantic=null")
# Rows of the demo list that other rows of it repeat.
TWINS = ("unit_blocks_lion_kimbro_01.png", "sun_flower_ganson.png", "two_cats_tess_brady_01.png")
SPARK = ROOT / "build/engines/pyspark/pyspark"

settings.register_profile("quick", max_examples=40)
settings.load_profile("quick")


def pytest_configure() -> None:
    """Have torch take a core in every process: tests run side by side, and waiting costs time."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    gc.disable()


def pytest_collection_finish() -> None:
    """Have the garbage collector pass over all that was imported."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the engines that are not installed here, but never where they have to be."""
    for item in items:
        # Files stay whole; one process builds the corpus, and runs all that reads it.
        reads_it = "built" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("corpus" if reads_it else item.location[0]))
        if (mark := item.get_closest_marker("engine")) is None:
            continue
        profile = load_profile(mark.args[0])
        missing = profile.missing(profile.arguments(processes=2))
        if missing and not os.environ.get("CI"):
            item.add_marker(pytest.mark.skip(reason="; ".join(missing)))


@pytest.fixture(scope="session")
def server() -> Iterator[CorpusServer]:
    """The bundled images on a local web server."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def demo_rows() -> list[dict]:
    """A tenth of the demo's images, and all of its rows that go wrong."""
    rows = [json.loads(line) for line in DEMO_LIST.read_text().splitlines()]
    real = [row for row in rows if "expect" not in row]
    twins = [row for row in real if row["url"].endswith(TWINS)]
    others = [row for row in real if not row["url"].endswith(TWINS)]
    return [*twins, *others[::10], *(row for row in rows if "expect" in row)]


@pytest.fixture(scope="session")
def make_corpus(
    server: CorpusServer, demo_rows: list[dict], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Corpus]:
    """Return a function that lays out a corpus to be built of the demo rows, without scores."""
    listed = tmp_path_factory.mktemp("list") / "rows.jsonl"
    listed.write_text("".join(f"{json.dumps(row)}\n" for row in demo_rows))

    def make(*sets: str, out: Path | str | None = None, scored: bool = False) -> Corpus:
        return Corpus(
            out=out or tmp_path_factory.mktemp("corpus"),
            sets=(
                f"sources.openclipart.path={listed}",
                f"sources.openclipart.base_url={server.base_url}",
                "rows_per_shard=12",
                "crawl.timeout_s=1.5",
                "shard.samples=8",
                *(() if scored else UNSCORED),
                *sets,
            ),
        )

    return make


@pytest.fixture(scope="session")
def built(make_corpus: Callable[..., Corpus]) -> Corpus:
    """A corpus built without disturbance by two processes; tests must not change it."""
    corpus = make_corpus()
    corpus.build()
    return corpus


@pytest.fixture(scope="session")
def demo_corpus(built: Corpus) -> Path:
    """The folder of a built corpus; tests must not change it."""
    return built.out


@pytest.fixture
def copied(built: Corpus, make_corpus: Callable[..., Corpus], tmp_path: Path) -> Corpus:
    """A built corpus that a test may change."""
    out = tmp_path / "corpus"
    shutil.copytree(built.out, out)
    return make_corpus(out=out)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[str]]:
    """A Spark master and two workers; gives the options of Beam that send a build there."""
    with running_cluster(SPARK, tmp_path / "spark") as options:
        yield options
