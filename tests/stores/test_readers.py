"""The programs of the page on object stores, run as they stand there, read shards in a bucket."""

import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from corpus import ROOT, Corpus
from PIL import Image

PAGE = ROOT / "docs/how-to/use-object-stores.md"
OTHER_WEBDATASET = ROOT / "build/webdataset-1"  # made by the Makefile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the fixtures build three corpora


def program(library: str) -> str:
    """Return the page's program that imports a library."""
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (text,) = [each for each in found if f"import {library}\n" in each]
    return text


def run(text: str, corpus: Corpus, shards: int, folder: Path, first: str = "") -> list[str]:
    """Run a program of the page on a corpus, in an interpreter of its own; return its lines."""
    scheme, _, place = str(corpus.out).partition("://")
    text = text.replace('["gs"]', f'["{scheme}"]').replace("000003", f"{shards - 1:06d}")
    text = text.replace("gs://bucket/corpus", f"{scheme}://{place}")
    done = subprocess.run(
        [sys.executable, "-I", "-c", first + text],
        cwd=folder,
        env={**os.environ, "HF_HOME": str(folder)},  # offline, datasets would refuse s3:// too
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("other", ["", OTHER_WEBDATASET], ids=["0.2", "1"])
def test_webdataset_prints_every_sample(
    other: Path | str, in_bucket: Corpus, built: Corpus, tmp_path: Path
):
    first = f"import sys; sys.path.insert(0, {str(other)!r})\n" if other else ""
    printed = run(program("webdataset"), in_bucket, len(built.shard_sha256), tmp_path, first)
    assert printed == lines_of(built)


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_prints_every_sample(
    streaming: bool, in_bucket: Corpus, built: Corpus, tmp_path: Path
):
    text = program("datasets")
    if streaming and str(in_bucket.out).startswith("s3://"):
        pytest.skip("datasets cannot stream s3://, as the page says")
    if streaming:
        text = text.replace('split="train"', 'split="train", streaming=True')
    assert run(text, in_bucket, len(built.shard_sha256), tmp_path) == lines_of(built)


def lines_of(corpus: Corpus) -> list[str]:
    """Return what the programs print of a local build, in the order of its shards and keys."""
    lines: list[str] = []
    for path in corpus.files("shards/*.tar"):
        with tarfile.open(path) as tar:
            members = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
        for key in [name[:-4] for name in members if name.endswith(".jpg")]:
            size = Image.open(io.BytesIO(members[f"{key}.jpg"])).size
            shape = np.load(io.BytesIO(members[f"{key}.tokens256.npy"])).shape
            lines.append(f"{key} {size} {shape}")
    return lines
