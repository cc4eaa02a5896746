"""Image tokenizers, VARGPT, its loader and its training, without Beam. `__all__` is for users."""

from typing import TYPE_CHECKING

from schemas.lazy_names import lazily

if TYPE_CHECKING:
    from model.data.batch import Batch
    from model.data.loader import Loader
    from model.data.manifest import Source, read_manifest
    from model.data.plan import LoadPlan, Shuffle
    from model.data.text import TextEncoder, with_image_tokens
    from model.data.text_tokenizer import bundled_text_tokenizer
    from model.preferences.scorers import Scorer
    from model.tokenizers.load import load_tokenizer
    from model.tokenizers.protocol import Codes, Tokenizer
    from model.training.trained import Trained, load_trained, save_trained
    from model.vargpt.config import PRESETS, VargptConfig
    from model.vargpt.generate import Answer, Prompt, generate
    from model.vargpt.loss import LossConfig, losses
    from model.vargpt.sampling import Sampling
    from model.vargpt.vargpt import Vargpt

__all__ = [
    "PRESETS",
    "Answer",
    "Batch",
    "Codes",
    "LoadPlan",
    "Loader",
    "LossConfig",
    "Prompt",
    "Sampling",
    "Scorer",
    "Shuffle",
    "Source",
    "TextEncoder",
    "Tokenizer",
    "Trained",
    "Vargpt",
    "VargptConfig",
    "bundled_text_tokenizer",
    "generate",
    "load_tokenizer",
    "load_trained",
    "losses",
    "read_manifest",
    "save_trained",
    "with_image_tokens",
]

__getattr__ = lazily(__name__, __file__)
