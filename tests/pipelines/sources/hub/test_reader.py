"""Datasets in each form that `datasets` reads from a folder, and none of them trusted."""

import gzip
import io
import json
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from serve import CorpusServer

from pipelines.fetch.fetcher import FetchLimits
from pipelines.runtime.sidecar import Reject, sidecar_path
from pipelines.runtime.stage import ShardResult, run_shard
from pipelines.sources.hub.reader import HubReader
from pipelines.sources.listing import Listed
from pipelines.sources.plan import make_plan
from pipelines.sources.raw_shard import RawShard
from pipelines.stages.ingest import Ingest
from schemas.recipe import Recipe
from schemas.source_config import Columns, HuggingFaceSource
from schemas.store.storage import CorpusError, Storage

datasets = pytest.importorskip("datasets")

LIMITS = FetchLimits(max_bytes=2000, allow_private_addresses=True, retries=0)
STORE = Storage("memory://unused")


@pytest.fixture(autouse=True)
def _quiet_and_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def png(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


def of_images(*images: dict | None) -> Any:
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    texts = [f"text {n}" for n in range(len(images))]
    return datasets.Dataset.from_dict({"image": list(images), "text": texts}, features=features)


def reader(path: Path | str, **source: Any) -> HubReader:
    source = {"name": "h", "kind": "huggingface", "path": str(path)} | source
    return HubReader(HuggingFaceSource(**source), LIMITS)


def listed(read: HubReader, rows_per_shard: int = 10) -> list[Listed | Reject]:
    return [row for unit in read.plan(rows_per_shard, STORE).units for row in read.rows(unit)]


def acquired(read: HubReader, scratch: Path, rows_per_shard: int = 2) -> list[ShardResult]:
    store = Storage(str(scratch / "out"))
    recipe = Recipe(name="r", sources=(read.source,), rows_per_shard=rows_per_shard)
    outcomes = []
    for shard, unit in enumerate(make_plan(recipe, store)):
        run_shard(Ingest(sources=recipe.sources, crawl=recipe.crawl), shard, store)
        rows = pq.read_table(scratch / "out" / sidecar_path("sources", shard))
        raw = RawShard(shard, scratch)
        read.acquire(unit, rows, raw)
        outcomes.append(raw.finish(rows.num_rows))
        for name, file in outcomes[-1].files.items():
            store.commit_file(name, file)
    return outcomes


def stored(outcomes: list[ShardResult], scratch: Path) -> list[bytes]:
    rows = [row for outcome in outcomes for row in outcome.table.to_pylist()]
    ranges = [(row["file"], row["offset"], row["length"]) for row in rows]
    return sorted(Storage(str(scratch / "out")).read_ranges(ranges))


def reasons(outcomes: list[ShardResult]) -> list[str]:
    return [reject.reason for outcome in outcomes for reject in outcome.rejects]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_images_in_several_parquet_files_are_copied(place: Path, tmp_path: Path) -> None:
    for part in range(2):
        images = ({"bytes": png(10 * part + n), "path": None} for n in range(3))
        of_images(*images).to_parquet(place / f"train-{part:05d}-of-00002.parquet")
    rows = listed(reader(place))
    assert [(row.url, row.text) for row in rows if isinstance(row, Listed)] == [
        (f"train/{part}/{n}", f"text {n}") for part in range(2) for n in range(3)
    ]
    outcomes = acquired(reader(place), tmp_path)
    assert [outcome.rows_in for outcome in outcomes] == [2, 1, 2, 1]
    assert stored(outcomes, tmp_path) == sorted(png(n) for n in (0, 1, 2, 10, 11, 12))


def test_listing_a_parquet_dataset_does_not_read_its_images(place: Path) -> None:
    of_images({"bytes": png(1), "path": None}).to_parquet(place / "a.parquet")
    chunk = pq.read_metadata(place / "a.parquet").row_group(0).column(0)
    assert chunk.path_in_schema == "image.bytes"
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    body = bytearray((place / "a.parquet").read_bytes())
    body[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    (place / "a.parquet").write_bytes(body)
    assert listed(reader(place)) == [
        Listed(id="train/0/0", url="train/0/0", place="0", text="text 0")
    ]


@pytest.mark.parametrize("split", [False, True])
def test_what_save_to_disk_wrote_is_read(split: bool, place: Path, tmp_path: Path) -> None:
    saved = of_images(*({"bytes": png(n), "path": None} for n in range(3)))
    (datasets.DatasetDict({"train": saved}) if split else saved).save_to_disk(place / "saved")
    read = reader(place / "saved")
    assert [row.url for row in listed(read) if isinstance(row, Listed)] == [
        f"train/0/{n}" for n in range(3)
    ]
    assert stored(acquired(read, tmp_path), tmp_path) == sorted(png(n) for n in range(3))


@pytest.mark.parametrize("zipped", [False, True])
def test_a_folder_of_images_is_read(zipped: bool, place: Path, tmp_path: Path) -> None:
    texts = "".join(f'{{"file_name": "{n}.png", "text": "text {n}"}}\n' for n in range(3))
    files = {f"{n}.png": png(n) for n in range(3)} | {"metadata.jsonl": texts.encode()}
    if zipped:
        with zipfile.ZipFile(place / "train.zip", "w") as archive:
            for name, body in files.items():
                archive.writestr(name, body)
    else:
        (place / "train").mkdir()
        for name, body in files.items():
            (place / "train" / name).write_bytes(body)
    rows = listed(reader(place))
    assert [row.text for row in rows if isinstance(row, Listed)] == ["text 0", "text 1", "text 2"]
    assert stored(acquired(reader(place), tmp_path), tmp_path) == sorted(map(png, range(3)))


def test_a_column_of_urls_is_crawled(place: Path, tmp_path: Path, server: CorpusServer) -> None:
    urls = [f"{server.base_url}wild/icon.png", "", "file:///etc/passwd"]
    urls.append(f"{server.base_url}wild/gone.png")
    pq.write_table(pa.table({"link": urls, "alt": ["an icon", None, "", ""]}), place / "a.parquet")
    read = reader(place, image="", columns=Columns(url="link", text="alt"))
    rows = listed(read)
    assert [getattr(row, "reason", "") for row in rows] == ["", "missing_url", "bad_url", ""]
    assert rows[0] == Listed(id="train/0/0", url=urls[0], text="an icon")
    outcomes = acquired(read, tmp_path)
    icon = (server.folder / "wild/icon.png").read_bytes()
    assert stored(outcomes, tmp_path) == [icon]
    assert reasons(outcomes) == ["http_404"]


def test_a_path_out_of_the_dataset_is_not_read(place: Path, tmp_path: Path) -> None:
    (tmp_path / "data-secret").mkdir()
    for secret in (tmp_path / "data-secret/s.png", tmp_path / "s.png", place / "in.png"):
        secret.write_bytes(png(9))
    with zipfile.ZipFile(place / "z.zip", "w") as archive:
        archive.writestr("s.png", png(8))
    (place / "link.png").symlink_to(tmp_path / "s.png")
    paths = [
        f"{tmp_path}/s.png",
        f"{place}/../s.png",
        f"{tmp_path}/data-secret/s.png",
        f"{place}/link.png",
        f"file://{tmp_path}/s.png",
        f"file://{tmp_path}/s.png::{place}/z.zip",
        f"zip://s.png::file://{tmp_path}/s.png::{place}/z.zip",
        f"zip://s.png::{tmp_path}/z.zip",
        f"{place}/none.png",
        f"{place}",
        "hf://datasets/someone/else/s.png",
        "",
    ]
    images = [{"bytes": None, "path": path} for path in paths]
    inside = {"bytes": None, "path": f"{place}/in.png"}
    schema = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))])
    table = pa.table({"image": [*images, None, inside]}, schema=schema)
    pq.write_table(table, place / "train.parquet")
    outcomes = acquired(reader(place, columns={"text": ""}), tmp_path, rows_per_shard=100)
    assert reasons(outcomes) == ["missing_file"] * 13
    assert stored(outcomes, tmp_path) == [png(9)]


def test_an_image_that_is_too_large_or_empty_is_a_dead_letter(place: Path, tmp_path: Path) -> None:
    bodies = [bytes(2000), bytes(2001), b""]
    (place / "large.png").write_bytes(bytes(5000))
    images = [{"bytes": body, "path": None} for body in bodies]
    of_images(*images).to_parquet(place / "a.parquet")
    outcomes = acquired(reader(place), tmp_path)
    assert reasons(outcomes) == ["too_large", "empty_file"]
    assert stored(outcomes, tmp_path) == [bytes(2000)]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"image": "picture"}, "data: no column 'picture' among number, text"),
        ({"image": ""}, "data: no column 'url' among number, text"),
        ({"image": "number"}, "data: column 'number' is int64, expected images"),
        (
            {"image": "text", "split": "tset"},
            "data: cannot be opened: Bad split: tset. Available splits: .'train'",
        ),
        ({"config": "nope"}, "data: cannot be opened: .*nope"),
    ],
)
def test_a_dataset_that_does_not_fit_the_recipe_is_refused(
    source: dict, message: str, place: Path
) -> None:
    pq.write_table(pa.table({"number": [1], "text": ["a"]}), place / "a.parquet")
    with pytest.raises(CorpusError, match=message):
        reader(place, **source).plan(2, STORE)


def test_a_missing_or_empty_or_broken_dataset_is_refused_by_name(place: Path) -> None:
    for path in (place / "nowhere", place):
        with pytest.raises(CorpusError, match=f"{path}: cannot be opened"):
            reader(path).plan(2, STORE)
    (place / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(CorpusError, match=f"{place}/a.parquet: not a readable Parquet file"):
        reader(place).plan(2, STORE)


def test_the_version_changes_with_the_files(place: Path) -> None:
    images = [{"bytes": png(n), "path": None} for n in range(2)]
    of_images(*images).to_parquet(place / "a.parquet")
    of_images(*images).save_to_disk(place / "saved")
    for read, changed in (
        (reader(place), place / "a.parquet"),
        (reader(place / "saved"), place / "saved/state.json"),
    ):
        before = read.version()
        assert read.version() == before
        changed.write_bytes(changed.read_bytes())
        assert read.version() != before


def image_rows(count: int) -> list[dict[str, Any]]:
    return [{"bytes": png(n), "path": None} for n in range(count)]


def refusal(read: HubReader) -> str:
    with pytest.raises(CorpusError) as caught:
        read.plan(2, STORE)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{read.source.path}: ")


MANY = {
    "list": lambda: datasets.List(datasets.Image()),
    "sequence": lambda: datasets.Sequence(datasets.Image()),
    "large list": lambda: datasets.LargeList(datasets.Image()),
    "list of lists": lambda: datasets.List(datasets.List(datasets.Image())),
    "fixed": lambda: datasets.List(datasets.Image(), length=2),
}


@pytest.mark.parametrize("kind", MANY)
def test_a_list_of_images_is_refused_before_anything_is_read(kind: str, place: Path) -> None:
    images: Any = [image_rows(2), image_rows(2)]
    images = [[each] for each in images] if kind == "list of lists" else images
    features = datasets.Features({"image": MANY[kind](), "text": datasets.Value("string")})
    rows = datasets.Dataset.from_dict({"image": images, "text": ["a", "b"]}, features=features)
    rows.to_parquet(place / "a.parquet")
    assert refusal(reader(place)) == (
        "column 'image' is a list, expected images; to take one of each, set image: 'image[0]'"
    )
    rows.save_to_disk(str(place / "saved"))
    assert "is a list, expected images" in refusal(reader(place / "saved"))


def test_one_image_of_a_list_is_taken_by_its_path(place: Path, tmp_path: Path) -> None:
    features = datasets.Features(
        {"image": datasets.List(datasets.Image()), "text": datasets.Value("string")}
    )
    images = [image_rows(2), []]
    rows = datasets.Dataset.from_dict({"image": images, "text": ["a", "b"]}, features=features)
    rows.to_parquet(place / "a.parquet")
    outcomes = acquired(reader(place, image="image[0]"), tmp_path)
    assert stored(outcomes, tmp_path) == [png(0)]
    assert reasons(outcomes) == ["missing_file"]


def test_what_holds_no_images_is_refused_with_what_to_write(place: Path) -> None:
    url = "https://a.org/1.jpg"
    columns = {
        "URL": [url],
        "text": ["a"],
        "image": [url],
        "flag": [True],
        "struct": [{"height": 1, "width": 2}],
        "numbers": [[1, 2]],
    }
    pq.write_table(pa.table(columns), place / "a.parquet")
    assert refusal(reader(place)) == (
        f"column 'image' holds URLs such as '{url}', expected images; "
        "to fetch them, set image: '' and columns: {url: image}"
    )
    assert refusal(reader(place, image="struct")) == (
        "column 'struct' is a struct of height, width, expected images"
    )
    assert refusal(reader(place, image="flag")) == "column 'flag' is bool, expected images"
    assert "is a list, expected images" in refusal(reader(place, image="numbers"))
    assert refusal(reader(place, image="picture")) == (
        "no column 'picture' among URL, text, image, flag, struct, numbers; name one that holds "
        "images, or to fetch URLs set image: '' and columns: {url: URL}"
    )
    of_images(*image_rows(1)).rename_column("image", "jpg").to_parquet(place / "a.parquet")
    assert refusal(reader(place)).endswith("name it: image: jpg")


def test_images_may_be_bytes_or_paths_beside_the_data(place: Path, tmp_path: Path) -> None:
    (place / "in").mkdir()
    (place / "in/1.png").write_bytes(png(1))
    paths = ["in/1.png", f"{place}/in/1.png", "in/none.png", "../data/in/1.png", "", None]
    pq.write_table(pa.table({"image": paths, "text": ["a"] * 6}), place / "a.parquet")
    outcomes = acquired(reader(place), tmp_path, rows_per_shard=10)
    assert stored(outcomes, tmp_path) == [png(1)] * 3
    assert reasons(outcomes) == ["missing_file"] * 3
    rejected = [reject.detail for outcome in outcomes for reject in outcome.rejects]
    assert "row 2: no image in the dataset ('in/none.png')" in rejected


def test_binary_images_and_garbage_are_copied_as_they_are(place: Path, tmp_path: Path) -> None:
    bodies = pa.array([png(1), b"no image", None], pa.binary())
    pq.write_table(pa.table({"image": bodies, "text": ["a"] * 3}), place / "a.parquet")
    outcomes = acquired(reader(place), tmp_path, rows_per_shard=10)
    assert stored(outcomes, tmp_path) == sorted([png(1), b"no image"])
    assert reasons(outcomes) == ["missing_file"]


def test_text_that_is_not_utf8_costs_its_row_alone(place: Path, tmp_path: Path) -> None:
    raw = pa.array([b"a", b"caf\xe9", b"c"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    images = pa.array([png(n) for n in range(3)], pa.binary())
    pq.write_table(pa.table({"image": images, "text": text}), place / "a.parquet")
    rows = listed(reader(place))
    assert [getattr(row, "reason", "") for row in rows] == ["", "malformed_row", ""]
    assert [row.id for row in rows] == ["train/0/0", "train/0/1", "train/0/2"]
    assert stored(acquired(reader(place), tmp_path), tmp_path) == sorted([png(0), png(2)])


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.csv", "url,text\nx,caf\xe9\n".encode("latin-1")),
        ("a.jsonl", b'{"url": "x", "text": '),
        ("a.parquet", b""),
        ("README.md", b"---\nconfigs: [\n---\n"),
        ("dataset_infos.json", b"{"),
        ("data.py", b"import os\n"),
    ],
)
def test_a_damaged_dataset_is_one_line(name: str, body: bytes, place: Path) -> None:
    (place / name).write_bytes(body)
    assert refusal(reader(place, image=""))


def test_files_that_differ_are_one_line(place: Path) -> None:
    for part, text in enumerate((["a"], [{"en": "b"}])):
        table = pa.table({"url": ["http://a.org/1"], "text": text})
        pq.write_table(table, place / f"train-0000{part}.parquet")
    assert refusal(reader(place, image=""))


@pytest.mark.parametrize("path", ["data/a.parquet", "data/*.parquet", "data"])
def test_a_file_or_glob_is_read_as_a_folder_is(path: str, place: Path, tmp_path: Path) -> None:
    of_images(*image_rows(3)).to_parquet(place / "a.parquet")
    assert [row.id for row in listed(reader(tmp_path / path))] == [f"train/0/{n}" for n in range(3)]


def test_a_file_that_is_no_dataset_is_refused(place: Path) -> None:
    (place / "a.zip").write_bytes(b"")
    assert "expected a folder, or .parquet, .arrow" in refusal(reader(place / "a.zip"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"split": "test"}, "Available splits: ['train']"),
        ({"config": "fr"}, "Available: ['default']"),
    ],
)
def test_what_there_is_is_named(source: dict, message: str, place: Path) -> None:
    of_images(*image_rows(1)).to_parquet(place / "a.parquet")
    assert message in refusal(reader(place, **source))


def test_a_hub_out_of_reach_is_one_line_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    start = time.monotonic()
    message = refusal(reader("someone/set"))
    assert time.monotonic() - start < 30
    assert message.startswith("cannot be opened: no folder beside the recipe, and the Hub did not")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert "OfflineModeIsEnabled" in refusal(reader("someone/set"))
    (tmp_path / "someone/set").mkdir(parents=True)
    assert "it lies in the working directory, not beside the recipe" in refusal(
        reader("someone/set")
    )


def images_in(place: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(png(number))


def test_rows_without_any_mapped_column_are_rows(place: Path, tmp_path: Path) -> None:
    images_in(place, "cat/1.png", "cat/2.png", "dog/0.png")
    read = reader(place, columns={"text": ""})
    assert stored(acquired(read, tmp_path), tmp_path) == sorted(map(png, range(3)))


def test_a_parquet_file_of_images_alone_has_rows(place: Path) -> None:
    of_images(*image_rows(3)).remove_columns("text").to_parquet(place / "a.parquet")
    assert len(listed(reader(place, columns={"text": ""}))) == 3


def test_what_is_no_row_of_a_folder_is_counted(place: Path, tmp_path: Path) -> None:
    images_in(place, "0.png", "1.png", "2.png", "._0.png", "3.heic", "sub/4.jxl")
    (place / "v.svg").write_bytes(b"<svg/>")
    (place / "n.txt").write_bytes(b"")
    (place / "metadata.csv").write_text("file_name,text\n0.png,a\n2.png,b\n")
    read = reader(place)
    assert read.plan(2, STORE).passed_over == {
        ".svg file": 1,
        ".txt file": 1,
        "file of macOS or Windows (._*, .DS_Store, Thumbs.db)": 1,
        "image that the dataset does not list": 3,
    }
    assert stored(acquired(read, tmp_path), tmp_path) == sorted([png(0), png(2)])


def test_images_that_parquet_names_by_path_are_not_counted(place: Path) -> None:
    images_in(place, "in/1.png", "in/2.png")
    pq.write_table(pa.table({"image": ["in/1.png"], "text": ["a"]}), place / "train.parquet")
    pq.write_table(pa.table({"image": ["in/2.png"], "text": ["a"]}), place / "test.parquet")
    assert reader(place).plan(2, STORE).passed_over == {
        "file of another split": 1,
        "image that the dataset does not list": 1,
    }


def test_what_save_to_disk_wrote_is_not_passed_over(place: Path) -> None:
    saved = of_images(*image_rows(1))
    datasets.DatasetDict({"train": saved}).save_to_disk(place / "saved")
    saved.save_to_disk(place / "one")
    for name in ("saved", "one"):
        assert reader(place / name).plan(2, STORE).passed_over == {}


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz"])
def test_local_tables_are_refused_with_the_kind_that_reads_them(name: str, place: Path) -> None:
    body = b"url,text\nx,007\n"
    (place / name).write_bytes(gzip.compress(body) if name.endswith(".gz") else body)
    for path in (place, place / name, place / f"*{name[1:]}"):
        assert refusal(reader(path, image="")).startswith("kind: list reads CSV, TSV and text")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_local_json_is_read(name: str, place: Path) -> None:
    row = '{"url": "http://a.org/1", "text": "007"}'
    (place / name).write_text(f"[{row}]" if name == "a.json" else f"{row}\n")
    for path in (place, place / name, place / f"*{name[1:]}"):
        found = listed(reader(path, image=""))
        assert [(row.url, row.text) for row in found if isinstance(row, Listed)] == [
            ("http://a.org/1", "007")
        ]


def test_local_tars_are_refused_with_the_kind_that_reads_them(place: Path) -> None:
    with tarfile.open(place / "0.tar", "w") as tar:
        for name in ("a.jpg", "a.txt"):
            tar.addfile(tarfile.TarInfo(name))
    for path in (place, place / "0.tar", place / "*"):
        assert refusal(reader(path)) == "kind: webdataset reads tars"


@pytest.mark.parametrize(
    "path",
    [
        *("[b] c", "[b] c/*.parquet", "[b] c/*", "[b] c/x[1].parquet"),
        *("br/{00000..00001}.parquet", "br/*", "br/0000?.parquet", "{br}"),
    ],
)
def test_names_with_wildcards_and_braces_are_read(path: str, place: Path, tmp_path: Path) -> None:
    for folder in ("[b] c", "br", "{br}"):
        (place / folder).mkdir()
    of_images(*image_rows(2)).to_parquet(place / "[b] c/x[1].parquet")
    of_images(*image_rows(2)).to_parquet(place / "{br}/train.parquet")
    for part in range(2):
        of_images(*image_rows(1)).to_parquet(place / f"br/{part:05d}.parquet")
    read = reader(place / path)
    assert stored(acquired(read, tmp_path), tmp_path) == sorted(
        [png(0), png(0)] if path.startswith("br") else [png(0), png(1)]
    )


def test_a_folder_of_splits_under_a_name_with_wildcards_is_refused(place: Path) -> None:
    (place / "[b]").mkdir()
    for split in ("train", "test"):
        of_images(*image_rows(1)).to_parquet(place / f"[b]/{split}.parquet")
    assert "rename the folder, or name its files" in refusal(reader(place / "[b]"))


@pytest.fixture
def as_on_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Local folders are opened as those on the Hub are."""
    monkeypatch.setattr("pipelines.sources.hub.reader.is_local", lambda path: False)
    monkeypatch.setattr("pipelines.sources.hub.dataset.is_local", lambda path: False)


@pytest.mark.usefixtures("as_on_hub")
@pytest.mark.parametrize("tab", [False, True])
def test_csv_on_the_hub_is_read_as_it_is_written(tab: bool, place: Path) -> None:
    texts = ["007", "NA", "null", "2024-01-01", '5" disk' if tab else "a, b", "1e5", "True"]
    with open(place / ("a.tsv" if tab else "a.csv"), "w") as file:
        for text in ["text", *texts]:
            cells = ["url" if text == "text" else "http://a.org/1", text]
            cells[1] = f'"{text}"' if "," in text else text
            file.write(("\t" if tab else ",").join(cells) + "\n")
    if tab:
        configs = 'configs:\n- config_name: default\n  data_files: a.tsv\n  sep: "\\t"\n'
        (place / "README.md").write_text(f"---\n{configs}---\n")
    rows = listed(reader(place, image=""))
    assert [row.text for row in rows if isinstance(row, Listed)] == texts


@pytest.mark.usefixtures("as_on_hub")
def test_json_of_mixed_types_is_no_json_in_captions(place: Path) -> None:
    values = ['"a red fox"', '["a hen", "two"]', "null", "7"]
    rows = (f'{{"url": "http://a.org/1", "text": {value}}}\n' for value in values)
    (place / "a.jsonl").write_text("".join(rows))
    found = listed(reader(place, image=""))
    assert [row.text for row in found if isinstance(row, Listed)] == ["a red fox", "a hen", ""]


def test_a_label_is_its_name(place: Path) -> None:
    images_in(place, "cat/1.png", "cat/2.png", "dog/0.png")
    rows = listed(reader(place, columns={"text": "label"}))
    assert [row.text for row in rows if isinstance(row, Listed)] == ["cat", "cat", "dog"]
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "all": datasets.List(datasets.ClassLabel(names=["old", "new"])),
        }
    )
    columns = {"image": image_rows(2), "label": [1, -1], "all": [[1, 0], []]}
    saved = datasets.Dataset.from_dict(columns, features=features)
    saved.save_to_disk(place / "saved")
    saved.to_parquet(place / "a.parquet")
    for name in ("saved", "a.parquet"):
        rows = listed(reader(place / name, columns={"text": "label", "tags": "all"}))
        assert [(row.text, row.tags) for row in rows if isinstance(row, Listed)] == [
            ("dog", ("new", "old")),
            ("", ()),
        ]


def test_a_split_that_save_to_disk_did_not_write_is_refused(place: Path) -> None:
    saved = of_images(*image_rows(1))
    saved.save_to_disk(place / "one")
    datasets.DatasetDict({"train": saved, "test": saved}).save_to_disk(place / "two")
    named = datasets.Dataset(saved.data, split=datasets.Split.VALIDATION)
    named.save_to_disk(place / "named")
    for name, there in (("one", "train"), ("two", "train, test")):
        assert refusal(reader(place / name, split="validation")) == (
            f"cannot be opened: no split 'validation' among {there}"
        )
    assert listed(reader(place / "named", split="validation"))
    assert refusal(reader(place / "named")).endswith("no split 'train' among validation")


def damaged(body: bytes, column: int) -> bytes:
    chunk = pq.read_metadata(io.BytesIO(body)).row_group(0).column(column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    end = start + chunk.total_compressed_size
    return body[:start] + b"\xff" * chunk.total_compressed_size + body[end:]


def test_an_error_names_the_file_and_nothing_else_is_said(
    place: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("mixed", "pages", "arrow"):
        (place / name).mkdir()
    images = pa.array([png(1)], pa.binary())
    good = pa.table({"image": images, "text": ["a"]})
    for name in ("mixed", "pages"):
        pq.write_table(good, place / name / "a.parquet")
    pq.write_table(pa.table({"image": images}), place / "mixed/b.parquet")
    body = (place / "pages/a.parquet").read_bytes()
    (place / "pages/b.parquet").write_bytes(damaged(body, 1))
    (place / "arrow/a.arrow").write_bytes(b"xx")
    messages = []
    for name in ("mixed", "pages", "arrow"):
        with pytest.raises(CorpusError) as caught:
            reader(place / name).plan(2, STORE)
        messages.append(str(caught.value))
    assert messages[0] == (
        f"{place}/mixed/b.parquet: lacks the column 'text' that is in {place}/mixed/a.parquet; "
        "name files of one schema"
    )
    assert messages[1].startswith(f"{place}/pages/b.parquet: cannot be read: ")
    assert messages[2].startswith(f"{place}/arrow/a.arrow: not a readable Arrow file")
    assert "".join(capfd.readouterr()) == ""
    assert not caplog.records


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("zipped", [False, True])
def test_texts_beside_images_are_read_as_written(suffix: str, zipped: bool, place: Path) -> None:
    texts = ["007", "NA", "null", "2024-01-01", "a, b", "1e5", "True", "caf\u00e9"]
    lines = [json.dumps({"file_name": "0.png", "text": text}) for text in texts]
    if suffix == "csv":
        lines = ["file_name,text", *(f'0.png,"{text}"' for text in texts)]
    images_in(place, "0.png")
    (place / f"metadata.{suffix}").write_text("\n".join(lines), encoding="utf-8")
    if zipped:
        with zipfile.ZipFile(place / "train.zip", "w") as archive:
            for name in ("0.png", f"metadata.{suffix}"):
                archive.write(place / name, name)
                (place / name).unlink()
    rows = listed(reader(place))
    assert [row.text for row in rows if isinstance(row, Listed)] == texts


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("metadata.csv", 'file_name,text\n0.png,"x\n', "unexpected end of data"),
        ("metadata.csv", "file_name,text\n0.png,a, b\n", "line 2: 3 cells under 2 names"),
        ("metadata.jsonl", '{"file_name": "0.png"}\n{"file_name": \n', "line 2: not JSON"),
        ("metadata.jsonl", '{"file_name": "0.png", "text": 1}\n[]\n', "line 2: expected a JSON"),
        (
            "metadata.jsonl",
            '{"file_name": "0.png", "text": "a"}\n{"file_name": "0.png", "text": ["b"]}\n',
            "column 'text' holds values of several types",
        ),
    ],
)
def test_damaged_texts_beside_images_are_named(
    name: str, body: str, said: str, place: Path
) -> None:
    images_in(place, "0.png")
    (place / name).write_text(body)
    with pytest.raises(CorpusError, match=f"^{place}/{name}: cannot be read: .*{said}"):
        reader(place).plan(2, STORE)


@pytest.mark.parametrize("texts", [False, True])
def test_what_is_no_row_of_a_zip_is_counted(texts: bool, place: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(place / "train.zip", "w") as archive:
        for number, name in enumerate(("0.png", "in/1.png", "in/2.heic", "3.svg")):
            archive.writestr(name, png(number))
        if texts:
            archive.writestr("metadata.csv", "file_name,text\n0.png,a\n")
    read = reader(place, columns={} if texts else {"text": ""})
    counts = {".svg file": 1, "image that the dataset does not list": 2}
    # Without texts, whatever lies in an archive is a row.
    assert read.plan(2, STORE).passed_over == (counts if texts else {})
    assert len(stored(acquired(read, tmp_path), tmp_path)) == (1 if texts else 4)
