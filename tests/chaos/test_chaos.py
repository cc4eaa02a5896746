"""Whatever is killed, and whenever: in the end lies the corpus of a build that nobody disturbed."""

import os
import random
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import fsspec
import pytest
from builds import assert_as_undisturbed, disturbed, finish
from chaos_server import ChaosServer
from corpus import Corpus
from disturbances import (
    Moment,
    beam_workers,
    draw_moment,
    fork_servers,
    isolated_children,
    kill_one,
    pool_workers,
    start,
    wait,
    wait_for,
)
from faulty_proxy import faulty_proxy
from object_stores import STORES

BEAM_WORKERS = ("--", "--runner=FnApiRunner", "--direct_running_mode=multi_processing")


def seeds(count: int, quick: int = 0) -> list:
    """Number a kind's scenarios; the first `quick` of them are run with the slow tests too."""
    marks = [() if seed < quick else (pytest.mark.chaos,) for seed in range(count)]
    return [pytest.param(seed, marks=each) for seed, each in enumerate(marks)]


pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("seed", seeds(6, quick=1))
def test_a_worker_is_killed(seed: int, corpus: Corpus, undisturbed: Corpus) -> None:
    draw = random.Random(f"worker {seed}")
    code, said = disturbed(
        corpus, draw_moment(draw), lambda b: kill_one(partial(pool_workers, b), draw, b)
    )
    assert code == 0, said  # the build itself gets over it
    assert_as_undisturbed(corpus, undisturbed)


@pytest.mark.parametrize("seed", seeds(3))
def test_workers_are_killed_in_one_stage_after_the_other(
    seed: int, corpus: Corpus, undisturbed: Corpus
) -> None:
    draw = random.Random(f"workers {seed}")

    def kill_some(build) -> bool:
        killed = [
            kill_one(partial(pool_workers, build), draw, build)
            for folder in ("raw", "signals", "tokens", "shards")
            if wait_for(draw_moment(draw, [folder]), build, corpus.out)
        ]
        return sum(killed) > 1

    code, said = disturbed(corpus, Moment(folder="sources", files=1), kill_some)
    assert code == 0, said
    assert_as_undisturbed(corpus, undisturbed)


@pytest.mark.parametrize("seed", seeds(3))
def test_the_server_that_workers_are_forked_from_is_killed(
    seed: int, corpus: Corpus, undisturbed: Corpus
) -> None:
    draw = random.Random(f"fork server {seed}")
    code, said = disturbed(
        corpus, draw_moment(draw), lambda b: kill_one(partial(fork_servers, b), draw, b)
    )
    assert code == 0, said
    assert_as_undisturbed(corpus, undisturbed)


@pytest.mark.parametrize("seed", seeds(2))
def test_the_child_that_does_what_another_died_of_is_killed_too(
    seed: int, corpus: Corpus, undisturbed: Corpus
) -> None:
    draw = random.Random(f"child {seed}")
    begun = draw_moment(draw, [".attempts/measure", ".attempts/vq_tokens"])

    def kill_twice(build) -> bool:
        return kill_one(partial(pool_workers, build), draw, build) and kill_one(
            partial(isolated_children, build), draw, build
        )

    code, said = disturbed(corpus, begun, kill_twice)
    assert code == 0, said
    assert_as_undisturbed(corpus, undisturbed)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=lambda how: how.name)
@pytest.mark.parametrize("seed", seeds(3))
def test_the_driver_is_killed(
    seed: int, how: signal.Signals, corpus: Corpus, undisturbed: Corpus
) -> None:
    draw = random.Random(f"driver {how} {seed}")
    code, said = disturbed(corpus, draw_moment(draw), lambda build: build.send_signal(how))
    assert code == -how, said
    finish(corpus)
    assert_as_undisturbed(corpus, undisturbed)


@pytest.mark.parametrize("seed", seeds(3, quick=1))
def test_the_driver_is_killed_again_and_again(
    seed: int, corpus: Corpus, undisturbed: Corpus
) -> None:
    draw = random.Random(f"drivers {seed}")
    for folder in sorted(draw.sample(["raw", "signals", "tokens", "shards"], k=2)):
        disturbed(corpus, draw_moment(draw, [folder]), lambda build: build.kill())
    finish(corpus)
    assert_as_undisturbed(corpus, undisturbed)


@pytest.mark.parametrize("files", [pytest.param(n, marks=pytest.mark.chaos) for n in (1, 3)])
def test_the_driver_is_killed_while_rows_are_exchanged(
    files: int, corpus: Corpus, undisturbed: Corpus
) -> None:
    code, said = disturbed(
        corpus, Moment(folder="exchange", files=files), lambda build: build.kill()
    )
    assert code == -signal.SIGKILL, said
    finish(corpus)
    assert_as_undisturbed(corpus, undisturbed)


@pytest.mark.parametrize("seed", seeds(3))
def test_it_is_interrupted_at_a_terminal(seed: int, corpus: Corpus, undisturbed: Corpus) -> None:
    draw = random.Random(f"interrupt {seed}")
    code, said = disturbed(
        corpus, draw_moment(draw), lambda build: os.killpg(build.pid, signal.SIGINT)
    )
    assert code == 130, said
    assert "the same command goes on from here" in said
    assert "Traceback" not in said, said
    finish(corpus)
    assert_as_undisturbed(corpus, undisturbed)


@pytest.mark.parametrize("seed", seeds(2))
def test_a_worker_of_beams_own_is_killed(seed: int, corpus: Corpus, undisturbed: Corpus) -> None:
    draw = random.Random(f"Beam {seed}")
    code, said = disturbed(
        corpus,
        draw_moment(draw, ["raw", "signals", "tokens"]),
        lambda build: kill_one(partial(beam_workers, build), draw, build),
        *BEAM_WORKERS,
    )
    # A worker without work is not missed.
    assert code in (0, 1), said
    assert code == 0 or "the same command goes on from here" in said, said
    finish(corpus, *BEAM_WORKERS)
    assert_as_undisturbed(corpus, undisturbed)


@pytest.mark.parametrize("seed", seeds(3))
def test_the_disk_is_full(
    seed: int,
    lay_out: Callable[[Path | str], Corpus],
    undisturbed: Corpus,
    server_is_there: ChaosServer,
    small_disk: Callable[[int], Path],
) -> None:
    whole = sum(path.stat().st_size for path in undisturbed.out.rglob("*") if path.is_file())
    share = random.Random(f"disk {seed}").uniform(0.1, 0.9)
    corpus = lay_out(small_disk(int(whole * share / 1024)) / "corpus")
    code, said = wait(start(corpus))
    assert code == 1, said
    assert "No space left on device" in said
    assert "Traceback" not in said, said
    small_disk(200_000)
    finish(corpus)
    assert_as_undisturbed(corpus, undisturbed)


@pytest.mark.parametrize("seed", seeds(4))
def test_the_images_server_goes_away_and_comes_back(
    seed: int, corpus: Corpus, undisturbed: Corpus, server_is_there: ChaosServer
) -> None:
    server_is_there.come_back(most=random.Random(f"server {seed}").randint(0, 18))
    code, said = wait(start(corpus))
    assert code in (0, 1), said
    assert (
        "--retry-failed crawl tries them" if code == 0 else "the next build tries those"
    ) in said
    server_is_there.come_back()
    finish(corpus, *(["--retry-failed", "crawl"] if code == 0 else []))
    assert_as_undisturbed(corpus, undisturbed)


@pytest.mark.chaos
@pytest.mark.parametrize("kind", STORES)
def test_the_object_store_fails_a_tenth_of_its_requests(
    kind: str,
    lay_out: Callable[[Path | str], Corpus],
    undisturbed: Corpus,
    server_is_there: ChaosServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with STORES[kind]() as store, faulty_proxy(store.address, share=0.1, seed=1) as proxy:
        reached = store.behind(proxy.address)
        for name, value in reached.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setitem(fsspec.config.conf, kind, reached.fs_options)
        corpus = lay_out(f"{store.make_bucket('chaos')}/corpus")
        finish(corpus)
        assert sum(proxy.counts.values()) - proxy.counts["none"] > 10
        proxy.share = 0.0
        assert_as_undisturbed(corpus, undisturbed)
