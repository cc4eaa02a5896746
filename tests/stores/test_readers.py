"""The programs of the page on object stores, run as they stand there, read shards in a bucket."""

import io
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from corpus import ROOT, Corpus
from PIL import Image

PAGE = ROOT / "pipelines/engines/object_stores.md"
OTHER_WEBDATASET = ROOT / "build/webdataset-1"  # made by the Makefile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the fixtures build three corpora


def program(library: str) -> str:
    """Return the page's program that imports a library."""
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (text,) = [each for each in found if f"import {library}\n" in each]
    return text


@pytest.mark.parametrize(
    ("library", "folder"),
    [("webdataset", ""), ("webdataset", OTHER_WEBDATASET), ("datasets", "")],
    ids=["webdataset 0.2", "webdataset 1", "datasets"],
)
def test_the_page_s_program_prints_every_sample(
    library: str, folder: Path | str, in_bucket: Corpus, built: Corpus, tmp_path: Path
):
    scheme, _, place = str(in_bucket.out).partition("://")
    text = program(library).replace('["gs"]', f'["{scheme}"]')
    text = text.replace("gs://bucket/corpus", f"{scheme}://{place}")
    text = text.replace("000003", f"{len(built.files('shards/*.tar')) - 1:06d}")
    where = f"import sys; sys.path.insert(0, {str(folder)!r})\n" if folder else ""
    done = subprocess.run(
        [sys.executable, "-I", "-c", where + text],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [line for _, line in sorted(lines_of(built))]


def lines_of(corpus: Corpus) -> list[tuple[str, str]]:
    """Return (shard and key, what the program prints) of each sample of a local build."""
    lines: list[tuple[str, str]] = []
    for path in corpus.files("shards/*.tar"):
        with tarfile.open(path) as tar:
            members = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
        for name in members:
            key, _, extension = name.partition(".")
            if extension == "jpg":
                size = Image.open(io.BytesIO(members[name])).size
                shape = np.load(io.BytesIO(members[f"{key}.tokens256.npy"])).shape
                lines.append((f"{path.name}/{key}", f"{key} {size} {shape}"))
    return lines
