"""A corpus built straight into a bucket is the one that is built into a folder, byte for byte."""

from pathlib import Path

import pytest
from corpus import Corpus

from pipelines.storage import Storage

pytestmark = pytest.mark.slow

# These say when and how a build ran.
OF_THE_RUN = {"build_log.jsonl", "recipe.yaml", "report.html", ".lock"}


def test_a_bucket_holds_the_bytes_of_the_local_build(in_bucket: Corpus, built: Corpus):
    bucket, folder = contents(in_bucket), contents(built)
    assert bucket.keys() - OF_THE_RUN == folder.keys() - OF_THE_RUN
    assert {name for name in folder if name not in OF_THE_RUN and bucket[name] != folder[name]} == set()
    assert in_bucket.shard_sha256 == built.shard_sha256


def contents(corpus: Corpus) -> dict[str, bytes]:
    """Return every file of a corpus, by its name below it."""
    fs, root = Storage(str(corpus.out)).locate("")
    root = root.rstrip("/")
    return {name.removeprefix(f"{root}/"): fs.cat_file(name) for name in fs.find(root)}
