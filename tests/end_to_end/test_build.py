"""The whole job, from a list of URLs to shards: outcomes, bytes, kills and rebuilds."""

import json
import os
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from corpus import ROOT, Corpus
from serve import CorpusServer

from pipelines.stage_table import sidecar_stages
from schemas.keys import sample_key
from schemas.store.whole_file import TEMPORARY_PREFIX

Identity = tuple[int, int]  # inode and time of writing: a rewritten file has others


def committed(corpus: Corpus, *folders: str) -> dict[str, Identity]:
    found = [path for folder in folders for path in corpus.files(f"{folder}/[0-9]*.parquet")]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def outcomes(corpus: Corpus) -> dict[str, str]:
    """Map each key or row id to its outcome."""
    found: dict[str, str] = {}
    for path in corpus.files("dead_letters/*/*.parquet"):
        for row in pq.read_table(path).to_pylist():
            found[row["id"]] = f"{row['outcome']}:{row['reason']}"
    for folder in ("duplicates", "selection"):
        for path in corpus.files(f"{folder}/*.parquet"):
            for row in pq.read_table(path).to_pylist():
                if row["reason"]:
                    found[row["key"]] = f"dropped:{row['reason']}"
    for path in corpus.files("shards/*.parquet"):
        for row in pq.read_table(path).to_pylist():
            found.setdefault(row["key"], "kept")
    return found


def test_every_row_that_goes_wrong_has_its_outcome(built: Corpus, demo_rows: list[dict]) -> None:
    found = outcomes(built)
    for number, row in enumerate(demo_rows, start=1):
        if expected := row.get("expect"):
            key = sample_key("openclipart", row.get("url", ""))
            seen = found.get(f"rows.jsonl row {number}") or found[key]
            if expected == "dropped:same_bytes":  # the smaller key of the two stays
                twin = sample_key("openclipart", url_of(demo_rows, "two_cats_tess_brady_01.png"))
                assert {seen, found[twin]} == {expected, "kept"}
            else:
                assert seen == expected, row


def url_of(rows: list[dict], end: str) -> str:
    return next(row["url"] for row in rows if row.get("url", "").endswith(end))


def test_rows_in_are_rows_out_by_outcome(built: Corpus, demo_rows: list[dict]) -> None:
    funnel = built.manifest["funnel"]
    assert funnel[0]["rows_in"] == len(demo_rows)
    for line, following in zip(funnel, [*funnel[1:], None], strict=True):
        gone = sum(line["dropped"].values()) + sum(line["failed"].values())
        assert line["rows_in"] == line["kept"] + gone
        if following and following["stage"] not in ("vq_tokens",):
            assert following["rows_in"] == line["kept"]


def test_the_console_shows_the_funnel_and_what_made_the_tokens(built: Corpus) -> None:
    for words in ("http_404", "near_duplicate", "bundled infinity_bsq", "report.html", "text_eps"):
        assert words in built.printed


def test_images_come_out_upright_and_not_white(built: Corpus, demo_rows: list[dict]) -> None:
    signals = {
        row["key"]: row
        for path in built.files("signals/*.parquet")
        for row in pq.read_table(path).to_pylist()
    }
    grey = signals[sample_key("openclipart", "wild/grey16.png")]
    assert grey["blank_fraction"] < 0.9
    turned = signals[sample_key("openclipart", "wild/turned.jpg")]
    assert turned["width"] != turned["height"]


@pytest.mark.slow
def test_one_process_makes_the_bytes_that_two_make(
    built: Corpus, make_corpus: Callable[..., Corpus]
) -> None:
    other = make_corpus()
    other.rebuild()
    assert other.shard_sha256 == built.shard_sha256
    assert (other.out / "manifest.json").read_bytes() == (built.out / "manifest.json").read_bytes()


@pytest.mark.slow
def test_killed_again_and_again_a_build_ends_with_the_same_bytes(
    built: Corpus, make_corpus: Callable[..., Corpus]
) -> None:
    kill_and_finish(make_corpus(), built)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_demo_comes_out_the_same_however_it_is_built(
    server: CorpusServer, tmp_path: Path
) -> None:
    def demo(name: str) -> Corpus:
        return Corpus(
            out=tmp_path / name, sets=(f"sources.openclipart.base_url={server.base_url}",)
        )

    two, one, killed, beam = (demo(name) for name in ("two", "one", "killed", "beam"))
    two.build()
    one.build(processes=1)
    assert one.shard_sha256 == two.shard_sha256
    kill_and_finish(killed, two)
    # Beam's own worker processes get everything by pickle and share nothing but the folder.
    mode = "--direct_running_mode=multi_processing --direct_num_workers=2"
    beam.build(after=f"-- --runner=FnApiRunner {mode}")
    assert (beam.out / "manifest.json").read_bytes() == (two.out / "manifest.json").read_bytes()


def kill_and_finish(corpus: Corpus, built: Corpus) -> None:
    """Kill a build in crawl, in measure and in shard; the next one makes what is missing only."""
    shards = len(built.files("sources/*.parquet"))
    outputs = len(built.files("shards/*.tar"))
    moments = {
        "raw": lambda: 1 <= len(corpus.files("raw/[0-9]*.parquet")) < shards,
        "signals": lambda: 1 <= len(corpus.files("signals/[0-9]*.parquet")) < shards,
        "shards": lambda: 1 <= len(corpus.files("shards/*.tar")) < outputs,
    }
    done: dict[str, Identity] = {}
    for moment in moments.values():
        corpus.build_until(moment)
        assert_nothing_partial(corpus)
        assert all(identity == after for identity, after in kept_since(done, corpus))
        done = committed(corpus, *sidecar_stages())
    tars = {path: path.stat().st_mtime_ns for path in corpus.files("shards/*.tar")}
    indexed = {path.with_suffix(".tar") for path in corpus.files("shards/*.parquet")}
    corpus.build()
    assert all(identity == after for identity, after in kept_since(done, corpus))
    assert all(path.stat().st_mtime_ns == tars[path] for path in indexed)
    assert corpus.shard_sha256 == built.shard_sha256
    assert corpus.verify() == (0, f"{corpus.out}: verified, no fault\n")
    assert not list(corpus.out.rglob(f"{TEMPORARY_PREFIX}*"))


def kept_since(before: dict[str, Identity], corpus: Corpus) -> list[tuple[Identity, Identity]]:
    after = committed(corpus, *sidecar_stages())
    return [(identity, after[path]) for path, identity in before.items()]


def assert_nothing_partial(corpus: Corpus) -> None:
    """Whatever has a final name is whole."""
    for path in corpus.out.rglob("*"):
        if path.is_dir() or any(part.startswith(TEMPORARY_PREFIX) for part in path.parts):
            continue
        if ".attempts" in path.parts:  # marks, without content, that have the names of tars
            continue
        if path.suffix == ".parquet":
            pq.read_table(path)
        elif path.suffix == ".tar":
            with tarfile.open(path) as tar:
                assert tar.getmembers()
            assert path.stat().st_size % tarfile.RECORDSIZE == 0
        elif path.suffix == ".json":
            json.loads(path.read_bytes())


def test_building_again_makes_nothing_again(copied: Corpus, server: CorpusServer) -> None:
    before, hits = committed(copied, *sidecar_stages(), "shards"), server.hits.copy()
    copied.rebuild()
    assert committed(copied, *sidecar_stages(), "shards") == before
    assert server.hits == hits


def test_a_new_threshold_touches_no_pixel(copied: Corpus, server: CorpusServer) -> None:
    early = ("sources", "raw", "signals", "scores")
    before, hits = committed(copied, *early), server.hits.copy()
    samples = copied.manifest["subsets"]["t2i"]["samples"]
    copied.rebuild("select.short_side.min=300")
    assert committed(copied, *early) == before
    assert server.hits == hits
    assert 0 < copied.manifest["subsets"]["t2i"]["samples"] < samples
    assert not copied.faults()


def test_a_new_template_rewrites_pairs_and_shards_only(copied: Corpus, tmp_path: Path) -> None:
    templates = tmp_path / "mine.yaml"
    text = (ROOT / "pipelines/templates/t2i-v1.yaml").read_text()
    templates.write_text(text.replace("name: t2i-v1", "name: mine").replace("I need", "Show me"))
    others = [folder for folder in sidecar_stages() if folder != "pairs"]
    before, pairs = committed(copied, *others), committed(copied, "pairs")
    shards = copied.shard_sha256
    copied.rebuild(f"pair.templates={templates}")
    assert committed(copied, *others) == before
    assert not set(pairs.items()) & set(committed(copied, "pairs").items())
    assert copied.shard_sha256.keys() == shards.keys()
    assert copied.shard_sha256 != shards
    assert not copied.faults()


def test_every_key_stands_once_in_the_shards(built: Corpus) -> None:
    names: list[str] = []
    for path in built.files("shards/*.tar"):
        with tarfile.open(path) as tar:
            names += tar.getnames()
    keys = Counter(name.split(".")[0] for name in names)
    assert set(keys.values()) == {3}
    assert len(keys) == built.manifest["subsets"]["t2i"]["samples"]


def test_tars_hold_no_clock_and_no_owner(built: Corpus) -> None:
    for path in built.files("shards/*.tar"):
        with tarfile.open(path) as tar:
            members = tar.getmembers()
        assert [m.name for m in members] == sorted(m.name for m in members)
        assert {(m.mtime, m.uid, m.gid, m.mode, m.uname) for m in members} == {(0, 0, 0, 0o644, "")}
        assert os.path.getsize(path) % tarfile.BLOCKSIZE == 0
