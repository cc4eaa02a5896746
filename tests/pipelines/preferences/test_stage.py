"""preferences, by a tiny model of random weights: what is in shards, and that it never varies."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image
from tiny_pairs import BRIGHTNESS, IMAGES, preferences, save_tiny_model, tiny_network
from training_shards import ShardMaker

from model.data.loader import Loader
from model.data.manifest import Source
from model.data.plan import LoadPlan
from model.data.samples import Message
from model.data.text import TextEncoder
from model.data.text_tokenizer import bundled_text_tokenizer
from model.preferences.pairs import GIVEN
from model.preferences.prompts import PromptRow, held_out, read_prompts
from model.preferences.sampling import sample_seed
from model.preferences.scorers import scorer_plan
from model.tokenizers.prepare import cover_crop, to_model_input
from model.vargpt.folder import folder_sha256
from model.vargpt.sampling import Sampling
from pipelines.cli.main import main
from pipelines.preferences.prompts import write_prompts
from pipelines.preferences.stage import MakePreferences
from pipelines.preferences.tools import ToolsPlan
from pipelines.runtime.sidecar import read_table
from pipelines.runtime.stage import run_shard
from pipelines.shards.manifest import MANIFEST
from schemas.recipe import DecodeConfig, ShardConfig
from schemas.sample import json_faults
from schemas.sections import Gpu
from schemas.store.storage import CorpusError, Storage
from schemas.subsets import PREFERENCE

TAR = "shards/preference-000000.tar"
FOX, WHALE, FOG = ({"prompt": text} for text in ("a red fox", "a blue whale", "fog"))

MakeStage = Callable[..., MakePreferences]


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    with tiny_network():
        yield


@pytest.fixture(scope="module")
def model_folder(tiny: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def make_stage(model_folder: Path) -> MakeStage:
    """Return a function that plans a stage; keywords are its fields."""

    def make(scorer: str | None = BRIGHTNESS, **fields: Any) -> MakePreferences:
        plan = ToolsPlan(
            model=str(model_folder),
            model_sha256=folder_sha256(str(model_folder)),
            sampling=Sampling(temperature=1.0, guidance=1.0),
            scorer=scorer_plan(scorer) if scorer else None,
        )
        chosen = {"pairs": "scored", "samples": 2, "margin": 0.0, "batch": 4} | fields
        written = {"shard": ShardConfig(short_side=64), "decode": DecodeConfig()}
        named = {"subset": PREFERENCE, "member": "tokens256.npy"}
        return MakePreferences(**{"tools": plan, **written, **named, **chosen})

    return make


def put(store: Storage, lines: Sequence[dict[str, Any]], need_given: bool = False) -> int:
    path = Path(store.root).with_name("prompts.jsonl")
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    written = write_prompts(read_prompts(str(path)), store, per_shard=2, need_given=need_given)
    return written.shards


def members(store: Storage, path: str = TAR) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(fileobj=io.BytesIO(store.read(path))) as tar:
        for member in tar:
            key, _, extension = member.name.partition(".")
            body = tar.extractfile(member)
            assert body is not None
            found.setdefault(key, {})[extension] = body.read()
    return found


def rejects(store: Storage, shard: int = 0) -> dict[str, str]:
    rows = read_table(store, f"dead_letters/preferences/{shard:05d}.parquet").to_pylist()
    return {row["id"]: f"{row['outcome']} {row['reason']}" for row in rows}


@pytest.fixture(scope="module")
def made(make_stage: MakeStage, tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """Pairs of two prompts; tests must not change them."""
    store = Storage(str(tmp_path_factory.mktemp("made") / "out"))
    put(store, [FOX, WHALE])
    report = run_shard(make_stage(), 0, store)
    assert (report.rows_in, report.kept) == (2, 2)
    return store


def test_a_sample_is_what_the_contract_says(made: Storage, make_stage: MakeStage) -> None:
    stage = make_stage()
    for key, found in members(made).items():
        codes = ["chosen.tokens256.npy", "rejected.tokens256.npy"]
        assert list(found) == ["chosen.jpg", "rejected.jpg", "json", *codes]
        sample = json.loads(found["json"])
        assert json_faults(sample, PREFERENCE) == []
        seeds = [sample_seed(key, index, stage.tools.model_sha256) for index in range(2)]
        assert {sample["chosen_seed"], sample["rejected_seed"]} == set(seeds)
        assert sample["margin"] == sample["chosen_score"] - sample["rejected_score"] > 0
        assert sample["scorer"] == BRIGHTNESS
        assert sample["messages"][1]["content"].endswith("<image_gen>")
        for name in ("chosen", "rejected"):
            codes = np.load(io.BytesIO(found[f"{name}.tokens256.npy"]))
            assert (codes.dtype, codes.shape) == (np.uint32, (521,))
            assert Image.open(io.BytesIO(found[f"{name}.jpg"])).size == (64, 64)


def test_what_is_chosen_scores_higher_and_its_codes_are_its_image(made: Storage) -> None:
    rows = {row["key"]: row for row in read_table(made, "preferences/00000.parquet").to_pylist()}
    tokenizer = IMAGES.load()
    for key, found in members(made).items():
        row = rows[key]
        assert row["scores"][row["chosen"]] == max(row["scores"])
        assert row["scores"][row["rejected"]] == min(row["scores"])
        codes = np.load(io.BytesIO(found["chosen.tokens256.npy"]))
        drawn = tokenizer.decode(load_codes(codes))[0].add(1).mul(127.5).round().permute(1, 2, 0)
        grey = Image.fromarray(drawn.to(torch.uint8).numpy()).convert("L")
        assert float(np.asarray(grey).mean()) / 255 == row["scores"][row["chosen"]]


def load_codes(codes: np.ndarray) -> Any:
    from model.tokenizers.protocol import Codes

    return Codes.unpack([codes], IMAGES.load().schedule)


def test_made_again_the_bytes_are_the_same_and_what_is_fresh_is_not_made(
    made: Storage, make_stage: MakeStage, tmp_path: Path
) -> None:
    again = Storage(str(tmp_path / "out"))
    put(again, [WHALE, FOX])
    run_shard(make_stage(), 0, again)
    for path in (TAR, "shards/preference-000000.parquet", "preferences/00000.parquet"):
        assert again.read(path) == made.read(path)
    assert run_shard(make_stage(), 0, again).skipped
    other = make_stage(margin=0.001)
    assert other.settings(0, again) != make_stage().settings(0, again)


def test_a_gpu_that_is_asked_for_and_not_there_is_an_error(
    make_stage: MakeStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Storage(str(tmp_path / "out"))
    put(store, [FOX])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CorpusError, match="preferences: --gpu nvidia-l4 asks for a GPU"):
        run_shard(replace(make_stage(), gpu=Gpu(type="nvidia-l4")), 0, store)
    assert not store.exists("preferences/00000.parquet")


def test_ties_are_dropped_and_what_cannot_be_scored_is_dead(
    make_stage: MakeStage, tmp_path: Path
) -> None:
    store = Storage(str(tmp_path / "out"))
    put(store, [FOX, FOG])
    report = run_shard(make_stage("simple_scorers:nothing"), 0, store)
    assert (report.kept, report.dropped, report.failed) == (0, {"tie": 1}, {"score_not_finite": 1})
    assert not store.exists(TAR)
    assert sorted(rejects(store).values()) == ["dropped tie", "failed score_not_finite"]


def test_the_given_image_is_chosen_and_tokenized_as_a_corpus_would(
    make_stage: MakeStage, tmp_path: Path, picture: Callable[..., bytes]
) -> None:
    (tmp_path / "fox.png").write_bytes(picture(1, (300, 280)))
    (tmp_path / "fog.png").write_bytes(b"no image")
    store = Storage(str(tmp_path / "out"))
    given = [FOX | {"image": "fox.png"}, FOG | {"image": "fog.png"}, WHALE | {"image": "gone.png"}]
    shards = put(store, given, need_given=True)
    stage = make_stage(None, pairs="paper", samples=1)
    outcomes = [run_shard(stage, shard, store).failed for shard in range(shards)]
    assert {reason for outcome in outcomes for reason in outcome} == {
        "not_an_image",
        "unreadable_bytes",
    }
    (name,) = [name for name in store.listing("shards") if name.endswith(".tar")]
    ((_, found),) = members(store, f"shards/{name}").items()
    sample = json.loads(found["json"])
    assert (sample["chosen_seed"], sample["scorer"], sample["margin"]) == ("", "", 0.0)
    image = Image.open(tmp_path / "fox.png").convert("RGB")
    pixels = to_model_input(cover_crop(image, 256, 256)[None])
    codes = np.load(io.BytesIO(found["chosen.tokens256.npy"]))
    assert np.array_equal(codes, IMAGES.load().encode(pixels).values_BL[0])


@pytest.fixture(scope="module")
def corpus(tiny: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples of random codes, of which some edit; tests must not change it."""
    tokenizer = IMAGES.load()
    maker = ShardMaker(tokenizer=tokenizer, schedules={1.0: tokenizer.schedule})
    return maker.write(tmp_path_factory.mktemp("corpora") / "small", {"t2i": [3, 2], "edit": [2]})


@pytest.mark.parametrize("subset", ["t2i", "edit"])
def test_a_part_of_a_corpus_gives_prompts_with_its_own_images_and_codes(
    make_stage: MakeStage, corpus: Path, tmp_path: Path, subset: str
) -> None:
    store = Storage(str(tmp_path / "out"))
    rows = list(held_out(Source(url=str(corpus), subset=subset), "tokens256.npy", 1.0))[:1]
    pairs = write_prompts(rows, store, per_shard=2, need_given=True).subset
    assert pairs.name == {"t2i": "preference", "edit": "preference_edit"}[subset]
    run_shard(make_stage(None, pairs="paper", samples=1, subset=pairs), 0, store)
    ((key, found),) = members(store, f"shards/{pairs.name}-000000.tar").items()
    assert ("source.jpg" in found) == (subset == "edit")
    assert isinstance(rows[0], PromptRow)
    assert rows[0].codes is not None
    offset, length = rows[0].codes.offset, rows[0].codes.length
    body = Path(rows[0].codes.file).read_bytes()[offset : offset + length]
    assert np.array_equal(
        np.load(io.BytesIO(body)), np.load(io.BytesIO(found["chosen.tokens256.npy"]))
    )
    assert json.loads(found["json"])["url"] == f"made-up/{key}"
    assert read_table(store, "preferences/00000.parquet")["chosen"].to_pylist() == [GIVEN]


def test_messages_of_a_corpus_that_spell_a_token_are_left_out(tmp_path: Path) -> None:
    store = Storage(str(tmp_path / "out"))
    answer = Message("assistant", "Here is a fox<image_gen>")
    rows = [
        PromptRow(key=key * 32, text="a fox", source="s", messages=(Message("user", said), answer))
        for key, said in (("a", "Draw a fox"), ("b", "Draw a fox <|im_end|>"))
    ]
    assert write_prompts(rows, store, per_shard=2, need_given=False).counts.failed == {
        "marker_in_prompt": 1
    }


def test_prompts_with_and_without_an_image_are_not_mixed(tmp_path: Path) -> None:
    store = Storage(str(tmp_path / "out"))
    with pytest.raises(CorpusError, match="some prompts edit an image and some do not"):
        put(store, [FOX, FOG | {"input": "fog.png"}])


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    path.write_text("a red fox\na blue whale\nfog\na red fox\n")
    return path


@pytest.mark.slow
def test_killed_and_begun_again_the_command_makes_what_an_unbroken_one_makes(
    model_folder: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert preferences(model_folder, prompts, whole, "--processes", "1") == 0
    assert "repeated_prompt" in capsys.readouterr().out
    process = MakePreferences.process

    def dying(self: MakePreferences, shard: int, store: Storage, scratch: Path) -> Any:
        if shard == 1:
            raise CorpusError("the machine was taken away")
        return process(self, shard, store, scratch)

    monkeypatch.setattr(MakePreferences, "process", dying)
    assert preferences(model_folder, prompts, broken, "--processes", "1") == 1
    monkeypatch.setattr(MakePreferences, "process", process)
    assert preferences(model_folder, prompts, broken, "--processes", "1") == 0
    assert "1 of 2 shards to do" in capsys.readouterr().err
    names = sorted(str(p.relative_to(whole)) for p in whole.rglob("*") if p.is_file())
    assert "shards/preference-000001.tar" in names
    assert_same(broken, whole, names)
    (broken / "shards/preference-000000.tar").unlink()
    assert preferences(model_folder, prompts, broken, "--processes", "1") == 0
    assert "1 of 2 shards to do" in capsys.readouterr().err
    assert_same(broken, whole, names)
    check_readers(whole)


def assert_same(one: Path, other: Path, names: Sequence[str]) -> None:
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def check_readers(out: Path) -> None:
    """Read the shards by plain webdataset, and by the loader."""
    manifest = json.loads((out / MANIFEST).read_text())
    urls = [str(out / shard["path"]) for shard in manifest["subsets"]["preference"]["shards"]]
    dataset = webdataset.WebDataset(urls, shardshuffle=False).decode("pil")
    read = {sample["__key__"]: sample for sample in dataset}
    assert len(read) == 3
    for sample in read.values():
        assert sample["chosen.jpg"].size == sample["rejected.jpg"].size
        assert sample["json"]["key"] == sample["__key__"]
    plan = LoadPlan(sources=(Source(url=str(out), subset="preference"),), batch=3, epochs=1)
    text = TextEncoder(bundled_text_tokenizer())
    (batch,) = list(Loader(plan, text=text, tokenizer=IMAGES.load()))
    assert batch.keys[:3] == batch.keys[3:]
    tokenizer = IMAGES.load()
    for row, (key, name) in enumerate(
        (k, n) for n in ("chosen", "rejected") for k in batch.keys[:3]
    ):
        codes = load_codes(read[key][f"{name}.tokens256.npy"])
        assert torch.equal(batch.targets_NLK[row], tokenizer.labels(codes)[0].long())


def test_options_that_do_not_go_together_are_refused(
    model_folder: Path, prompts: Path, tmp_path: Path, capsys
) -> None:
    where = ["--model", str(model_folder), "--prompts", str(prompts), "--out", str(tmp_path / "o")]
    assert main(["preferences", *where]) == 1
    assert "--pairs scored needs a --scorer" in capsys.readouterr().err
    assert main(["preferences", *where, "--pairs", "paper", "--samples", "3"]) == 1
    assert "--samples 3 needs a --scorer" in capsys.readouterr().err
    assert main(["preferences", *where, "--scorer", "clip"]) == 1
    assert "CLIP ViT-L-14: expected weights" in capsys.readouterr().err
    gone = ["--model", str(tmp_path / "gone"), *where[2:]]
    assert main(["preferences", *gone, "--scorer", BRIGHTNESS]) == 1
    assert "no config.json; expected the folder of a model" in capsys.readouterr().err


def test_a_corpus_folder_is_refused(model_folder: Path, prompts: Path, tmp_path: Path, capsys):
    (tmp_path / "recipe.yaml").write_text("name: mine\n")
    assert preferences(model_folder, prompts, tmp_path, "--processes", "1") == 1
    assert "a corpus lies here" in capsys.readouterr().err
