"""The small CLIP of clip art and emoji that ships with this package, in open_clip's format."""

from importlib.resources import files
from pathlib import Path
from typing import Final

from filters.scorer import ScorerError
from schemas.score_config import BUNDLED, LOCAL_DIR

CONFIG: Final = "open_clip_config.json"  # these names are open_clip's
WEIGHTS: Final = "open_clip_model.safetensors"


def bundled_clip() -> str:
    """Return open_clip's name of the bundled CLIP: `local-dir:` and its folder.

    The name is all that open_clip needs, and no file is downloaded:

        model, preprocess = open_clip.create_model_from_pretrained(bundled_clip())
        tokenizer = open_clip.get_tokenizer(bundled_clip())

    README.md in the folder says what it can do, and what it cannot.

    Raises:
        ScorerError: it is not there.
    """
    folder = Path(str(files("model"))) / "bundled" / "clip"
    if not (folder / CONFIG).is_file():
        raise ScorerError(
            f"clip.model {BUNDLED}: {folder} has no {CONFIG}; install the package again, or "
            "name a model of open_clip"
        )
    return f"{LOCAL_DIR}{folder}"
