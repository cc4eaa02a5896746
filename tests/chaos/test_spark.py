"""Processes of a Spark cluster are killed under a build."""

import random
from functools import partial

import pytest
from builds import assert_as_undisturbed, disturbed, finish
from corpus import Corpus
from disturbances import draw_moment, kill_one, of_the_cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.chaos,
    pytest.mark.spark,
    pytest.mark.engine("spark"),
    pytest.mark.timeout(1800),
]

VICTIMS = {
    "executor": "CoarseGrainedExecutorBackend",
    "worker": "org.apache.spark.deploy.worker.Worker",
    "beam worker": "SdkHarness",
}


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_process_of_the_cluster_is_killed(
    victim: str, cluster: list[str], corpus: Corpus, undisturbed: Corpus
) -> None:
    draw = random.Random(f"Spark {victim}")
    there = "--engine", "spark", "--", *cluster
    disturbed(
        corpus,
        draw_moment(draw, ["raw", "signals"]),
        lambda build: kill_one(partial(of_the_cluster, VICTIMS[victim]), draw, build),
        *there,
    )
    finish(corpus, *there)
    assert_as_undisturbed(corpus, undisturbed)
