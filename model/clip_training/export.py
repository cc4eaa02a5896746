"""Export of a training's state: a folder that open_clip loads, figures and a model card."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save

from filters.scores.bundled_clip import WEIGHTS
from model.clip_training.card import Made, card
from model.clip_training.evaluate import Figures, evaluate
from model.clip_training.network import ClipSizes, write_folder
from model.clip_training.parts import Trained
from model.image_text.facts import CARD, FIGURES, Facts
from model.image_text.pairs import Pair
from model.image_text.weights import halves
from schemas.store.whole_file import publish

TAGS_SHOWN: Final = 4  # in a text of title and tags


def export(
    trained: Trained,
    sizes: ClipSizes,
    pairs: Sequence[Pair],
    images: Sequence[NDArray[np.uint8]],
    facts: Facts,
    out: Path,
    held_out: Sequence[str],
) -> Mapping[str, Figures]:
    """Write the weights, evaluate the written folder, and write figures and card.

    Each file is replaced atomically, the card last.

    Args:
        trained: the CLIP.
        sizes: of the network.
        pairs: that were held out.
        images: of them, uint8 [H, W, 3].
        facts: for the card.
        out: folder, local.
        held_out: names of all images in the held-out groups.
    """
    write_folder(out, sizes)
    publish(out / WEIGHTS, save(halves(trained.weights)))
    found = evaluate_folder(out, pairs, images)
    made = Made(
        parameters=sum(x.numel() for x in trained.weights.values()),
        size=(out / WEIGHTS).stat().st_size,
        seconds=trained.seconds,
        figures=found,
    )
    numbers = {
        "evaluation": {name: asdict(line) for name, line in found.items()},
        "unreadable": dict(facts.unreadable),
        "held_out": list(held_out),
        "curves": dict(trained.curves),
    }
    publish(out / FIGURES, json.dumps(numbers, indent=1).encode() + b"\n")
    publish(out / CARD, card(sizes, facts, made, weights=WEIGHTS, numbers=FIGURES).encode())
    return found


def evaluate_folder(
    folder: Path, pairs: Sequence[Pair], images: Sequence[NDArray[np.uint8]]
) -> dict[str, Figures]:
    """Load a folder in the same way as a user, and measure it with two kinds of texts."""
    import open_clip

    name = f"local-dir:{folder}"
    # open_clip's type hints are wrong: this returns two values.
    model, preprocess = open_clip.create_model_from_pretrained(name)  # type: ignore[misc]
    tokenizer = open_clip.get_tokenizer(name)
    titles = [pair.subject for pair in pairs]
    tags = {pair.subject: pair.tags[:TAGS_SHOWN] for pair in reversed(pairs)}
    tagged = [", ".join([title, *tags[title]]) for title in titles]
    return {
        kind: evaluate(model.eval(), preprocess, tokenizer, images, texts)
        for kind, texts in (("title", titles), ("title and tags", tagged))
    }
