"""A tiny CLIP of random weights, saved as open_clip saves its models."""

import json
from pathlib import Path
from typing import Any

WIDTH = 12


def tiny_config(width: int = WIDTH, **settings: Any) -> dict[str, Any]:
    """Return the configuration of a CLIP of open_clip with embeddings of a width."""
    text = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    return {"embed_dim": width, "vision_cfg": vision, "text_cfg": text, **settings}


def tiny_weights(config: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """Return random weights of a configuration."""
    import open_clip
    import torch

    torch.manual_seed(seed)
    return open_clip.CLIP(**config).state_dict()


def save_tiny_clip(folder: Path, width: int = WIDTH, seed: int = 0) -> Path:
    """Write configuration and weights, to be loaded as `local-dir:FOLDER`; return the folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = tiny_config(width)
    preprocess = {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3}
    written = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(written))
    save_file(tiny_weights(config, seed), folder / "open_clip_model.safetensors")
    return folder
