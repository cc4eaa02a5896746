"""Export of a trained captioner: a folder that transformers loads, figures and a model card."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from filters.scores.clip_encoder import ClipEncoder
from model.captioner_training.captions import caption_of
from model.captioner_training.card import Example, Made, card
from model.captioner_training.clip import embed_texts
from model.captioner_training.evaluate import (
    FREQUENT,
    NEAREST,
    OURS,
    Line,
    compare,
    most_frequent,
    nearest,
    scores,
)
from model.captioner_training.network import MAX_TOKENS, WEIGHTS, CaptionerSizes, make_captioner
from model.captioner_training.training import Trained
from model.image_text.facts import CARD, FIGURES, Facts
from model.image_text.pairs import Pair
from model.image_text.weights import halves
from schemas.keys import rank
from schemas.store.whole_file import publish

AT_ONCE: Final = 64  # images
EXAMPLES: Final = 8  # of a part, in the card


@dataclass(frozen=True, kw_only=True, slots=True)
class Learnt:
    """What the training images say to the other methods."""

    captions: Sequence[str]
    clip_NC: NDArray[np.float32]  # CLIP's embeddings of the images, of length 1


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """Held-out images to caption."""

    pairs: Sequence[Pair]
    images: Sequence[NDArray[np.uint8]]  # [H, W, 3]
    groups: Sequence[str]  # of the pairs, for the bootstrap
    clip_NC: NDArray[np.float32]  # CLIP's embeddings of the images, of length 1


def export(
    trained: Trained,
    sizes: CaptionerSizes,
    learnt: Learnt,
    tests: Mapping[str, HeldOut],
    clip: ClipEncoder,
    facts: Facts,
    out: Path,
    held_out: Mapping[str, Sequence[str]],
) -> Mapping[str, Sequence[Line]]:
    """Write the weights, caption with the written folder, and write figures and card.

    Args:
        trained: the captioner.
        sizes: of the network.
        learnt: for the other methods.
        tests: the held-out images of each part.
        clip: that compares captions with images.
        facts: for the card.
        out: folder, local, with the files of `network.write_parts`.
        held_out: names of all images of each part.
    """
    write_weights(trained, sizes, out)
    said = {name: captions(out, test.images) for name, test in tests.items()}
    lines: dict[str, list[Line]] = {}
    examples: dict[str, list[Example]] = {}
    for name, test in tests.items():
        methods = {
            OURS: said[name],
            FREQUENT: [most_frequent(learnt.captions)] * len(test.pairs),
            NEAREST: nearest(test.clip_NC, learnt.clip_NC, learnt.captions),
        }
        lines[name] = _compared(test, methods, clip)
        examples[name] = _examples(test.pairs, methods)
    made = Made(
        parameters=sum(x.numel() for x in _loaded(out)[0].parameters()),
        size=(out / WEIGHTS).stat().st_size,
        seconds=trained.seconds,
        lines=lines,
        examples=examples,
        images={name: len(test.pairs) for name, test in tests.items()},
        groups={name: len({*test.groups}) for name, test in tests.items()},
    )
    numbers = {
        "evaluation": {name: [asdict(line) for line in found] for name, found in lines.items()},
        "unreadable": dict(facts.unreadable),
        "held_out": {name: [*names] for name, names in held_out.items()},
        "curve": [*trained.curve],
    }
    publish(out / FIGURES, json.dumps(numbers, indent=1).encode() + b"\n")
    publish(out / CARD, card(sizes, facts, made).encode())
    return lines


def write_weights(trained: Trained, sizes: CaptionerSizes, out: Path) -> None:
    """Write weights in float16, configuration and settings of generation."""
    model: Any = make_captioner(sizes, _tokenizer(out))
    model.load_state_dict(halves(trained.weights))
    model.half().save_pretrained(out)


def captions(folder: Path, images: Sequence[NDArray[np.uint8]]) -> list[str]:
    """Caption images by a folder of transformers, as its captioning engine does: greedily, fp32."""
    model, processor = _loaded(folder)
    tokenizer = _tokenizer(folder)
    said: list[str] = []
    for start in range(0, len(images), AT_ONCE):
        batch = [Image.fromarray(image) for image in images[start : start + AT_ONCE]]
        pixels_B3ss = processor(images=batch, return_tensors="pt").pixel_values
        with torch.no_grad():
            tokens_BT = model.generate(
                pixel_values=pixels_B3ss, max_new_tokens=MAX_TOKENS, do_sample=False, num_beams=1
            )
        texts = tokenizer.batch_decode(tokens_BT, skip_special_tokens=True)
        said += [text.strip() for text in texts]
    return said


def _loaded(folder: Path) -> tuple[Any, Any]:
    import transformers as tf

    model = tf.VisionEncoderDecoderModel.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    return model.eval(), tf.AutoImageProcessor.from_pretrained(folder, local_files_only=True)


def _tokenizer(folder: Path) -> Any:
    import transformers as tf

    return tf.AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _compared(test: HeldOut, methods: Mapping[str, Sequence[str]], clip: ClipEncoder) -> list[Line]:
    titles = [caption_of(pair) for pair in test.pairs]
    found = {
        method: scores(said, titles, embed_texts(clip, said), test.clip_NC)
        for method, said in methods.items()
    }
    return compare(found, test.groups)


def _examples(pairs: Sequence[Pair], methods: Mapping[str, Sequence[str]]) -> list[Example]:
    """Return the captions of some images, which a hash draws."""
    drawn = sorted(range(len(pairs)), key=lambda number: rank(pairs[number].name, "example"))
    return [
        Example(
            title=caption_of(pairs[number]),
            said=methods[OURS][number],
            nearest=methods[NEAREST][number],
        )
        for number in drawn[:EXAMPLES]
    ]
