"""CLIP by open_clip: a tiny one of random weights, saved as open_clip saves its models."""

import hashlib
import json
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny_clip import WIDTH, save_tiny_clip, tiny_config, tiny_weights

from filters.scorer import Device, ScorerError, Subject
from filters.scores.clip_encoder import KEPT_WORDS, TEXT_CHARS, ClipEncoder, encoder
from filters.scores.clip_identity import MAX_ASPECT
from filters.scores.pin import pinned_clip
from filters.scores.registry import make_scorer
from filters.scores.score_images import score_images
from schemas.score_config import BUNDLED, ClipModel, ClipScore

pytestmark = pytest.mark.slow  # importing open_clip takes seconds


class Exploit:
    """A pickle that would run code when it is loaded."""

    def __reduce__(self) -> tuple:
        return (exec, ("raise SystemExit('the pickle ran')",))


@pytest.fixture(scope="module")
def made(clip: ClipModel) -> ClipEncoder:
    return encoder(clip, Device())


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a tiny model that open_clip knows without weights."""
    import open_clip

    path = tmp_path_factory.mktemp("configs") / "ViT-tiny.json"
    path.write_text(json.dumps(tiny_config()))
    open_clip.add_model_config(path)
    return path.stem


def embedded(made: ClipEncoder, *images: Image.Image) -> np.ndarray:
    return made.embed_images([made.prepare(image) for image in images])


def test_embeddings_are_open_clip_s_of_length_1(
    clip: ClipModel, made: ClipEncoder, subjects: list[Subject]
) -> None:
    import open_clip

    model: Any
    model, preprocess = open_clip.create_model_from_pretrained(clip.model)
    words = open_clip.get_tokenizer(clip.model)([subject.text for subject in subjects])
    with torch.no_grad():
        pixels = torch.stack([preprocess(subject.image) for subject in subjects])
        images = model.eval().encode_image(pixels, normalize=True)
        texts = model.encode_text(words, normalize=True)
    found = embedded(made, *(subject.image for subject in subjects))
    np.testing.assert_allclose(found, images, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    found = made.embed_texts([subject.text for subject in subjects])
    np.testing.assert_allclose(found, texts, atol=1e-5)
    assert found.dtype == np.float32


def test_the_score_is_the_cosine_and_the_embedding_is_stored_if_asked(
    clip: ClipModel, made: ClipEncoder, subjects: list[Subject]
) -> None:
    scorer = make_scorer(ClipScore(clip=clip, embedding=True), Device())
    scores = score_images(scorer, subjects, Device())
    images = embedded(made, *(subject.image for subject in subjects)).astype(np.float64)
    texts = made.embed_texts([subject.text for subject in subjects]).astype(np.float64)
    np.testing.assert_allclose(scores["clip_similarity"], np.diag(images @ texts.T), atol=1e-6)
    assert len(set(np.asarray(scores["clip_similarity"]).tolist())) == len(subjects)
    np.testing.assert_array_equal(scores["clip_embedding"], images.astype(np.float16))


def test_scorers_with_equal_settings_share_one_encoder(clip: ClipModel, made: ClipEncoder) -> None:
    assert encoder(clip.model_copy(), Device()) is made
    assert encoder(clip, Device(precision="bf16")) is not made


def test_one_thread_computes_whatever_the_program_has(
    made: ClipEncoder, astronaut: Image.Image
) -> None:
    threads: list[int] = []
    hook = made._model.visual.register_forward_hook(
        lambda *_: threads.append(torch.get_num_threads())
    )
    torch.set_num_threads(2)  # the fixture sets it back
    embedded(made, astronaut)
    hook.remove()
    assert (threads, torch.get_num_threads()) == ([1], 2)
    torch.set_num_threads(1)


def test_bfloat16_is_close_and_other(clip: ClipModel, made: ClipEncoder, astronaut) -> None:
    half = embedded(encoder(clip, Device(precision="bf16")), astronaut)
    whole = embedded(made, astronaut)
    np.testing.assert_allclose(half, whole, atol=0.02)
    assert (half != whole).any()
    with pytest.raises(ValueError, match="tf32: expected a CUDA device"):
        ClipEncoder(clip, Device(precision="tf32"))


def test_a_long_image_is_cropped_around_its_centre_first(made: ClipEncoder, astronaut) -> None:
    long = Image.new("RGB", (512 * 40, 512), "red")
    long.paste(astronaut, ((long.width - 512) // 2, 0))
    cropped = long.crop((512 * 12, 0, 512 * 28, 512))
    assert torch.equal(made.prepare(long), made._preprocess(cropped))
    inside = (slice(None), slice(None), slice(4, -4))  # resizing reads across the edges
    assert torch.equal(made.prepare(long)[inside], made.prepare(astronaut)[inside])
    allowed = astronaut.resize((512, 512 // MAX_ASPECT))
    assert torch.equal(made.prepare(allowed), made._preprocess(allowed))


def test_a_text_is_cut_at_the_context_length(made: ClipEncoder) -> None:
    first = "dog " * 75
    found = made.embed_texts([first, f"{first}cat", f"{first}{'bird ' * 30_000}", "dog " * 74])
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()
    assert (found[0] != found[3]).any()
    assert len(first) < TEXT_CHARS


def test_the_tokenizer_forgets_words_and_counts_them_alike(clip: ClipModel, monkeypatch) -> None:
    monkeypatch.setattr("filters.scores.clip_encoder.KEPT_WORDS", 10)
    assert KEPT_WORDS > 10
    made = ClipEncoder(clip, Device())
    texts = [f"word{letter} <end_of_text> tail" for letter in "abcdefghijklmnop"]
    before = made.embed_texts(texts)
    assert len(made._tokenizer.cache) < 10
    assert (made.embed_texts(texts) == before).all()


def test_published_weights_are_computed_with_their_activation(
    named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, astronaut: Image.Image
) -> None:
    """Without it, OpenAI's weights of ViT-L-14 give other embeddings, with a mere warning."""
    import open_clip

    weights = tiny_weights(tiny_config(quick_gelu=True))
    torch.save(weights, tmp_path / "tiny.pt")
    tag = {"url": f"file://{tmp_path}/tiny.pt", "quick_gelu": True}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, named, {"openai": tag})
    monkeypatch.setenv("HOME", str(tmp_path))
    found = embedded(ClipEncoder(ClipModel(model=named, weights="openai"), Device()), astronaut)
    right, plain = (
        open_clip.CLIP(**tiny_config(quick_gelu=quick)).eval() for quick in (True, False)
    )
    pixels = open_clip.image_transform(32, is_train=False)(astronaut)[None]
    expected = []
    for model in (right, plain):
        model.load_state_dict(weights)
        with torch.no_grad():
            expected.append(model.encode_image(pixels, normalize=True).numpy())
    np.testing.assert_allclose(found, expected[0], atol=1e-5)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    assert open_clip.get_pretrained_cfg("ViT-L-14", "openai")["quick_gelu"]


def test_weights_are_a_file_of_any_store_with_its_sha256(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: Image.Image
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = tmp_path / "tiny.safetensors"
    save_file(tiny_weights(tiny_config()), path)
    fsspec.filesystem("memory").pipe_file("/weights/tiny.safetensors", path.read_bytes())
    remote = ClipModel(model=named, weights="memory://weights/tiny.safetensors")
    found = [
        embedded(ClipEncoder(ClipModel(model=named, weights=str(path)), Device()), astronaut),
        embedded(ClipEncoder(pinned_clip(remote), Device()), astronaut),
    ]
    assert (found[0] == found[1]).all()
    assert pinned_clip(remote).weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ScorerError, match="sha256 is"):
        ClipEncoder(remote.model_copy(update={"weights_sha256": "0" * 64}), Device())


@pytest.mark.parametrize("weights", ["open_clip_pytorch_model.bin", "model.pth"])
def test_a_folder_whose_pickle_would_run_code_is_refused(weights: str, tmp_path: Path) -> None:
    folder = save_tiny_clip(tmp_path / "clip")
    (folder / "open_clip_model.safetensors").unlink()
    torch.save({"visual.proj": Exploit()}, folder / weights)
    with pytest.raises(ScorerError, match="CLIP local-dir"):
        ClipEncoder(ClipModel(model=f"local-dir:{folder}", weights=""), Device())


def test_a_file_whose_pickle_would_run_code_is_refused(named: str, tmp_path: Path) -> None:
    torch.save({"visual.proj": Exploit()}, tmp_path / "weights.pt")
    with pytest.raises(ScorerError, match=f"CLIP {named}"):
        ClipEncoder(ClipModel(model=named, weights=str(tmp_path / "weights.pt")), Device())


def test_a_folder_without_weights_is_refused_and_not_filled_with_random_ones(
    tmp_path: Path,
) -> None:
    folder = save_tiny_clip(tmp_path / "clip")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(ScorerError, match="could not be loaded"):
        ClipEncoder(ClipModel(model=f"local-dir:{folder}", weights=""), Device())


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("no-such-model", "openai", "CLIP no-such-model"),
        ("ViT-tiny", "no_such_tag", "CLIP ViT-tiny no_such_tag"),
        ("ViT-tiny", "", "expected weights, a tag or a file"),
        ("ViT-tiny", "gone/weights.pt", "gone/weights.pt: no such file"),
        ("ViT-tiny", "weights.npz", "expected a file that ends in .safetensors"),
        ("local-dir:no/such/folder", "", "no/such/folder"),
    ],
)
def test_a_clip_that_is_not_there_is_named(
    model: str, weights: str, message: str, named: str
) -> None:
    with pytest.raises(ScorerError, match=message):
        ClipEncoder(ClipModel(model=model, weights=weights), Device())


def test_memory_that_runs_out_halves_the_passes(clip: ClipModel, astronaut: Image.Image) -> None:
    made = ClipEncoder(clip, Device())
    made._images.size = 8  # as on a GPU
    encode = made._model.encode_image

    def small(part: torch.Tensor) -> torch.Tensor:
        if len(part) > 2:
            raise torch.OutOfMemoryError("too much")
        return encode(part)

    made._model.encode_image = small
    assert embedded(made, *[astronaut] * 5).shape == (5, 768)
    assert (made._images.size, made.halvings) == (2, 2)


def test_width_is_of_the_model(tmp_path: Path, astronaut: Image.Image) -> None:
    folder = save_tiny_clip(tmp_path / "clip")
    made = ClipEncoder(ClipModel(model=f"local-dir:{folder}", weights=""), Device())
    assert embedded(made, astronaut).shape == (1, WIDTH)


def test_the_bundled_clip_is_a_folder_of_the_model_package(monkeypatch, tmp_path: Path) -> None:
    save_tiny_clip(tmp_path / "bundled/clip")
    monkeypatch.setattr("filters.scores.bundled_clip.files", lambda package: tmp_path)
    clip = ClipModel(model=BUNDLED, weights="")
    assert len(pinned_clip(clip).weights_sha256) == 64
    assert ClipEncoder(clip, Device()).embed_texts(["a"]).shape == (1, WIDTH)
    (tmp_path / "bundled/clip/open_clip_config.json").unlink()
    with pytest.raises(ScorerError, match="name a model of open_clip"):
        ClipEncoder(clip, Device())
