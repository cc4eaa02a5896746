"""LAION's watermark network with random weights, saved as its authors publish it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from filters.scorer import Device, Subject
from filters.scores.registry import make_scorer
from filters.scores.score_images import score_images
from schemas.score_config import WatermarkScore
from schemas.store.checkpoint import CheckpointError

pytestmark = pytest.mark.slow  # importing timm takes seconds


def scores(subjects: list[Subject], weights: Path, sha256: str = "") -> np.ndarray:
    config = WatermarkScore(score="watermark", weights=str(weights), weights_sha256=sha256)
    return np.asarray(score_images(make_scorer(config, Device()), subjects, Device())["watermark"])


def features(image: Image.Image, weights: Path) -> np.ndarray:
    """What the head reads, by timm's own EfficientNet-B3."""
    import timm

    pixels = np.asarray(image.resize((256, 256), Image.Resampling.BILINEAR), np.float64) / 255
    normalised = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    network = timm.create_model("efficientnet_b3", pretrained=False, num_classes=0).eval()
    tensors = torch.load(weights, weights_only=True)
    network.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("classifier.")})
    with torch.no_grad():
        return network(torch.tensor(normalised.transpose(2, 0, 1)[None]).float()).numpy()[0]


def test_the_probability_is_the_softmax_of_the_head_s_first_value(
    subjects: list[Subject], watermark_weights: Path
) -> None:
    head = {
        key.removeprefix("classifier."): value.double().numpy()
        for key, value in torch.load(watermark_weights, weights_only=True).items()
        if key.startswith("classifier.")
    }
    assert head["0.weight"].shape == (625, 1536)
    assert head["3.weight"].shape == (256, 625)
    expected = []
    for subject in subjects[:3]:
        x = features(subject.image, watermark_weights)
        for layer in ("0", "3"):
            x = np.maximum(head[f"{layer}.weight"] @ x + head[f"{layer}.bias"], 0)
        watermark, clear = head["5.weight"] @ x + head["5.bias"]
        expected.append(np.exp(watermark) / (np.exp(watermark) + np.exp(clear)))
    found = scores(subjects[:3], watermark_weights)
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert len({f"{value:.3f}" for value in expected}) == 3
    assert abs(found[0] - 0.5) > 0.01


def test_weights_that_do_not_fit_are_refused(
    subjects: list[Subject], watermark_weights: Path, tmp_path: Path
) -> None:
    tensors = torch.load(watermark_weights, weights_only=True)
    del tensors["classifier.3.bias"]
    torch.save(tensors, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"other\.pt does not fit.*classifier\.3\.bias"):
        scores(subjects[:1], tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="sha256 is"):
        scores(subjects[:1], watermark_weights, "0" * 64)
