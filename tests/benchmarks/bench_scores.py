"""Scores a second and core by scorer; what further scorers on one CLIP cost.

    python tests/benchmarks/bench_scores.py [--runs 3] [--images 12]

One process with one thread, and its CPU seconds: what else the machine does counts little. Images
are bundled ones (PNGs of openclipart) and a photograph with a face, each with a text.

CLIP is ViT-B-32 with random weights, as are LAION's heads and the watermark network: weights do not
change the speed. Beside it runs the plain loop of open_clip's own documentation: an image and a
text at a time, the cosine, no store. With one to four scorers on one CLIP, passes of the image
tower are counted by a hook.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import ROOT, report, spread
from PIL.Image import Image
from pydantic import TypeAdapter
from torch import nn

from filters.decode import decode
from filters.scorer import Batch, Device, Scorer, Subject
from filters.scores.clip_encoder import encoder
from filters.scores.packages import packaged_file
from filters.scores.registry import make_scorer
from schemas import score_config as settings

CLIP = "ViT-B-32"
WIDTH = 512
TEXT = "a drawing of a thing that somebody gave to openclipart, number {}"


def images(count: int) -> list[Subject]:
    """Return the photograph and bundled drawings, RGB."""
    photo = packaged_file("scikit-image", "skimage/data/astronaut.png")
    paths = sorted((ROOT / "tests/corpus/openclipart").rglob("*.png"))
    drawings = paths[:: max(1, len(paths) // (count - 1))][: count - 1]
    return [
        Subject(key=str(number), image=decoded(path), text=TEXT.format(number))
        for number, path in enumerate([photo, *drawings])
    ]


def decoded(path: Path) -> Image:
    return decode(path.read_bytes(), max_pixels=10**8)


def layers(prefixes: Sequence[str], sizes: Sequence[int]) -> dict[str, torch.Tensor]:
    """Return random weights of linear layers."""
    tensors: dict[str, torch.Tensor] = {}
    for prefix, width, values in zip(prefixes, sizes[:-1], sizes[1:], strict=True):
        layer = nn.Linear(width, values)
        tensors |= {f"{prefix}{name}": each.detach() for name, each in layer.named_parameters()}
    return tensors


def write_weights(folder: Path) -> dict[str, str]:
    """Write weights of all networks in the published layouts; return their paths."""
    import open_clip
    import timm

    torch.manual_seed(0)
    norm = {"norm.mean": torch.zeros(WIDTH), "norm.variance": torch.ones(WIDTH)}
    watermark = timm.create_model("efficientnet_b3", pretrained=False, num_classes=0).state_dict()
    made = {
        "clip": open_clip.create_model(CLIP).state_dict(),
        "linear": layers([""], [WIDTH, 1]),
        "mlp": layers([f"layers.{n}." for n in (0, 2, 4, 6, 7)], [WIDTH, 1024, 128, 64, 16, 1]),
        "nsfw": norm | layers([f"linear_{n}." for n in (1, 2, 3)], [WIDTH, 32, 32, 1]),
        "watermark": watermark
        | layers([f"classifier.{n}." for n in (0, 3, 5)], [1536, 625, 256, 2]),
    }
    for name, tensors in made.items():
        torch.save(tensors, folder / f"{name}.pt")
    return {name: str(folder / f"{name}.pt") for name in made}


def scorers(paths: dict[str, str]) -> dict[str, Scorer]:
    """Return a scorer of each kind; the last four read one CLIP."""
    clip = {"model": CLIP, "weights": paths["clip"]}
    laion = {"voter": "laion", "head": paths["nsfw"], "clip": clip}
    configs: dict[str, dict[str, Any]] = {
        "language": {"score": "language"},
        "nsfw (Open-NSFW)": {"score": "nsfw"},
        "watermark": {"score": "watermark", "weights": paths["watermark"]},
        "faces": {"score": "faces"},
        "image_text": {"score": "image_text"},
        "clip": {"score": "clip", "clip": clip},
        "aesthetic (linear)": {"score": "aesthetic", "head": paths["linear"], "clip": clip},
        "aesthetic (MLP)": {"score": "aesthetic", "head": paths["mlp"], "clip": clip},
        "nsfw (LAION)": {"score": "nsfw", "voters": [laion]},
    }
    read = TypeAdapter(settings.Scorer).validate_python
    return {name: make_scorer(read(config), Device()) for name, config in configs.items()}


def score(made: Sequence[Scorer], subjects: Sequence[Subject]) -> None:
    """Score images by several scorers; the embeddings of a CLIP are computed once."""
    found: dict[str, np.ndarray] = {}

    def embeddings(clip: settings.ClipModel) -> np.ndarray:
        if clip.model not in found:
            network = encoder(clip, Device())
            prepared = [network.prepare(subject.image) for subject in subjects]
            found[clip.model] = network.embed_images(prepared)
        return found[clip.model]

    for scorer in made:
        scorer.score(
            Batch(
                keys=[subject.key for subject in subjects],
                texts=[subject.text for subject in subjects],
                prepared=[scorer.prepare(subject) for subject in subjects],
                embeddings=embeddings,
            )
        )


def plain_loop(paths: dict[str, str]) -> Callable[[Sequence[Subject]], None]:
    """Return the loop of open_clip's documentation."""
    import open_clip

    made: Any = open_clip.create_model_and_transforms(CLIP, pretrained=paths["clip"])
    model, _, preprocess = made
    model.eval()
    tokenizer = open_clip.get_tokenizer(CLIP)

    def loop(subjects: Sequence[Subject]) -> None:
        with torch.no_grad():
            for subject in subjects:
                image = model.encode_image(preprocess(subject.image)[None])
                text = model.encode_text(tokenizer([subject.text]))
                image /= image.norm(dim=-1, keepdim=True)
                text /= text.norm(dim=-1, keepdim=True)
                (image @ text.T).item()

    return loop


def cpu_ms(work: Callable[[], None], count: int) -> float:
    """Return the CPU milliseconds of an image."""
    started = time.process_time()
    work()
    return (time.process_time() - started) / count * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--images", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    subjects = images(options.images)
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(io.StringIO()):
        paths = write_weights(Path(folder))
        made, plain = scorers(paths), plain_loop(paths)
        passes: list[int] = []
        visual = encoder(
            settings.ClipModel(model=CLIP, weights=paths["clip"]), Device()
        )._model.visual
        visual.register_forward_hook(lambda *_: passes.append(1))
        for warm in (*([scorer] for scorer in made.values()), [*made.values()]):
            score(warm, subjects[:2])
        plain(subjects[:2])
        on_clip = list(made.values())[-4:]
        together = {f"{n} on one CLIP": on_clip[:n] for n in (1, 2, 3, 4)}
        times: dict[str, list[float]] = {}
        counted: dict[str, int] = {}
        for _ in range(options.runs):
            for name, each in {**{k: [v] for k, v in made.items()}, **together}.items():
                passes.clear()
                took = cpu_ms(lambda each=each: score(each, subjects), len(subjects))
                times.setdefault(name, []).append(took)
                counted[name] = len(passes)
            took = cpu_ms(lambda: plain(subjects), len(subjects))
            times.setdefault("plain open_clip loop", []).append(took)
    report(
        "scores",
        {
            "images": len(subjects),
            "runs": options.runs,
            "clip": CLIP,
            "cpu_ms_an_image": {name: spread(each) for name, each in times.items()},
            "scores_a_second_and_core": {
                name: float(f"{1000 / sorted(each)[len(each) // 2]:.3g}")
                for name, each in times.items()
            },
            "passes_of_the_image_tower": {name: n for name, n in counted.items() if n},
        },
    )


if __name__ == "__main__":
    main()
