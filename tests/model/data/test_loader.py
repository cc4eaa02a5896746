"""Shards to batches: what is promised of them, on real files."""

import dataclasses
import json
import logging
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain, islice
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image
from training_shards import SQUARE, ShardMaker, keys_of

from model.data.batch import Batch
from model.data.images import draw_flips
from model.data.loader import Loader
from model.data.manifest import DataError, Source, read_manifest
from model.data.plan import LoadPlan
from model.data.shards import read_index
from model.data.text import TextEncoder
from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.load import make_infinity_bsq, make_var_vqvae
from model.tokenizers.sizes import BsqConfig, VarConfig

Load = Callable[..., Loader]


def keys(batches: Sequence[Batch]) -> list[str]:
    return [key for batch in batches for key in batch.keys]


def same(one: Batch, other: Batch) -> bool:
    fields = [field.name for field in dataclasses.fields(Batch)]
    pairs = [(getattr(one, name), getattr(other, name)) for name in fields]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def assert_same(some: Sequence[Batch], others: Sequence[Batch]) -> None:
    assert keys(some) == keys(others)
    assert all(same(one, other) for one, other in zip(some, others, strict=True))


@pytest.mark.parametrize("nodes", [1, 3, 16])
def test_an_epoch_holds_every_sample_once_over_all_nodes(load: Load, square: Path, nodes) -> None:
    batches = [list(load(square, node=node, nodes=nodes, batch=3)) for node in range(nodes)]
    assert sorted(key for each in batches for key in keys(each)) == sorted(keys_of(square, "t2i"))
    assert max(map(len, batches)) - min(map(len, batches)) <= 1


def test_a_batch(load: Load, square: Path, text: TextEncoder, bsq: InfinityBsq, words) -> None:
    first = next(iter(load(square)))
    rows, length = first.input_ids_BS.shape
    assert first.schedule == SQUARE[1.0]
    assert (first.inputs_NLD.shape, first.targets_NLK.shape) == ((2, 20, 8), (2, 21, 8))
    assert set(first.targets_NLK.unique().tolist()) == {0, 1}
    assert first.image_rows_N.tolist() == [0, 1]
    assert first.pixel_values is None
    for row in range(rows):
        start = int(first.image_starts_N[row])
        ids, labels = first.input_ids_BS[row], first.labels_BS[row]
        marks = words.convert_ids_to_tokens(ids[start - 1 : start + 22].tolist())
        pads = ["<|image_gen_pad|>"] * 21
        assert marks == ["<|image_gen_start|>", *pads, "<|image_gen_end|>"]
        said = first.attention_mask_BS[row]
        assert (ids[~said] == text.pad_id).all()
        assert (labels[~said] == -100).all()
        learnt = words.decode(ids[labels != -100])
        key = first.keys[row][:4]
        assert learnt == f"Here is {key}<|image_gen_start|><|image_gen_end|><|im_end|>"
        assert torch.equal(labels[labels != -100], ids[labels != -100])
    assert length == int(first.attention_mask_BS.sum(dim=1).max())


def test_the_published_loss_is_of_everything_but_pads_of_images(load, square, text) -> None:
    batch = next(iter(load(square, loss="published")))
    pads = batch.input_ids_BS == text.image_gen_pad_id
    assert (batch.labels_BS[pads] == -100).all()
    assert torch.equal(batch.labels_BS[~pads], batch.input_ids_BS[~pads])


def test_the_same_seed_gives_the_same_batches_and_another_epoch_another_order(load, shapes) -> None:
    both = list(load(shapes, epochs=2, batch=1))
    assert_same(both, list(load(shapes, epochs=2, batch=1)))
    first, second = keys(both)[:13], keys(both)[13:]
    assert sorted(first) == sorted(second)
    assert first != second
    assert keys(list(load(shapes, batch=1, seed=1))) != first


def test_the_number_of_workers_changes_nothing(load: Load, shapes: Path) -> None:
    assert_same(list(load(shapes)), list(load(shapes, workers=2)))


def test_a_schedule_a_batch_and_short_batches_only_at_the_end(load: Load, shapes: Path) -> None:
    batches = list(load(shapes, epochs=3))
    assert len({batch.schedule for batch in batches}) == 3
    for batch in batches:
        assert batch.targets_NLK.shape[1] == sum(h * w for h, w in batch.schedule)
    short = [number for number, batch in enumerate(batches) if len(batch.keys) < 2]
    assert all(number >= len(batches) - 3 for number in short)


def resumed(load: Load, sources: Sequence[Source], after: int, **fields) -> list[Batch]:
    """Stop after some batches, and return those that a loader of the saved state goes on with."""
    loader = load(*sources, **fields)
    list(islice(loader, after))
    saved = json.loads(json.dumps(loader.state()))
    return list(load(*sources, state=saved, **fields))


def test_resumed_after_any_batch_it_goes_on_as_the_unbroken_run_does(load, square, shapes) -> None:
    one = [Source(url=str(square))]
    two = [Source(url=str(shapes), weight=3.0), Source(url=str(shapes), weight=0.7)]
    for sources, epochs in ((one, 2), (two, 1)):
        unbroken = list(load(*sources, epochs=epochs, batch=4))
        for after in range(len(unbroken) + 1):
            assert_same(resumed(load, sources, after, epochs=epochs, batch=4), unbroken[after:])


def test_it_may_be_resumed_with_other_workers_and_another_size_of_batch(load, shapes) -> None:
    loader = load(shapes, batch=3)
    before = list(islice(loader, 2))
    assert loader.state()["waiting"]
    rest = list(load(shapes, batch=3))[2:]
    assert_same(list(load(shapes, batch=3, state=loader.state(), workers=2)), rest)
    ones = list(load(shapes, batch=1, state=loader.state()))
    assert Counter(keys(before + ones)) == Counter(keys_of(shapes, "t2i"))


def test_it_goes_on_where_an_iteration_was_broken_off(load: Load, square: Path) -> None:
    loader = load(square)
    parts = [list(islice(loader, 3)), list(islice(loader, 2)), list(loader)]
    assert_same(list(chain(*parts)), list(load(square)))
    assert list(loader) == []


@pytest.mark.parametrize("fields", [{"nodes": 2}, {"seed": 4}])
def test_a_state_of_other_nodes_or_of_another_seed_is_refused(load, square, fields) -> None:
    with pytest.raises(DataError, match="samples would be lost or doubled"):
        load(square, state=load(square).state(), **fields)


def test_a_state_of_other_shards_is_refused(load: Load, square: Path, shapes: Path) -> None:
    with pytest.raises(DataError, match=r"sources: .* in the checkpoint, .* here"):
        load(square, state=load(shapes).state())


def test_a_state_fits_the_same_shards_elsewhere(load: Load, square: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(square, tmp_path / "moved"))
    loader = load(square)
    first = list(islice(loader, 2))
    assert_same(first + list(load(moved, state=loader.state())), list(load(square)))


def test_sources_are_mixed_by_their_weights(load: Load, square: Path, shapes: Path) -> None:
    sources = [Source(url=str(square), weight=3.0), Source(url=str(shapes), weight=1.0)]
    endless = load(*sources, epochs=None, batch=2, self_correction="off")
    found = keys(list(islice(endless, 20)))
    assert sum(key in keys_of(square, "t2i") for key in found) == pytest.approx(30, abs=2)


def test_shards_on_any_file_system_give_the_same(load: Load, square: Path) -> None:
    fs = fsspec.filesystem("memory")
    fs.put(str(square), "/loaded", recursive=True)
    assert_same(list(load(Source(url="memory://loaded"))), list(load(square)))
    fs.rm("/loaded", recursive=True)


def damaged(corpus: Path, out: Path, *, shard: int, row: int, member: str) -> str:
    """Copy a corpus and overwrite a member of a sample; return the sample's key."""
    shutil.copytree(corpus, out)
    listed = read_manifest(str(out)).subsets["t2i"].shards[shard]
    index = read_index(Source(url=str(out)), listed, (member,))
    with open(out / listed.path, "r+b") as tar:
        tar.seek(int(index.offsets_nm[row, 0]))
        tar.write(b"\0" * int(index.lengths_nm[row, 0]))
    return index.keys[row].as_py()


@pytest.mark.parametrize("member", ["json", "tokens256.npy", "features256.npy"])
def test_a_damaged_member_is_skipped_counted_and_named(load, shapes, tmp_path, caplog, member):
    key = damaged(shapes, tmp_path / "bad", shard=0, row=3, member=member)
    loader = load(tmp_path / "bad", max_bad_share=0.1, batch=3)
    with caplog.at_level(logging.WARNING):
        batches = list(loader)
    assert sorted(keys(batches)) == sorted({*keys_of(shapes, "t2i")} - {key})
    assert [key in message and member in message for message in caplog.messages] == [True]
    assert (loader.state()["seen"], loader.state()["bad"]) == (13, 1)


def test_resume_counts_and_skips_as_the_unbroken_run_does(load, square, tmp_path) -> None:
    damaged(square, tmp_path / "bad", shard=2, row=4, member="json")
    sources = [Source(url=str(tmp_path / "bad"))]
    unbroken = list(load(*sources, max_bad_share=0.1))
    assert [len(batch.keys) for batch in unbroken] == [2] * 7 + [1]
    for after in range(9):
        assert_same(resumed(load, sources, after, max_bad_share=0.1), unbroken[after:])


def test_more_bad_samples_than_allowed_stop_the_run(load: Load, square: Path, tmp_path) -> None:
    key = damaged(square, tmp_path / "bad", shard=2, row=4, member="json")
    with pytest.raises(DataError, match=f"1 of 16 samples are bad.*{key}"):
        list(load(tmp_path / "bad"))


def test_a_shard_that_was_cut_short_gives_what_is_left(load: Load, square: Path, tmp_path) -> None:
    shutil.copytree(square, tmp_path / "cut")
    tar = tmp_path / "cut/shards/t2i-000002.tar"
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])
    batches = list(load(tmp_path / "cut", max_bad_share=0.5))
    assert 11 <= len(keys(batches)) <= 13


def test_self_correction_is_exact_from_features_and_said_to_be_so(load, shapes, bsq) -> None:
    loader = load(shapes, epochs=2, batch=1, seed=5)
    assert loader.self_correction == "exact"
    maker = ShardMaker(tokenizer=bsq, schedules=loader_shapes(shapes), features=True)
    for number, batch in enumerate(loader):
        (key,) = batch.keys
        features = np.load(io_of(maker.members("t2i", key)["features256.npy"]))
        packed = draw_flips(batch.schedule, 8, 5, number // 13, key, "flips")
        flips = torch.from_numpy(np.unpackbits(packed, axis=-1).astype(bool))
        expected = bsq.with_schedule(batch.schedule).self_correct(
            torch.from_numpy(features)[None], flips[None]
        )
        assert torch.equal(batch.inputs_NLD, expected.inputs_BPD)
        assert torch.equal(batch.targets_NLK, expected.labels_BPD.long())


def loader_shapes(corpus: Path):
    member = read_manifest(str(corpus)).tokens[0]
    return {float(aspect): member.schedule(float(aspect)) for aspect in member.schedules}


def io_of(body: bytes):
    import io

    return io.BytesIO(body)


def test_without_features_self_correction_is_called_approximate(load, square, shapes) -> None:
    assert load(square).self_correction == "approximate"
    assert load(square, shapes).self_correction == "approximate"
    assert load(shapes, self_correction="off").self_correction == "off"
    with pytest.raises(DataError, match=r"no features of tokens256\.npy for exact"):
        load(square, self_correction="exact")


def test_each_view_of_an_image_has_its_epoch(load: Load, bsq: InfinityBsq, tmp_path: Path) -> None:
    maker = ShardMaker(tokenizer=bsq, views=3, features=True)
    corpus = maker.write(tmp_path / "views", {"t2i": [2]})
    loader = load(corpus, epochs=3, batch=1, self_correction="off")
    bits: dict[str, set[str]] = {}
    for batch in loader:
        bits.setdefault(batch.keys[0], set()).add(str(batch.targets_NLK.tolist()))
    assert [len(views) for views in bits.values()] == [3, 3]
    assert load(corpus).self_correction == "exact"
    assert len(list(load(corpus))) == 1


def test_shards_of_another_tokenizer_are_refused(square: Path, text: TextEncoder) -> None:
    other = make_infinity_bsq(
        BsqConfig(bits=9, ch=24, ch_mult=(1, 1, 1, 1, 1), num_res_blocks=1), None
    )
    plan = LoadPlan(sources=(Source(url=str(square)),), batch=1)
    with pytest.raises(DataError, match="bits 8 in the shards, 9 in the tokenizer"):
        Loader(plan, text=text, tokenizer=other)
    with pytest.raises(DataError, match=r"tokens256\.npy needs the tokenizer that made it"):
        Loader(plan, text=text)


def test_a_text_tokenizer_too_large_for_the_model_is_refused(square, text, bsq) -> None:
    plan = LoadPlan(sources=(Source(url=str(square)),), batch=1)
    Loader(plan, text=text, tokenizer=bsq, vocabulary=4096)
    with pytest.raises(DataError, match="has 4096 tokens, but the model's embedding has 4095 rows"):
        Loader(plan, text=text, tokenizer=bsq, vocabulary=4095)


def test_codes_of_another_schedule_than_the_manifest_says_are_bad(load, bsq, tmp_path, caplog):
    maker = ShardMaker(tokenizer=bsq)
    corpus = maker.write(tmp_path / "c", {"t2i": [2]})
    manifest = json.loads((corpus / "manifest.json").read_text())
    manifest["tokens"][0]["schedules"] = {"1.0": "1x1 3x3"}
    (corpus / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="2 of 2 samples are bad"):
        list(load(corpus))
    assert r"expected uint32 [10], got uint32 [21]" in caplog.text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sources": ()}, "expected one source or more"),
        ({"epochs": 0}, "expected one epoch or more, or None for no end, not 0"),
        ({"batch": 0}, "expected a batch of one or more, not 0"),
        ({"sources": (Source(url="x", weight=0.0),)}, "x t2i: expected a positive weight, not 0.0"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        LoadPlan(**{"sources": (Source(url="x"),), "batch": 1, **fields})


def test_more_nodes_than_samples_are_refused(load: Load, square: Path) -> None:
    with pytest.raises(DataError, match="t2i: 16 samples cannot be split over 17 nodes"):
        load(square, nodes=17)


def test_an_unknown_subset_is_refused_with_those_that_are(load: Load, square: Path) -> None:
    with pytest.raises(DataError, match="unknown subset, expected one of t2i, edit, understand"):
        load(Source(url=str(square), subset="collage"))


def test_images_to_understand_need_a_processor(load: Load, shapes: Path) -> None:
    with pytest.raises(DataError, match="its images need the backbone's image processor"):
        load(Source(url=str(shapes), subset="understand"))


@pytest.fixture(scope="module")
def image_processor():
    from transformers import Qwen2VLImageProcessorPil

    return Qwen2VLImageProcessorPil()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_subsets_are_mixed_within_batches(load, shapes, image_processor, words, workers) -> None:
    sources = [
        Source(url=str(shapes), subset=subset, weight=weight)
        for subset, weight in (("t2i", 2.0), ("edit", 1.0), ("understand", 1.0))
    ]
    fields = {"batch": 4, "image_processor": image_processor, "workers": workers}
    batches = list(load(*sources, **fields))
    expected = [key for each in ("t2i", "edit", "understand") for key in keys_of(shapes, each)]
    assert sorted(keys(batches)) == sorted(expected)
    assert any(0 < len(batch.image_rows_N) < len(batch.keys) for batch in batches)
    for batch in batches:
        grids = batch.image_grid_thw
        pads = (batch.input_ids_BS == words.convert_tokens_to_ids("<|image_pad|>")).sum()
        assert pads == (0 if grids is None else grids.prod(dim=1).sum() // 4)
        if grids is not None:
            assert batch.pixel_values is not None
            assert list(batch.pixel_values.shape) == [int(grids.prod(dim=1).sum()), 1176]
        assert len(batch.inputs_NLD) == len(batch.image_starts_N) == len(batch.image_rows_N)
    for after in (0, 1, 3):
        assert_same(resumed(load, sources, after, **fields), batches[after:])


@pytest.mark.slow
def test_understanding_alone_needs_no_tokenizer_of_images(shapes, text, image_processor) -> None:
    source = Source(url=str(shapes), subset="understand")
    plan = LoadPlan(sources=(source,), batch=3, epochs=1, loss="published")
    batches = list(Loader(plan, text=text, image_processor=image_processor))
    assert [len(batch.keys) for batch in batches] == [3, 1]
    for batch in batches:
        assert (batch.schedule, len(batch.inputs_NLD), len(batch.image_rows_N)) == ((), 0, 0)
        assert (batch.labels_BS == -100).any()  # as the published code does without images


@pytest.mark.slow
def test_the_corpus_that_the_pipeline_builds_is_read_whole(demo_corpus: Path, text) -> None:
    from model.tokenizers.load import load_tokenizer

    tokenizer = load_tokenizer("infinity_bsq", preset="bundled")
    plan = LoadPlan(sources=(Source(url=str(demo_corpus)),), batch=4, epochs=1)
    batches = list(Loader(plan, text=text, tokenizer=tokenizer))
    assert sorted(keys(batches)) == sorted(keys_of(demo_corpus, "t2i"))
    assert all(batch.targets_NLK.shape[1:] == (521, 32) for batch in batches)


def test_codes_of_var_and_patchified_bits_come_as_the_model_sees_them(text, tmp_path) -> None:
    var = VarConfig(vocab=64, z_channels=4, ch=8, ch_mult=(1, 1), norm_groups=0, num_res_blocks=1)
    bsq = BsqConfig(bits=2, ch=24, ch_mult=(1, 1, 1, 1), num_res_blocks=1, patchify=True)
    small, large = ((1, 1), (2, 2)), ((2, 2), (4, 4))
    for tokenizer, stored, targets in (
        (make_var_vqvae(var, None), small, [1, 5, 1]),
        (make_infinity_bsq(bsq, None), large, [1, 5, 8]),
    ):
        maker = ShardMaker(tokenizer=tokenizer, schedules={1.0: stored})
        corpus = maker.write(tmp_path / tokenizer.name, {"t2i": [1]})
        plan = LoadPlan(sources=(Source(url=str(corpus)),), batch=1, epochs=1)
        loader = Loader(plan, text=text, tokenizer=tokenizer)
        (batch,) = loader
        assert (batch.schedule, list(batch.targets_NLK.shape)) == (small, targets)
        assert (batch.input_ids_BS == text.image_gen_pad_id).sum() == 5
        assert loader.self_correction == ("off" if tokenizer.name == "var_vqvae" else "approximate")


OTHER_WEBDATASET = Path(__file__).parents[3] / "build/webdataset-1"  # made by the Makefile
PROGRAM = """
import sys
from importlib.metadata import version
sys.path.insert(0, sys.argv[1])
import webdataset
assert webdataset.__file__.startswith(sys.argv[1]), webdataset.__file__
from model.data.samples import decode
turns = b'[{"role": "user", "content": "<image>"}, {"role": "assistant", "content": "Yes."}]'
body = b'{"key": "k", "messages": ' + turns + b'}'
jpg = open(sys.argv[2], "rb").read()
print(decode("k", {"json": body, "jpg": jpg}, "understand").input_image.size)
"""


@pytest.mark.slow
def test_members_are_decoded_by_the_other_major_version_of_webdataset(tmp_path: Path) -> None:
    if not OTHER_WEBDATASET.is_dir():
        pytest.skip("make .venv/ready makes build/webdataset-1")
    Image.new("RGB", (31, 17)).save(tmp_path / "x.jpg")
    command = [sys.executable, "-c", PROGRAM, str(OTHER_WEBDATASET), str(tmp_path / "x.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout == "(31, 17)\n", done.stderr
