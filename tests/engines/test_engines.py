"""Every engine makes the same bytes as the local one, by the command line, on real runners."""

from collections.abc import Callable
from pathlib import Path

import pytest
from corpus import Corpus
from engines import EMBEDDED


@pytest.mark.parametrize("engine", EMBEDDED)
def test_an_embedded_engine_makes_the_bytes_of_the_local_one(
    engine: str, make_corpus: Callable[..., Corpus], built: Corpus, tmp_path: Path
) -> None:
    corpus = make_corpus(out=tmp_path / "corpus")
    corpus.build(after=f"--engine {engine}", timeout_s=600)
    assert corpus.manifest_bytes == built.manifest_bytes
    assert corpus.verify()[0] == 0


@pytest.mark.spark
@pytest.mark.engine("spark")
def test_a_spark_cluster_makes_the_bytes_of_the_local_engine(
    cluster: list[str], make_corpus: Callable[..., Corpus], built: Corpus, tmp_path: Path
) -> None:
    corpus = make_corpus(out=tmp_path / "corpus")
    corpus.build(after=f"--engine spark -- {' '.join(cluster)}", timeout_s=600)
    assert corpus.manifest_bytes == built.manifest_bytes
    assert corpus.verify()[0] == 0
