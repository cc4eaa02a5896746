"""The small CLIP that ships with this package, for open_clip."""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "bundled" / "clip"
BUNDLED: Final = "bundled"  # its name in recipes and options
WEIGHTS: Final = "open_clip_model.safetensors"  # the name that open_clip expects in a folder


FILES: Final = ("open_clip_config.json", "tokenizer.json", "tokenizer_config.json", WEIGHTS)


def bundled_clip() -> tuple[str, Path]:
    """Return open_clip's name of the bundled CLIP, and the file of its weights.

    The name is all that open_clip needs, and it reads no network:

        name, weights = bundled_clip()
        model, preprocess = open_clip.create_model_from_pretrained(name)
        tokenizer = open_clip.get_tokenizer(name)

    The folder's README.md says what the model can do, and what it cannot.
    """
    return f"local-dir:{FOLDER}", FOLDER / WEIGHTS


def bundled_clip_files() -> list[Path]:
    """Return the files that decide the embeddings of the bundled CLIP, for a hash of them."""
    return [FOLDER / name for name in FILES]
