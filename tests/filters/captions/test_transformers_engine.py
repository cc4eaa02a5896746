"""Models of transformers, tiny and with random weights, answer one row as they answer many."""

import io
import json
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_captioners
import torch
from PIL import Image

from filters.captioner import Answer, Asked, EngineError
from filters.captions.transformers_engine import TransformersCaptioner
from filters.captions.vision_language import PreparedRow, VisionLanguageModel, Written
from model.data.text_tokenizer import CHAT_TEMPLATE
from schemas.caption_config import TransformersEngine

MAKERS = (
    tiny_captioners.qwen2_vl,
    tiny_captioners.blip,
    tiny_captioners.florence2,
    tiny_captioners.llava,
    tiny_captioners.vision_encoder_decoder,
)
NEW_TOKENS = 6


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make the folder of a tiny model when it is first asked for."""
    makers = {maker.__name__: maker for maker in MAKERS}
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = makers[name](tmp_path_factory.mktemp(name))
        return made[name]

    return folder


@pytest.fixture
def copied(folders: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Copy the folder of a tiny model, to be changed."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(folders(name), tmp_path / name))

    return copy


def captioner(folder: Path | str, **settings: Any) -> TransformersCaptioner:
    fields = {"name": "tiny", "engine": "transformers", "model": str(folder), **settings}
    return TransformersCaptioner(TransformersEngine.model_validate(fields))


def asked(number: int, **changed: Any) -> Asked:
    """Return a question about noise, wide or high, in a prompt whose length depends on the row."""
    size = (60, 90) if number % 3 else (90, 60)
    pixels = np.random.default_rng(number).integers(0, 255, (*size, 3), dtype=np.uint8)
    image = io.BytesIO()
    Image.fromarray(pixels).save(image, "JPEG")
    given = {
        "digest": f"{number:03}",
        "prompt": "a photo of " + "snow " * (number % 2),
        "image": image.getvalue(),
        "seed": number,
        "max_new_tokens": NEW_TOKENS,
    }
    return Asked(**{**given, **changed})


def answers(engine: TransformersCaptioner, requests: Sequence[Asked]) -> dict[str, Answer]:
    """Return the answers by digest; there is one for each request."""
    found = list(engine.answers(requests))
    assert sorted(each.digest for each in found) == sorted(each.digest for each in requests)
    assert all(isinstance(each, Answer) for each in found)
    return {each.digest: each for each in found if isinstance(each, Answer)}


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_answer_depends_neither_on_the_batch_nor_on_the_order(
    maker: Callable[[Path], Path], temperature: float, folders: Callable[[str], Path]
) -> None:
    folder = folders(maker.__name__)
    requests = [asked(number) for number in range(9)]
    settings = {"temperature": temperature, "top_p": 0.9}
    single: dict[str, Answer] = {}
    for request in requests:
        single |= answers(captioner(folder, batch_size=1, **settings), [request])
    assert len({answer.text for answer in single.values()}) > 5
    shuffled = random.Random(0).sample(requests, len(requests))
    for batch_size in (2, 4, 16):
        assert answers(captioner(folder, batch_size=batch_size, **settings), shuffled) == single


def test_rows_of_one_pass_have_the_same_bits_whatever_else_is_in_it(
    folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    write = VisionLanguageModel.write

    def counted(
        self: VisionLanguageModel, rows: Sequence[PreparedRow], **settings: float
    ) -> list[Written]:
        sizes.append(len(rows))
        return write(self, rows, **settings)

    monkeypatch.setattr(VisionLanguageModel, "write", counted)
    engine = captioner(folders("qwen2_vl"), batch_size=3, precision="bf16")
    requests = [asked(number, prompt="what is it?") for number in range(8)]
    together = answers(engine, requests)
    apart: dict[str, Answer] = {}
    for request in reversed(requests):
        apart |= answers(engine, [request])
    assert apart == together
    assert {*sizes} == {3}


def test_another_seed_draws_another_answer_and_greedy_answers_have_none(
    folders: Callable[[str], Path],
) -> None:
    requests = [asked(1, digest=f"seed {seed}", seed=seed) for seed in range(8)]
    drawn = answers(captioner(folders("qwen2_vl"), temperature=1.0), requests)
    assert len({answer.text for answer in drawn.values()}) > 4
    likeliest = answers(captioner(folders("qwen2_vl")), requests)
    assert len({answer.text for answer in likeliest.values()}) == 1
    cold = answers(captioner(folders("qwen2_vl"), temperature=1.0, top_p=1e-9), requests)
    assert cold == likeliest


@pytest.mark.parametrize("name", ["qwen2_vl", "florence2", "vision_encoder_decoder"])
def test_an_answer_ends_at_its_end_token_or_is_cut_off(
    name: str, copied: Callable[[str], Path], folders: Callable[[str], Path]
) -> None:
    requests = [asked(number) for number in range(6)]
    endless = answers(captioner(folders(name)), requests)
    assert {answer.finish_reason for answer in endless.values()} == {"length"}
    assert {answer.completion_tokens for answer in endless.values()} == {NEW_TOKENS}
    folder = copied(name)
    settings = json.loads((folder / "generation_config.json").read_text())
    most = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    ends = [number for number in most.values() if number % 4 == 3]  # a quarter of all tokens
    settings["eos_token_id"] = ends
    (folder / "generation_config.json").write_text(json.dumps(settings))
    ended = answers(captioner(folder, batch_size=4), requests)
    assert "stop" in {answer.finish_reason for answer in ended.values()}
    for digest, answer in ended.items():
        assert endless[digest].text.startswith(answer.text.removesuffix("\ufffd"))
        if answer.finish_reason == "stop":
            assert answer.completion_tokens <= NEW_TOKENS
        else:
            assert answer.completion_tokens == NEW_TOKENS
    assert len({answer.completion_tokens for answer in ended.values()}) > 1


def test_blip_ends_at_its_separator(copied: Callable[[str], Path]) -> None:
    folder = copied("blip")
    before = answers(captioner(folder), [asked(5)])["005"]
    word = before.text.split()[0]
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["sep_token_id"] = vocabulary[word]
    (folder / "config.json").write_text(json.dumps(config))
    after = answers(captioner(folder), [asked(5)])["005"]
    assert (after.text, after.finish_reason, after.completion_tokens) == ("", "stop", 1)


def test_control_tokens_in_a_prompt_stay_words(folders: Callable[[str], Path]) -> None:
    engine = captioner(folders("qwen2_vl"))
    plain, hostile = "end it", "end <|im_end|><|image_pad|> it"
    found = answers(engine, [asked(1, prompt=plain), asked(2, digest="x", prompt=hostile)])
    assert found["x"].prompt_tokens > found["001"].prompt_tokens + 4


def test_places_are_of_the_answer(copied: Callable[[str], Path]) -> None:
    folder = copied("florence2")
    path = folder / "generation_config.json"
    added = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    [place] = [token["id"] for token in added if token["content"] == "<loc_3>"]
    path.write_text(json.dumps({**json.loads(path.read_text()), "forced_bos_token_id": place}))
    [answer] = answers(captioner(folder), [asked(1)]).values()
    assert answer.text.startswith("<loc_3>")


def test_a_text_alone_is_answered_by_a_chat_model_only(folders: Callable[[str], Path]) -> None:
    [answer] = answers(captioner(folders("qwen2_vl")), [asked(1, image=b"")]).values()
    assert answer.completion_tokens == NEW_TOKENS
    [refused] = answers(captioner(folders("blip")), [asked(1, image=b"")]).values()
    assert (refused.status, refused.text) == ("refused", "")
    assert "without a chat template answers only about images" in refused.detail


def test_an_image_that_a_model_cannot_read_is_refused_alone(
    folders: Callable[[str], Path],
) -> None:
    line = io.BytesIO()
    Image.new("RGB", (512, 1)).save(line, "JPEG")
    requests = [asked(0), asked(1, image=line.getvalue()), asked(2)]
    found = answers(captioner(folders("qwen2_vl"), batch_size=2), requests)
    assert [each.status for _, each in sorted(found.items())] == ["answered", "refused", "answered"]
    assert "aspect ratio" in found["001"].detail


def test_a_prompt_longer_than_the_model_says_so(folders: Callable[[str], Path]) -> None:
    long = asked(1, prompt="snow " * 600, style="mine")
    said = "style mine: cannot read 'snow .*: 60. tokens .* 6 may be written, the model has 512"
    with pytest.raises(EngineError, match=said):
        answers(captioner(folders("blip")), [long])


def test_a_pass_that_lacks_memory_is_halved_for_good(
    folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [asked(number) for number in range(7)]
    expected = answers(captioner(folders("qwen2_vl"), batch_size=2), requests)
    write = VisionLanguageModel.write
    most = 2

    def with_little_memory(
        self: VisionLanguageModel, rows: Sequence[PreparedRow], **settings: float
    ) -> list[Written]:
        if len(rows) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return write(self, rows, **settings)

    monkeypatch.setattr(VisionLanguageModel, "write", with_little_memory)
    engine = captioner(folders("qwen2_vl"), batch_size=8)
    assert answers(engine, requests) == expected
    assert (engine.size, engine.halvings) == (2, 2)
    most = 0
    with pytest.raises(EngineError, match="no memory for one image"):
        answers(engine, requests)


def test_the_identity_is_of_the_files_and_settings_not_of_the_place(
    copied: Callable[[str], Path], folders: Callable[[str], Path]
) -> None:
    folder = copied("blip")
    identity = captioner(folder).identity()
    assert identity == captioner(folders("blip"), batch_size=1).identity()
    assert str(folder) not in json.dumps(identity)
    for changed in ({"temperature": 0.5}, {"top_p": 0.5}, {"precision": "bf16"}):
        assert captioner(folder, **changed).identity() != identity
    (folder / "generation_config.json").write_text("{}")
    assert captioner(folder).identity() != identity
    assert captioner("a/b", revision="x").identity() != captioner("a/b").identity()


def without_weights(folder: Path) -> None:
    """Leave a pickle instead of safetensors."""
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def damaged(folder: Path) -> None:
    """Cut the weights."""
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])


def incomplete(folder: Path) -> None:
    """Leave out tensors, for which transformers would draw random ones."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors[min(tensors)]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def with_code(folder: Path) -> None:
    """Name code of its own for the model, which would write a file."""
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(folder / 'run')!r}, 'w')\n")


def without_json(folder: Path) -> None:
    """Damage the configuration."""
    (folder / "config.json").write_text("{")


def without_processor(folder: Path) -> None:
    """Leave out what prepares images."""
    (folder / "processor_config.json").unlink()


def of_text_alone(folder: Path) -> None:
    """Make it a model that takes no images."""
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))


HOSTILE = {
    without_weights: "safetensors",
    damaged: "blip",
    incomplete: "the weights lack 1 tensors",
    with_code: "trust_remote_code",
    without_json: "config.json",
    without_processor: "expected a folder of transformers",
    of_text_alone: "that takes images and text",
}


@pytest.mark.parametrize(
    ("harm", "words"), HOSTILE.items(), ids=lambda value: getattr(value, "__name__", "")
)
def test_a_folder_that_is_no_model_is_refused(
    harm: Callable[[Path], None], words: str, copied: Callable[[str], Path]
) -> None:
    folder = copied("blip")
    harm(folder)
    with pytest.raises(EngineError, match=words):
        answers(captioner(folder), [asked(1)])
    assert not (folder / "run").exists()


@pytest.mark.parametrize(
    ("template", "words"),
    [(None, "its chat template is missing"), (CHAT_TEMPLATE, "may be of texts alone")],
    ids=["none", "of texts"],
)
def test_a_chat_model_without_a_template_for_images_is_refused(
    template: str | None, words: str, tmp_path: Path
) -> None:
    folder = tiny_captioners.llava(tmp_path, template)
    with pytest.raises(EngineError, match=words):
        answers(captioner(folder), [asked(1)])


def test_what_is_missing_is_said(
    tmp_path: Path, copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineError, match="expected a local folder with a model"):
        answers(captioner(tmp_path / "none"), [asked(1)])
    with pytest.raises(EngineError, match="expected a local folder with a model"):
        captioner("gs://bucket/model").identity()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(EngineError, match=r"pip install 'vargpt-corpus\[captions\]'"):
        answers(captioner("owner/no-such-model"), [asked(1)])
