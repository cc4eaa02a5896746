"""Every engine makes the same bytes as the local one, by the command line, on real runners."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from chat_server import chat_server
from corpus import Corpus
from engines import EMBEDDED

pytestmark = pytest.mark.timeout(900)  # a build each, with workers that start anew

ENGINE = '{{engine: openai, name: vlm, url: "{url}", model: m, concurrency: 4}}'
STYLES = '[{style: mine, prompt: "What is drawn here?", share: 3}, {style: source}]'

MakeCorpus = Callable[..., Corpus]


@pytest.fixture(scope="module")
def make_scored(make_corpus: MakeCorpus) -> Iterator[MakeCorpus]:
    """Lay out the demo rows with scores, embeddings, and captions that a server writes."""
    with chat_server(says="Waves in the colours of sample {image}.") as server:
        engines = f"caption.engines=[{ENGINE.format(url=server.url)}]"
        styles = f"caption.styles={STYLES}"
        yield partial(make_corpus, engines, styles, "shard.held_out=0.2", scored=True)


@pytest.fixture(scope="module")
def scored(make_scored: MakeCorpus) -> Corpus:
    """The corpus as the local engine makes it."""
    corpus = make_scored()
    corpus.build()
    [line] = corpus.manifest["answers"]
    assert 0 < line["answers"] < corpus.manifest["subsets"]["t2i"]["samples"]
    return corpus


@pytest.mark.parametrize("engine", EMBEDDED)
def test_an_embedded_engine_makes_the_bytes_of_the_local_one(
    engine: str, make_scored: MakeCorpus, scored: Corpus, tmp_path: Path
) -> None:
    corpus = make_scored(out=tmp_path / "corpus")
    corpus.build(after=f"--engine {engine}", timeout_s=600)
    assert corpus.manifest_bytes == scored.manifest_bytes
    for path in (*scored.files("scores/*.parquet"), *scored.files("captions/*.parquet")):
        assert (corpus.out / path.relative_to(scored.out)).read_bytes() == path.read_bytes()
    assert corpus.verify()[0] == 0


@pytest.mark.spark
@pytest.mark.engine("spark")
def test_a_spark_cluster_makes_the_bytes_of_the_local_engine(
    cluster: list[str], make_scored: MakeCorpus, scored: Corpus, tmp_path: Path
) -> None:
    corpus = make_scored(out=tmp_path / "corpus")
    corpus.build(after=f"--engine spark -- {' '.join(cluster)}", timeout_s=600)
    assert corpus.manifest_bytes == scored.manifest_bytes
    assert corpus.verify()[0] == 0
