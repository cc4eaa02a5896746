"""The CLIP to train: its configuration for open_clip, and its text tokenizer."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from filters.scores.bundled_clip import CONFIG
from model.data.text_tokenizer import BUNDLED

if TYPE_CHECKING:
    from open_clip import CLIP
    from open_clip.tokenizer import HFTokenizer

END: Final = "<|endoftext|>"
SCALE_MOST: Final = math.log(100)  # of the logits, as in CLIP


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipSizes:
    """The sizes of both towers: open_clip's ResNet, and its text transformer."""

    embed_dim: int = 192
    image_size: int = 64  # px
    image_layers: tuple[int, int, int, int] = (1, 2, 2, 1)  # blocks of each stage
    image_width: int = 16  # channels of the stem; the last stage has 32 times as many
    context_length: int = 16  # tokens
    text_width: int = 192
    text_heads: int = 4
    text_layers: int = 2


def clip_config(sizes: ClipSizes) -> dict[str, Any]:
    """Return the configuration of a folder that open_clip loads: `model_cfg` and `preprocess_cfg`.

    Images are shrunk whole onto a white square: clip art has its subject at the edges too.
    """
    vocabulary = json.loads((BUNDLED / "tokenizer.json").read_text())["added_tokens"]
    ids = {token["content"]: token["id"] for token in vocabulary}
    return {
        "model_cfg": {
            "embed_dim": sizes.embed_dim,
            "vision_cfg": {
                "image_size": sizes.image_size,
                "layers": list(sizes.image_layers),
                "width": sizes.image_width,
            },
            "text_cfg": {
                "context_length": sizes.context_length,
                "vocab_size": max(ids.values()) + 1,
                "hf_tokenizer_name": ".",  # of a local folder, open_clip takes the folder itself
                "tokenizer_kwargs": {"clean": "canonicalize"},  # lower case, no punctuation
                "width": sizes.text_width,
                "heads": sizes.text_heads,
                "layers": sizes.text_layers,
                "pool_type": "eos",
                "eos_id": ids[END],
            },
        },
        "preprocess_cfg": {
            "mean": [0.75, 0.75, 0.75],
            "std": [0.33, 0.33, 0.33],
            "interpolation": "bicubic",
            "resize_mode": "longest",
            "fill_color": 255,
        },
    }


def write_folder(folder: Path, sizes: ClipSizes) -> None:
    """Write everything but the weights: the configuration and the text tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(clip_config(sizes), indent=1) + "\n")
    for name, written in tokenizer_files().items():
        text = json.dumps(written, ensure_ascii=False, separators=(",", ":"))
        (folder / name).write_text(text + "\n")


def tokenizer_files() -> dict[str, Mapping[str, Any]]:
    """Return the bundled text tokenizer's files, changed to what CLIP needs.

    A space before the text gives a word the same token at its start as later on. The end token
    after the text is where the text tower's output is read.
    """
    tokenizer = json.loads((BUNDLED / "tokenizer.json").read_text())
    end = next(token["id"] for token in tokenizer["added_tokens"] if token["content"] == END)
    tokenizer["normalizer"] = {
        "type": "Sequence",
        "normalizers": [tokenizer["normalizer"], {"type": "Prepend", "prepend": " "}],
    }
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": END, "type_id": 0}},
        ],
        "pair": [
            {"Sequence": {"id": "A", "type_id": 0}},
            {"Sequence": {"id": "B", "type_id": 1}},
        ],
        "special_tokens": {END: {"id": END, "ids": [end], "tokens": [END]}},
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # keeps both changes above
        "eos_token": END,
        "pad_token": END,
        "unk_token": END,
    }
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": config}


def make_clip(sizes: ClipSizes, seed: int) -> "CLIP":
    """Build the network, with random weights of a seed."""
    import torch
    from open_clip import CLIP

    torch.manual_seed(seed)
    return CLIP(**clip_config(sizes)["model_cfg"])


def text_tokenizer(folder: Path) -> "HFTokenizer":
    """Load the text tokenizer of a folder, in the same way as a user."""
    import open_clip

    made: Any = open_clip.get_tokenizer(f"local-dir:{folder}")
    return made


def bound_scale(clip: Any) -> None:
    """Keep the scale of the logits of open_clip's CLIP between 1 and 100, as in CLIP."""
    import torch

    with torch.no_grad():
        clip.logit_scale.clamp_(0, SCALE_MOST)
