"""A small data set of each known layout becomes shards, batches, training steps and exports."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pair_sources
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from export_readers import ENERGON, STREAMING, needs, read_by_energon, read_by_streaming
from exports import samples_of
from pair_layouts import LAYOUTS, write_layout
from tiny import Tiny, draw_images, write_tar

from model.data.loader import Loader
from model.data.manifest import Source
from model.data.plan import LoadPlan
from model.data.text import TextEncoder
from model.data.text_tokenizer import bundled_text_tokenizer
from model.tokenizers.load import load_tokenizer
from model.training.journal import read_steps
from pipelines.cli.main import main
from pipelines.verify.job import verify
from schemas.store.storage import Storage

pytestmark = pytest.mark.slow
SUBSETS = ("t2i", "edit", "understand", "preference")
MEMBER = "tokens128.npy"
# Samples of each row of a layout; one if it is not here.
SEVERAL = {"HQ-Edit": 2, "SEED-Data-Edit": 2, "ImgEdit in turns": 2}
SETS = ("size=tiny", "resolution=128", "precision=fp32", "checkpointing=false", "batch=2")


def generated(folder: Path) -> dict[str, dict[str, Any]]:
    """Write images with texts, as BLIP3o, JourneyDB and LAION lay them out; return the sources."""
    images = folder / "drawn"
    draw_images(images, range(200, 206))
    write_tar(folder / "blip3o.tar", images, range(200, 202))
    rows = [
        {"img_path": f"./{n}.png", "prompt": f"thing {n}, oil painting --v 4", "width": 160}
        for n in (202, 203)
    ]
    (folder / "journeydb.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    listed = [
        {"URL": f"{n}.png", "TEXT": f"a picture of thing {n}", "punsafe": 0.1} for n in (204, 205)
    ]
    pq.write_table(pa.Table.from_pylist(listed), folder / "laion.parquet")
    files = {"kind": "folder", "path": str(images)}
    return {
        "BLIP3o": {"kind": "webdataset", "path": str(folder / "blip3o.tar")},
        "JourneyDB": {
            **files,
            "list": str(folder / "journeydb.jsonl"),
            "columns": {"url": "img_path", "text": "prompt"},
        },
        "LAION": {
            **files,
            "list": str(folder / "laion.parquet"),
            "columns": {"url": "URL", "text": "TEXT"},
        },
    }


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tiny, Counter[str]]:
    """A corpus of all layouts, and how many samples each source has to give."""
    tiny = Tiny(folder=tmp_path_factory.mktemp("layouts"))
    data = tiny.folder / "data"
    data.mkdir()
    sources = [write_layout(name, data, number) for number, name in enumerate(LAYOUTS)]
    expected = Counter(
        {
            source["name"]: SEVERAL.get(name, 1)
            for source, name in zip(sources, LAYOUTS, strict=True)
        }
    )
    sources.append(pair_sources.instruct_pix2pix(data, count=3))  # its last edit changes nothing
    expected["pix2pix"] = 2
    for name, source in generated(data).items():
        sources.append({"name": name.lower(), **source})
        expected[name.lower()] = 2
    tiny.build(tiny.recipe(sources=sources, rows_per_shard=64, shard={"samples": 64}))
    return tiny, expected


def test_every_layout_gives_its_samples_and_verify_finds_no_fault(
    layouts: tuple[Tiny, Counter[str]],
) -> None:
    tiny, expected = layouts
    found = Counter(
        json.loads(members["json"])["source"]
        for subset in SUBSETS
        for members in samples_of(tiny.out, subset).values()
    )
    assert found == expected
    assert verify(Storage(str(tiny.out))) == []


@pytest.mark.parametrize("subset", SUBSETS)
def test_the_loader_reads_every_sample(layouts: tuple[Tiny, Counter[str]], subset: str) -> None:
    from transformers import Qwen2VLImageProcessorPil

    tiny, _ = layouts
    keys = samples_of(tiny.out, subset).keys()
    source = Source(url=str(tiny.out), subset=subset)
    loader = Loader(
        LoadPlan(sources=(source,), batch=1, epochs=1, member=MEMBER),
        text=TextEncoder(bundled_text_tokenizer()),
        tokenizer=load_tokenizer("infinity_bsq", preset="bundled"),
        image_processor=Qwen2VLImageProcessorPil(),
    )
    batches = list(loader)
    assert {key for batch in batches for key in batch.keys} == keys
    images = {"t2i": 1, "edit": 1, "understand": 0, "preference": 2}[subset]
    assert all(len(batch.targets_NLK) == images for batch in batches)
    has_inputs = subset in ("edit", "understand")
    assert all((batch.pixel_values is not None) == has_inputs for batch in batches)


def train(stage: str, tiny: Tiny, out: Path, *words: str) -> list[dict[str, float]]:
    sets = [word for each in (*SETS, "sample_every=0", "log_every=1") for word in ("--set", each)]
    command = ["train", stage, "--data", str(tiny.out), "--out", str(out), "--steps", "1"]
    assert main([*command, "--threads", "1", "--device", "cpu", *sets, *words]) == 0
    return list(read_steps(out))


def test_a_training_step_is_taken_on_each_subset(
    layouts: tuple[Tiny, Counter[str]], tmp_path: Path
) -> None:
    tiny, _ = layouts
    for stage, subset in {"sft256": "t2i", "edit": "edit", "understand": "understand"}.items():
        (step,) = train(stage, tiny, tmp_path / stage, "--set", f"mix={{{subset}: 1}}")
        assert 0 < step["loss/text"] < 20
        assert subset == "understand" or 0 < step["loss/image"] < 20
    before = ["--init", str(tmp_path / "sft256")]
    (step,) = train("dpo256", tiny, tmp_path / "dpo", *before)
    assert step["loss"] == pytest.approx(0.6931, abs=1e-3)  # the model against itself


@needs(ENERGON, STREAMING)
def test_exports_have_the_same_samples_for_their_readers(
    layouts: tuple[Tiny, Counter[str]], tmp_path: Path
) -> None:
    tiny, _ = layouts
    keys = {subset: [*samples_of(tiny.out, subset)] for subset in SUBSETS}
    for name in ("llama-factory", "trl", "datasets", "parquet", "energon", "mds"):
        words = ["export", str(tiny.out), "--format", name, "--to", str(tmp_path / name)]
        assert main(words) == 0
    info = json.loads((tmp_path / "llama-factory/dataset_info.json").read_text())
    for subset in SUBSETS:
        folder = tmp_path / "llama-factory" / info[f"vargpt_{subset}"]["file_name"]
        records = [row for file in sorted(folder.iterdir()) for row in json.loads(file.read_text())]
        assert [row["id"] for row in records] == keys[subset]
        for name in ("datasets", *(["trl"] if subset == "preference" else [])):
            rows = load_dataset(
                str(tmp_path / name), subset, split="train", cache_dir=str(tmp_path / "cache")
            )
            assert rows["key"] == keys[subset]
        table = pq.read_table(tmp_path / "parquet" / subset)
        assert table["key"].to_pylist() == keys[subset]
    by_energon = read_by_energon([tmp_path / "energon" / each for each in SUBSETS], tmp_path)
    assert [sorted(rows) for rows in by_energon] == [sorted(keys[each]) for each in SUBSETS]
    by_streaming = read_by_streaming([tmp_path / "mds" / each for each in SUBSETS], tmp_path)
    assert [[row["json"]["key"] for row in rows] for rows in by_streaming] == [
        keys[each] for each in SUBSETS
    ]
