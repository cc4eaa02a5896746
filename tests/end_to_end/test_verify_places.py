"""Images that are read in place, and rows that died, in a corpus of a folder."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from corpus import ROOT, Corpus
from forging import Row, forge_rows, schema_of, store_of

from pipelines.build import build
from pipelines.engines.engine import Engine
from pipelines.runtime.sidecar import (
    Reject,
    read_origin,
    read_table,
    write_dead_letters,
    write_sidecar,
)
from pipelines.tokens.token_arrays import array_header
from pipelines.verify.job import verify
from schemas.fingerprint import content_digest
from schemas.recipe_file import load_recipe
from schemas.store.storage import Storage

IMAGES = ROOT / "tests/corpus/openclipart/animals"
TOKENIZER = "{tokenizer: infinity_bsq, preset: bundled, resolutions: [128]}"
PLAN = "sources/plan.json"


def build_at(folder: Path) -> None:
    build(load_recipe(str(folder / "r.yaml")), str(folder / "out"), Engine(processes=1))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folder")
    (folder / "pics").mkdir()
    for image in sorted(IMAGES.rglob("*.png"))[:10]:
        shutil.copy(image, folder / "pics")
        (folder / f"pics/{image.stem}.txt").write_text(f"A drawing called {image.stem}")
    (folder / "elsewhere.png").write_bytes(next(IMAGES.glob("*.png")).read_bytes())
    (folder / "r.yaml").write_text(
        f"name: r\nsources: [{{name: pics, kind: folder, path: {folder}/pics}}]\n"
        "rows_per_shard: 2\ndedup: {phash_distance: null}\n"
        "max_failed_fraction: {crawl: 1, measure: 1, vq_tokens: 1}\n"
        f"vq_tokens: {{tokenizers: [{TOKENIZER}]}}\n"
    )
    build_at(folder)
    return folder


@pytest.fixture
def corpus(made: Path, tmp_path: Path) -> Corpus:
    shutil.copytree(made / "out", tmp_path / "out")
    shutil.copy(made / "r.yaml", tmp_path)
    return Corpus(out=tmp_path / "out", sets=())


def swap(rows: list[Row]) -> None:
    for name in ("file", "offset", "length", "sha256"):
        rows[0][name], rows[1][name] = rows[1][name], rows[0][name]


def outside(rows: list[Row]) -> None:
    rows[0]["file"] = rows[0]["file"].rpartition("/pics/")[0] + "/elsewhere.png"


def plan(change: Callable[[Row], Any]) -> Callable[[Corpus], None]:
    def damage(corpus: Corpus) -> None:
        path = Path(corpus.out) / PLAN
        told = json.loads(path.read_text())
        change(told["pics"])
        path.write_text(json.dumps(told, indent=1))

    return damage


def footer(folder: str, **values: Any) -> Callable[[Corpus], None]:
    def damage(corpus: Corpus) -> None:
        store, path = store_of(corpus), f"{folder}/00000.parquet"
        _write(corpus, path, read_table(store, path).to_pylist(), **values)

    return damage


def raw(change: Callable[[list[Row]], Any]) -> Callable[[Corpus], Any]:
    return lambda corpus: forge_rows(corpus, "raw", 0, change)


def tokens(**values: Any) -> Callable[[Corpus], Any]:
    return lambda corpus: forge_rows(
        corpus, "tokens", 0, lambda rows: [row.update(values) for row in rows]
    )


def stray(corpus: Corpus) -> None:
    shutil.copy(Path(corpus.out) / "shards/t2i-000000.tar", Path(corpus.out) / STRAY)


def appended(path: str, data: bytes) -> Callable[[Corpus], None]:
    def damage(corpus: Corpus) -> None:
        place = Path(corpus.out) / path
        place.write_bytes(place.read_bytes() + data)

    return damage


STRAY = "shards/t2i-000099.tar"
DAMAGES: dict[str, tuple[Callable[[Corpus], Any], str, str]] = {
    "swapped images": (raw(swap), "raw/00000.parquet", "it was listed in"),
    "image outside": (raw(outside), "raw/00000.parquet", "it was listed in"),
    "answer": (
        raw(lambda rows: rows[0].update(final_url="http://x", status=200)),
        "raw/00000.parquet",
        "was not fetched",
    ),
    "file of plan": (plan(lambda p: p["files"].append(STRAY)), PLAN, "files is"),
    "no file of plan": (plan(lambda p: p.update(files=[])), PLAN, "which is not in files"),
    "file of plan twice": (plan(lambda p: p.update(files=p["files"] * 2)), PLAN, "files is"),
    "types of plan": (plan(lambda p: p["files"].extend([1, None, []])), PLAN, "files is"),
    "key of plan": (plan(lambda p: p.update(more=1)), PLAN, "expected a mapping of"),
    "hash of plan": (plan(lambda p: p.update(made_of=[])), PLAN, "made_of is []"),
    "count of plan": (plan(lambda p: p.update(passed_over={"x": -7})), PLAN, "expected counts"),
    "unit of plan": (plan(lambda p: p["units"].append(None)), PLAN, "not a unit"),
    "type of unit": (plan(lambda p: p["units"][0].update(start="0")), PLAN, "wrong type of start"),
    **{
        f"footer of {folder}": (
            footer(folder, files=(STRAY,)),
            f"{folder}/00000.parquet",
            "not a file of its stage",
        )
        for folder in ("sources", "raw", "signals", "duplicates", "selection", "tokens")
    },
    "negative count": (footer("sources", passed_over={"x": -5}), "sources/00000.parquet", "footer"),
    "passed over": (
        footer("captions", passed_over={"x": 5}),
        "captions/00000.parquet",
        "passed-over",
    ),
    "compared": (tokens(compared=9, differing=5), "tokens/00000.parquet", "compared codes differ"),
    "newline": (appended("report.html", b"\n"), "report.html", "is not the page"),
    "log": (
        appended(
            "build_log.jsonl", b'{"build": "x", "stage": "pair", "seconds": 1, "shards_run": -1}\n'
        ),
        "build_log.jsonl",
        "not a line that a build writes",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damages_are_found_and_named(name: str, corpus: Corpus) -> None:
    damage, file, said = DAMAGES[name]
    stray(corpus)
    damage(corpus)
    faults = corpus.faults()
    assert any(fault.startswith(f"{file}: ") and said in fault for fault in faults), faults
    assert any(fault.startswith(f"{STRAY}: stray") for fault in faults), faults


def _write(corpus: Corpus, path: str, rows: list[Row], **values: Any) -> None:
    store, recipe = store_of(corpus), load_recipe(str(Path(corpus.out) / "recipe.yaml"))
    table = pa.Table.from_pylist(rows, schema=schema_of(path.partition("/")[0], recipe))
    origin = read_origin(store, path)
    assert origin is not None
    content, keys = content_digest(table), content_digest(table.select(["key"]))
    write_sidecar(store, path, table, replace(origin, content=content, keys=keys, **values))


def forge_death(corpus: Corpus, shard: int, folder: str, stage: str, reason: str) -> None:
    """Declare the last row of a side-car failed."""
    store, path = store_of(corpus), f"{folder}/{shard:05d}.parquet"
    origin, rows = read_origin(store, path), read_table(store, path).to_pylist()
    assert origin is not None
    gone = rows.pop()
    if folder == "tokens":
        array = Path(corpus.out) / gone["file"]
        shapes = [row["shape"] for row in rows]
        header = array_header(gone["dtype"], shapes)
        shift = rows[0]["offset"] - len(header)
        array.write_bytes(header + array.read_bytes()[rows[0]["offset"] : gone["offset"]])
        for row in rows:
            row["offset"] -= shift
    counts = replace(origin.counts, kept=len(rows), failed={reason: 1})
    write_dead_letters(store, stage, shard, [Reject(id=gone["key"], reason=reason, detail="x")])
    _write(corpus, path, rows, counts=counts)


@pytest.mark.parametrize(
    ("deep", "deaths"),
    [
        pytest.param(
            True,
            [
                ("signals", "measure", "corrupt_image", "its stage"),
                ("tokens", "vq_tokens", "not_finite", "and it can be encoded"),
                ("signals", "measure", "killed_worker", ""),
                ("tokens", "vq_tokens", "decode_timeout", ""),
                ("raw", "crawl", "missing_file", "failed, and its image can be read"),
            ],
            marks=pytest.mark.slow,
        ),
        (False, [("raw", "crawl", "http_404", "is not a reason of a folder")]),
    ],
)
def test_the_dead_must_fail_again_but_by_what_may_pass(
    deep: bool, deaths: list[tuple[str, str, str, str]], corpus: Corpus
) -> None:
    """A death a shard; the rest is as a build makes it, from there on."""
    for shard, (folder, stage, reason, _) in enumerate(deaths):
        forge_death(corpus, shard, folder, stage, reason)
    for told in ("manifest.json", "report.html"):
        (Path(corpus.out) / told).unlink()
    build_at(Path(corpus.out).parent)
    faults = [str(fault) for fault in verify(Storage(str(corpus.out)), deep=deep)]
    for shard, (_, _, _, said) in enumerate(deaths):
        mine = [fault for fault in faults if f"/{shard:05d}." in fault]
        assert any(said in fault for fault in mine) if said else not mine, (shard, faults)
    assert all("/0000" in fault for fault in faults), faults


def test_a_sound_corpus_has_no_fault(corpus: Corpus) -> None:
    assert corpus.faults() == []
