"""An earlier corpus is compared with whole, or refused."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tiny import Tiny

from pipelines.benchmark_images import corpus_images
from pipelines.check_recipe import pin
from pipelines.dedup.tasks import DedupTasks
from schemas.recipe import DedupConfig, EarlierCorpus
from schemas.store.storage import CorpusError, Storage

USES: dict[str, Callable[[str], dict[str, Any]]] = {
    "dedup.against": lambda old: {"against": [old]},
    "dedup.benchmarks.old": lambda old: {"benchmarks": [{"name": "old", "images": old}]},
}


@pytest.fixture
def old(six_images: Tiny, tmp_path: Path) -> Path:
    """A copy of the corpus of six images, to be damaged."""
    shutil.copytree(six_images.out, tmp_path / "old")
    return tmp_path / "old"


def begin(old: Path) -> None:
    line = {"build": "x", "stage": "begun", "seconds": 0.0, "shards_run": 0, "shards_fresh": 0}
    with (old / "build_log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (
        lambda old: shutil.rmtree(old / "tokens"),
        r"tokens/00000\.parquet and 2 more: missing; build it again",
    ),
    "the last file": (
        lambda old: (old / "tokens/00002.parquet").unlink(),
        r"tokens/00002\.parquet: missing; build it again",
    ),
    "a file of another stage": (
        lambda old: (old / "signals/00001.parquet").unlink(),
        r"signals/00001\.parquet: missing; build it again",
    ),
    "the plan": (lambda old: (old / "sources/plan.json").unlink(), r"no sources/plan\.json"),
    "a build that began": (begin, "the last build did not finish; finish it first"),
    "the log": (
        lambda old: (old / "build_log.jsonl").write_text('{"build": "a'),
        r"build_log\.jsonl: damaged",
    ),
    "the manifest": (
        lambda old: (old / "manifest.json").write_text("[" * 100_000),
        r"manifest\.json: damaged",
    ),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_corpus_that_is_not_whole_is_refused(
    six_images: Tiny, old: Path, use: str, damage: str
) -> None:
    act, said = DAMAGES[damage]
    act(old)
    dedup = {"phash_distance": None, **USES[use](str(old))}
    with pytest.raises(CorpusError, match=rf"^{re.escape(f'{use}: {old}')}[:/].*{said}"):
        pin(six_images.recipe(dedup=dedup))


def test_files_that_no_build_wrote_are_not_read(six_images: Tiny, old: Path) -> None:
    shutil.copy(old / "tokens/00000.parquet", old / "tokens/mine.parquet")
    dedup = {"phash_distance": None, "benchmarks": [{"name": "old", "images": str(old)}]}
    config = pin(six_images.recipe(dedup={**dedup, "against": [str(old)]})).dedup
    assert len(corpus_images(Storage(str(old)), config)) == 6
    tasks = DedupTasks(config=config.model_copy(update={"benchmarks": ()}), partitions=1)
    rows, _ = tasks.read(0, [], Storage(str(six_images.out)))["by_url"]
    assert len(rows) == 6


def test_a_damaged_file_is_named_with_its_corpus(six_images: Tiny, old: Path) -> None:
    (old / "raw/00001.parquet").write_bytes(b"PAR1")
    config = DedupConfig(phash_distance=None, against=(EarlierCorpus(path=str(old)),))
    said = rf"^{re.escape(str(old))}: raw/00001\.parquet: not a readable"
    with pytest.raises(CorpusError, match=said):
        DedupTasks(config=config, partitions=1).read(0, [], Storage(str(six_images.out)))
    with pytest.raises(CorpusError, match=said):
        corpus_images(Storage(str(old)), config)


def test_a_build_of_rows_that_are_all_in_an_earlier_corpus_leaves_no_sample(
    tiny: Tiny, old: Path
) -> None:
    dedup = {"phash_distance": None, "against": [str(old)]}
    with pytest.raises(CorpusError, match=r"no sample is left: .*dedup dropped 6 \(repeated_url 6"):
        tiny.build(tiny.recipe(dedup=dedup))
    paths = sorted((tiny.out / "duplicates").glob("0*.parquet"))
    verdicts = [row for path in paths for row in pq.read_table(path).to_pylist()]
    assert {row["kept_in"] for row in verdicts} == {"tiny"}
