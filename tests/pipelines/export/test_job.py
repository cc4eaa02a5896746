"""Exports in every format: what is written, counted, skipped, written again and refused."""

import json
import re
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from exports import files_of, samples_of

from model.data.manifest import DataError
from pipelines.cli.main import main
from pipelines.export.formats import FORMATS
from pipelines.export.job import SubsetCount, export
from schemas.store.whole_file import temporary_name

every_format = pytest.mark.parametrize("name", FORMATS)


def change_manifest(corpus: Path, subset: str, **changes: object) -> None:
    """Change what the manifest says of a subset."""
    manifest = json.loads((corpus / "manifest.json").read_text())
    manifest["subsets"][subset] |= changes
    (corpus / "manifest.json").write_text(json.dumps(manifest))


@every_format
def test_every_sample_is_written_or_counted_as_refused(
    name: str, small_corpus: Path, tmp_path: Path
) -> None:
    counts = export(str(small_corpus), FORMATS[name], str(tmp_path))
    assert {count.subset: count.samples for count in counts} == {
        "t2i": 5,
        "edit": 2,
        "understand": 2,
        "preference": 3,
        "preference_edit": 2,
    }
    marks = [json.loads(path.read_text()) for path in tmp_path.glob(".export/*-*.json")]
    marked = Counter[str]()
    for mark in marks:
        marked[mark["subset"]] += mark["samples"]
    assert marked == {count.subset: count.samples for count in counts if not count.refusal}
    refused = {count.subset for count in counts if count.refusal}
    assert refused == {
        "llama-factory": {"preference_edit"},
        "trl": {"t2i", "edit", "understand"},
    }.get(name, set())


@every_format
def test_the_same_corpus_gives_the_same_bytes(
    name: str, small_corpus: Path, tmp_path: Path
) -> None:
    for folder in ("one", "two"):
        export(str(small_corpus), FORMATS[name], str(tmp_path / folder))
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


@every_format
def test_an_export_that_failed_resumes_where_it_stopped(
    name: str, small_corpus: Path, changing_corpus: Path, tmp_path: Path
) -> None:
    tar = changing_corpus / "shards/preference-000001.tar"
    whole, to = tar.read_bytes(), tmp_path / "to"
    tar.write_bytes(whole[:-2000])
    with pytest.raises(DataError, match=r"preference-000001\.tar: [\d,]+ bytes, expected"):
        export(str(changing_corpus), FORMATS[name], str(to), ["preference"])
    (to / "preference" / temporary_name()).write_bytes(b"of a killed run")
    tar.write_bytes(whole)
    [count] = export(str(changing_corpus), FORMATS[name], str(to), ["preference"])
    assert (count.written, count.skipped) == (1, 1)
    export(str(small_corpus), FORMATS[name], str(tmp_path / "clean"), ["preference"])
    assert files_of(to) == files_of(tmp_path / "clean")


@every_format
def test_what_was_written_is_skipped_and_what_is_damaged_is_written_again(
    name: str, small_corpus: Path, tmp_path: Path
) -> None:
    export(str(small_corpus), FORMATS[name], str(tmp_path))
    before = files_of(tmp_path)
    damaged = next(path for path in before if "preference-000000" in path and path[0] != ".")
    (tmp_path / damaged).write_bytes(before[damaged][:-1])
    counts = {each.subset: each for each in export(str(small_corpus), FORMATS[name], str(tmp_path))}
    assert (counts["preference"].written, counts["preference"].skipped) == (1, 1)
    assert sum(count.written for count in counts.values()) == 1
    assert files_of(tmp_path) == before


def test_shards_of_an_earlier_build_are_removed(changing_corpus: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    export(str(changing_corpus), FORMATS["llama-factory"], str(to))
    manifest = json.loads((changing_corpus / "manifest.json").read_text())
    first = manifest["subsets"]["t2i"]["shards"][:1]
    change_manifest(changing_corpus, "t2i", shards=first, samples=3)
    export(str(changing_corpus), FORMATS["llama-factory"], str(to), ["t2i"])
    assert not [path for path in files_of(to) if "t2i-000001" in path]
    assert len([path for path in files_of(to) if path.startswith("images/t2i-000000/")]) == 3
    assert "vargpt_edit" in json.loads((to / "dataset_info.json").read_text())


def test_a_changed_shard_is_written_again(changing_corpus: Path, tmp_path: Path) -> None:
    to, tar = tmp_path / "to", changing_corpus / "shards/edit-000000.tar"
    export(str(changing_corpus), FORMATS["parquet"], str(to), ["edit"])
    tar.write_bytes(tar.read_bytes().replace(b"The output image is:", b"THE OUTPUT IMAGE IS:"))
    listed = json.loads((changing_corpus / "manifest.json").read_text())["subsets"]["edit"]
    listed["shards"][0]["sha256"] = sha256(tar.read_bytes()).hexdigest()
    change_manifest(changing_corpus, "edit", **listed)
    [count] = export(str(changing_corpus), FORMATS["parquet"], str(to), ["edit"])
    assert count.written == 1
    assert b"THE OUTPUT" in (to / "edit/edit-000000.parquet").read_bytes()


def test_a_message_that_breaks_a_rule_is_refused(changing_corpus: Path, tmp_path: Path) -> None:
    tar = changing_corpus / "shards/edit-000000.tar"
    tar.write_bytes(tar.read_bytes().replace(b"<image_gen>", b"<|im_end|>!"))
    with pytest.raises(DataError, match=r"edit-000000\.tar: [0-9a-f]{32}\.json: .*<\|im_end\|>"):
        export(str(changing_corpus), FORMATS["parquet"], str(tmp_path / "to"), ["edit"])


def test_a_tar_that_differs_from_the_manifest_is_not_copied(
    changing_corpus: Path, tmp_path: Path
) -> None:
    tar, to = changing_corpus / "shards/edit-000000.tar", tmp_path / "to"
    tar.write_bytes(tar.read_bytes().replace(b"JFIF", b"JFIX", 1))
    with pytest.raises(DataError, match=r"edit-000000\.tar: sha256 [0-9a-f]{64}, the manifest"):
        export(str(changing_corpus), FORMATS["energon"], str(to), ["edit"])
    assert not [path for path in files_of(to) if path.endswith(".tar")]


def test_a_key_that_would_lead_out_of_the_folder_is_refused(
    changing_corpus: Path, tmp_path: Path
) -> None:
    index = changing_corpus / "shards/edit-000000.parquet"
    table = pq.read_table(index)
    keys = [f"../../{key[6:]}" for key in table["key"].to_pylist()]
    pq.write_table(table.set_column(0, table.schema.field("key"), [keys]), index)
    with pytest.raises(DataError, match=r"edit-000000\.tar: key '\.\./\.\./"):
        export(str(changing_corpus), FORMATS["llama-factory"], str(tmp_path / "to"), ["edit"])


def test_a_mark_of_files_elsewhere_removes_nothing(changing_corpus: Path, tmp_path: Path) -> None:
    to, mine = tmp_path / "to", tmp_path / "mine"
    export(str(changing_corpus), FORMATS["parquet"], str(to), ["edit"])
    mine.write_text("kept")
    mark = to / ".export/edit-000000.json"
    forged = json.loads(mark.read_text()) | {"fingerprint": "", "files": {"../mine": 4}}
    mark.write_text(json.dumps(forged))
    [count] = export(str(changing_corpus), FORMATS["parquet"], str(to), ["edit"])
    assert (count.written, mine.read_text()) == (1, "kept")


def test_folders_with_other_files_are_refused(small_corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds files that no export wrote: manifest"):
        export(str(small_corpus), FORMATS["parquet"], str(small_corpus))
    export(str(small_corpus), FORMATS["parquet"], str(tmp_path), ["edit"])
    with pytest.raises(DataError, match="holds an export as 'parquet', not 'datasets'"):
        export(str(small_corpus), FORMATS["datasets"], str(tmp_path))


def test_nothing_to_export_is_an_error(changing_corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t2i: the format holds pairs"):
        export(str(changing_corpus), FORMATS["trl"], str(tmp_path / "to"), ["t2i"])
    change_manifest(changing_corpus, "edit", samples=0, shards=[])
    with pytest.raises(DataError, match=r"no samples of 'edit'; it has: t2i, understand"):
        export(str(changing_corpus), FORMATS["trl"], str(tmp_path / "to"), ["edit"])
    assert not (tmp_path / "to").exists()


def test_it_reads_and_writes_other_stores(small_corpus: Path, tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(small_corpus), "/export-in", recursive=True)
    url, to = "memory://export-in", "memory://export-to"
    for written in (2, 0):
        counts = export(url, FORMATS["llama-factory"], to, ["preference"])
        assert counts == [
            SubsetCount(subset="preference", samples=3, written=written, skipped=2 - written)
        ]
    memory.get("/export-to", str(tmp_path / "to"), recursive=True)
    export(str(small_corpus), FORMATS["llama-factory"], str(tmp_path / "local"), ["preference"])
    assert files_of(tmp_path / "to") == files_of(tmp_path / "local")


def test_the_command_prints_what_became_of_every_subset(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(small_corpus), "--format", "llama-factory", "--to", str(tmp_path)]
    assert main([*words, "--subset", "t2i,preference_edit"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{tmp_path}: t2i: 5 samples; 2 shards written"
    assert re.match("preference_edit: 2 samples not exported: .*cannot hold prompts", second)
    assert main([*words, "--subset", "t2i"]) == 0
    assert "0 shards written, 2 were there already" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--subset", "t2j"])
    assert samples_of(small_corpus, "t2i").keys() == {
        path.stem for path in tmp_path.glob("images/t2i-*/*.jpg")
    }
