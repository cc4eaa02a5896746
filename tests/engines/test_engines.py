"""Every engine makes the same bytes as the local one, by the command line, on real runners."""

from collections.abc import Callable
from pathlib import Path

import pytest
from corpus import Corpus
from engines import EMBEDDED


@pytest.fixture(scope="module")
def scored(make_corpus: Callable[..., Corpus]) -> Corpus:
    """The demo rows with scores and embeddings, and without semantic duplicates."""
    corpus = make_corpus(scored=True)
    corpus.build()
    return corpus


@pytest.mark.parametrize("engine", EMBEDDED)
def test_an_embedded_engine_makes_the_bytes_of_the_local_one(
    engine: str, make_corpus: Callable[..., Corpus], scored: Corpus, tmp_path: Path
) -> None:
    corpus = make_corpus(out=tmp_path / "corpus", scored=True)
    corpus.build(after=f"--engine {engine}", timeout_s=600)
    assert corpus.manifest_bytes == scored.manifest_bytes
    for path in scored.files("scores/*.parquet"):
        assert (corpus.out / "scores" / path.name).read_bytes() == path.read_bytes()
    assert corpus.verify()[0] == 0


@pytest.mark.spark
@pytest.mark.engine("spark")
def test_a_spark_cluster_makes_the_bytes_of_the_local_engine(
    cluster: list[str], make_corpus: Callable[..., Corpus], scored: Corpus, tmp_path: Path
) -> None:
    corpus = make_corpus(out=tmp_path / "corpus", scored=True)
    corpus.build(after=f"--engine spark -- {' '.join(cluster)}", timeout_s=600)
    assert corpus.manifest_bytes == scored.manifest_bytes
    assert corpus.verify()[0] == 0
