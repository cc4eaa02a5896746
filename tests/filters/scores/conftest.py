from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import save_file
from tiny_clip import save_tiny_clip
from torch import nn

from filters.scorer import Subject
from filters.scores.packages import packaged_file
from schemas.score_config import ClipModel

LAION_WIDTH = 768
LONG_TEXT = "A woman in an orange suit smiles in front of a flag and a model of a rocket."
Draw = Callable[[Image.Image, str, tuple[int, int], int], Image.Image]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Torch computes in one thread, as in workers: tests run side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def astronaut() -> Image.Image:
    """A photograph of a face, by NASA and in the public domain, 512 x 512."""
    path = packaged_file("scikit-image", "skimage/data/astronaut.png")
    with Image.open(path) as image:
        return image.convert("RGB")


@pytest.fixture(scope="session")
def draw() -> Draw:
    """Return a function that draws words on a copy of an image."""

    def drawn(image: Image.Image, words: str, place: tuple[int, int], size: int) -> Image.Image:
        copy = image.copy()
        font = ImageFont.load_default(size)
        ImageDraw.Draw(copy).multiline_text(place, words, fill="white", font=font)
        return copy

    return drawn


@pytest.fixture(scope="session")
def subjects(astronaut: Image.Image, draw: Draw) -> list[Subject]:
    """Five images of different sizes, with texts of different lengths."""
    small = astronaut.resize((256, 256))
    drawn = draw(Image.new("RGB", (200, 120), "navy"), "Hello", (30, 30), 40)
    listed = [
        (small, LONG_TEXT),
        (drawn, ""),
        (
            small.crop((0, 0, 90, 250)),
            "ein Hund läuft über die grüne Wiese und bellt laut vor Freude",
        ),
        (Image.new("RGB", (64, 48), "grey"), "a grey wall"),
        (small.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "word " * 300),
    ]
    return [Subject(key=str(n), image=i, text=t) for n, (i, t) in enumerate(listed)]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> ClipModel:
    """A tiny CLIP of random weights, with embeddings as wide as LAION's heads read."""
    folder = save_tiny_clip(tmp_path_factory.mktemp("clip"), LAION_WIDTH)
    return ClipModel(model=f"local-dir:{folder}", weights="")


def linear_tensors(prefix: str, width: int, values: int) -> dict[str, torch.Tensor]:
    layer = nn.Linear(width, values)
    return {f"{prefix}weight": layer.weight.detach(), f"{prefix}bias": layer.bias.detach()}


def layered(prefixes: list[str], sizes: list[int]) -> dict[str, torch.Tensor]:
    """Random weights of linear layers."""
    tensors: dict[str, torch.Tensor] = {}
    for prefix, width, values in zip(prefixes, sizes[:-1], sizes[1:], strict=True):
        tensors |= linear_tensors(prefix, width, values)
    return tensors


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Heads of random weights, in the layouts and formats that LAION published."""
    torch.manual_seed(0)
    named = [f"linear_{number}." for number in (1, 2, 3, 4)]
    norm = {
        "norm.mean": torch.randn(LAION_WIDTH) / 100,
        "norm.variance": torch.rand(LAION_WIDTH) / 1000 + 1e-4,
    }
    tensors = {
        "linear.pth": layered([""], [LAION_WIDTH, 1]),
        "mlp.safetensors": layered(
            [f"layers.{number}." for number in (0, 2, 4, 6, 7)], [LAION_WIDTH, 1024, 128, 64, 16, 1]
        ),
        "l14.pth": norm | layered(named, [LAION_WIDTH, 64, 512, 256, 1]),
        "h14.pth": layered(
            [f"layers.{number}." for number in (0, 3, 6, 9, 12, 15, 16)],
            [1024, 1024, 2048, 1024, 256, 128, 16, 1],
        ),
    }
    folder = tmp_path_factory.mktemp("heads")
    for name, each in tensors.items():
        torch.save(each, folder / name) if name.endswith("pth") else save_file(each, folder / name)
    return {Path(name).stem: folder / name for name in tensors}


@pytest.fixture(scope="session")
def watermark_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The watermark network with random weights, saved as LAION published it."""
    import timm

    torch.manual_seed(0)
    network = timm.create_model("efficientnet_b3", pretrained=False, num_classes=2)
    network.classifier = nn.Sequential(
        *(nn.Linear(1536, 625), nn.ReLU(), nn.Dropout(0.3)),
        *(nn.Linear(625, 256), nn.ReLU(), nn.Linear(256, 2)),
    )
    # Features of random layers are of about 4e-5: let images differ, and classes.
    network.classifier[0].weight.data *= 2e5
    network.classifier[5].weight.data *= 3
    path = tmp_path_factory.mktemp("watermark") / "watermark_model_v1.pt"
    torch.save(network.state_dict(), path)
    return path
