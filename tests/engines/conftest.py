"""Real engines; `make test-engines` installs what they need."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from corpus import ROOT

from pipelines.engine_profile import load_profile
from pipelines.engines.spark.cluster import running_cluster

SPARK = ROOT / "build/engines/pyspark/pyspark"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the engines that are not installed here, but never where they have to be."""
    for item in items:
        if (mark := item.get_closest_marker("engine")) is None:
            continue
        profile = load_profile(mark.args[0])
        missing = profile.missing(profile.arguments(processes=2))
        if missing and not os.environ.get("CI"):
            item.add_marker(pytest.mark.skip(reason="; ".join(missing)))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """A Spark master and two workers; gives the options of Beam that send a build there."""
    logs: Path = tmp_path_factory.mktemp("spark")
    with running_cluster(SPARK, logs) as options:
        yield options
