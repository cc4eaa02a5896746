"""What lies where a build would write stops it; what only looks like ours stays."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tiny import TOKENS, Tiny, draw_images, write_tar

from pipelines.dry_run import dry_run
from pipelines.runtime.claims import CLAIMS, claims_bytes, load_claims
from pipelines.verify.job import verify
from schemas.sample import CONTRACT_VERSION
from schemas.store.storage import CorpusError, Storage

TWO_SIZES = {"tokenizers": [{**TOKENS["tokenizers"][0], "resolutions": [128, 256]}]}


@pytest.mark.slow
def test_copies_of_our_own_files_under_numbers_we_never_wrote_stay(tiny: Tiny) -> None:
    copies = {
        "shards/other-000001.tar": "shards/t2i-000001.tar",
        "shards/other-000001.parquet": "shards/t2i-000001.parquet",
        "shards/t2i-000007.tar": "shards/t2i-000001.tar",
        "shards/t2i-000007.parquet": "shards/t2i-000001.parquet",
        "signals/00007.parquet": "signals/00001.parquet",
        "tokens/00008.parquet": "tokens/00001.parquet",
        "selection/quota-0123456789abcdef0123456789abcdef.json": "quota",
    }
    (tiny.out / "quota").write_text('{"a": "0123456789abcdef0123456789abcdef"}')
    for copy, name in copies.items():
        shutil.copy(tiny.out / name, tiny.out / copy)
    user = b"a tar of the user's"
    tar = f"raw/00001-{hashlib.sha256(user).hexdigest()[:12]}.tar"
    (tiny.out / tar).write_bytes(user)
    copies[tar] = tar
    before = {copy: (tiny.out / copy).read_bytes() for copy in copies}
    tiny.build(tiny.recipe(rows_per_shard=6, shard={"samples": 6}))
    assert {copy: (tiny.out / copy).read_bytes() for copy in copies} == before
    assert not (tiny.out / "signals/00001.parquet").exists()
    assert not (tiny.out / "shards/t2i-000002.tar").exists()


def two_sources(tiny: Tiny) -> Any:
    draw_images(tiny.folder / "more", range(6, 8))
    named = {"pics": "images", "two": "more"}
    sources = [
        {"name": n, "kind": "folder", "path": str(tiny.folder / p)} for n, p in named.items()
    ]
    return tiny.recipe(sources=sources)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("paths", "recipe"),
    [
        (["tokens/00000.tokens256.npy"], lambda tiny: tiny.recipe(vq_tokens=TWO_SIZES)),
        (
            ["sources/listing-two.jsonl", "signals/00003.parquet", "tokens/00003.tokens128.npy"],
            two_sources,
        ),
        (
            ["shards/t2i-000003.tar", "shards/t2i-000003.parquet"],
            lambda tiny: tiny.recipe(shard={"samples": 1}),
        ),
    ],
)
def test_a_users_file_where_a_build_would_newly_write_stops_it(
    tiny: Tiny, paths: list[str], recipe: Callable[[Tiny], Any]
) -> None:
    wanted = recipe(tiny)
    for path in paths:
        (tiny.out / path).write_bytes(b"USER")
        for _ in range(2):
            with pytest.raises(CorpusError, match=f"{path}: lies where a file of this build"):
                tiny.build(wanted)
            assert (tiny.out / path).read_bytes() == b"USER"
        (tiny.out / path).unlink()
    tiny.build(wanted)
    assert not verify(Storage(str(tiny.out)))


def test_a_users_file_in_a_corpus_that_is_not_finished_stops_it(tmp_path: Path) -> None:
    tiny = Tiny(folder=tmp_path)
    draw_images(tmp_path / "images", range(2))
    tiny.build(until="vq_tokens")
    for path in ("manifest.json", "shards/t2i.json", "report.html"):
        told = f"{path}: lies where a file of this build belongs"
        (tiny.out / path).parent.mkdir(exist_ok=True)
        (tiny.out / path).write_text("USER")
        with pytest.raises(CorpusError, match=told):
            dry_run(tiny.recipe(), str(tiny.out))
        with pytest.raises(CorpusError, match=told):
            tiny.build()
        assert (tiny.out / path).read_text() == "USER"
        (tiny.out / path).unlink()


@pytest.mark.slow
def test_a_corpus_that_lost_its_claims_is_built_on(tiny: Tiny) -> None:
    (tiny.out / CLAIMS).unlink()
    (tiny.out / "tokens/00000.tokens256.npy").write_text("USER")
    tiny.build(tiny.recipe(shard={"samples": 6}))
    assert not (tiny.out / "shards/t2i-000001.tar").exists()
    with pytest.raises(CorpusError, match=r"00000.tokens256.npy: lies where"):
        tiny.build(tiny.recipe(vq_tokens=TWO_SIZES))
    (tiny.out / "tokens/00000.tokens256.npy").unlink()
    (tiny.out / CLAIMS).unlink()
    (tiny.out / "sources/plan.json").unlink()
    tiny.build()
    assert not verify(Storage(str(tiny.out)))


@pytest.mark.parametrize("finished", [True, False])
def test_a_corpus_of_an_earlier_release_is_refused_and_left_alone(
    tiny: Tiny, finished: bool
) -> None:
    if finished:
        manifest = json.loads((tiny.out / "manifest.json").read_text()) | {"contract": 2}
        (tiny.out / "manifest.json").write_text(json.dumps(manifest))
        told = (
            "manifest.json is of shard contract 2, this release reads and writes contract "
            f"{CONTRACT_VERSION}"
        )
    else:
        (tiny.out / "manifest.json").unlink()
        path = tiny.out / "sources/00000.parquet"
        table = pq.read_table(path)
        footer = json.loads(table.schema.metadata[b"vargpt"])
        footer["dead"] = footer.pop("failed")
        pq.write_table(table.replace_schema_metadata({"vargpt": json.dumps(footer)}), path)
        told = "sources/00000.parquet: was written by an earlier release"
    before = tiny.files()
    for try_it in (tiny.build, lambda: dry_run(tiny.recipe(), str(tiny.out))):
        with pytest.raises(CorpusError, match=told):
            try_it()
    if finished:
        with pytest.raises(CorpusError, match=told):
            verify(Storage(str(tiny.out)))
    assert tiny.files() == before


@pytest.mark.slow
def test_a_build_killed_while_it_shrinks_or_writes_goes_on(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for place, recipe in (
        ("pipelines.build.surplus_files", tiny.recipe(rows_per_shard=6)),
        ("pipelines.build.make_manifest", tiny.recipe(shard={"samples": 1})),
        ("pipelines.build.old_outputs_of", tiny.recipe(shard={"samples": 3})),
        (
            "pipelines.runtime.stage.write_sidecar",
            tiny.recipe(vq_tokens=TWO_SIZES, rows_per_shard=3),
        ),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(place, killed)
            with pytest.raises(KeyboardInterrupt):
                tiny.build(recipe)
    tiny.build(tiny.recipe(rows_per_shard=4))
    assert not verify(Storage(str(tiny.out)))


def test_tars_that_lost_rows_stop_the_build_before_anything_is_touched(tmp_path: Path) -> None:
    tiny = Tiny(folder=tmp_path)
    draw_images(tmp_path / "images", range(4))
    write_tar(tmp_path / "a.tar", tmp_path / "images", range(4))
    write_tar(tmp_path / "b.tar", tmp_path / "images", range(1))
    sources = [{"name": "tars", "kind": "webdataset", "path": str(tmp_path / "*.tar")}]
    recipe = tiny.recipe(sources=sources)
    tiny.build(recipe, until="crawl")
    before = tiny.files()
    write_tar(tmp_path / "a.tar", tmp_path / "images", range(2))
    with pytest.raises(CorpusError, match="tars had 5 rows and has 3"):
        tiny.build(recipe)
    assert dry_run(recipe, str(tiny.out)) == 1
    assert tiny.files() == before
    assert tiny.build(recipe, allow_shrink=True, until="crawl")["funnel"][0]["kept"] == 3


def test_a_dry_run_names_output_shards_that_go(
    tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dry_run(tiny.recipe(shard={"samples": 6}), str(tiny.out)) == 0
    assert "would remove shards/t2i-000001.tar" in capsys.readouterr().out
    assert dry_run(tiny.recipe(rows_per_shard=3, shard={"samples": 6}), str(tiny.out)) == 0
    assert "may remove output shards t2i-000000 to t2i-000002" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "texts"),
    [
        ("manifest.json", ["{", "[]", '{"subsets": {"t2i": 3}}']),
        (
            "sources/plan.json",
            [
                '{"pics": {"units": 5}}',
                '{"pics": {"units": [{"source": "pics"}]}}',
                '{"pics": {"units": [], "files": 7}}',
                '{"pics": {"units": [], "rows": "x"}}',
            ],
        ),
        (CLAIMS, ['{"a": "b"}', "{"]),
    ],
)
def test_a_damaged_file_of_ours_is_named(tiny: Tiny, path: str, texts: list[str]) -> None:
    for text in texts:
        (tiny.out / path).write_text(text)
        with pytest.raises(
            CorpusError, match=rf"{path}: damaged \(.*\); remove it and build again"
        ):
            tiny.build()
        with pytest.raises(CorpusError, match=f"{path}: damaged"):
            dry_run(tiny.recipe(), str(tiny.out))
        assert (tiny.out / path).read_text() == text
    (tiny.out / path).unlink()
    tiny.build()
    assert not verify(Storage(str(tiny.out)))


def test_a_damaged_list_of_shards_is_made_anew(tiny: Tiny) -> None:
    before = tiny.files()
    (tiny.out / "shards/t2i.json").write_text("{")
    tiny.build()
    assert tiny.files() == before


def test_a_folder_in_which_nothing_can_be_made_is_refused_by_a_dry_run_too(tiny: Tiny) -> None:
    with pytest.raises(CorpusError, match=r"nothing can be written in /proc"):
        dry_run(tiny.recipe(), "/proc/x")


@pytest.mark.parametrize(
    "pattern",
    ["tokens/00000.tokens128.npy", "shards/t2i-000001.parquet", "dead_letters/*/*.parquet"],
)
def test_a_lost_file_is_made_again(tmp_path: Path, pattern: str) -> None:
    tiny = Tiny(folder=tmp_path)
    draw_images(tmp_path / "images", range(4))
    (tmp_path / "images/9.png").write_bytes(b"\x89PNG\r\n\x1a\nno image")
    recipe = tiny.recipe(max_failed_fraction={"measure": 1.0})
    tiny.build(recipe)
    before = tiny.files()
    [file] = tiny.out.glob(pattern)
    file.unlink()
    tiny.build(recipe)
    assert tiny.files() == before
    assert not verify(Storage(str(tiny.out)))


def test_what_an_earlier_release_kept_of_quotas_is_removed(
    tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Storage(str(tiny.out))
    path = "selection/quota-0123456789abcdef0123456789abcdef.json"
    store.commit_bytes(path, b"{}")
    store.commit_bytes(CLAIMS, claims_bytes({**(load_claims(store) or {}), path: 1}))
    assert dry_run(tiny.recipe(), str(tiny.out)) == 0
    assert f"would remove {path}" in capsys.readouterr().out
    tiny.build()
    assert not store.exists(path)
    assert not verify(store)
