"""Loading of models of transformers that read images and texts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch

from filters.captioner import EngineError
from filters.captions.model_pin import is_folder

INSTALL: Final = "pip install 'vargpt-corpus[captions]'"


@dataclass(frozen=True, slots=True)
class _Parts:
    """A processor of models that have none: for pixels and for words."""

    image_processor: Any
    tokenizer: Any


def load(name: str, revision: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """Return processor and model, on the CPU; no code and no pickle of theirs is run.

    Args:
        name: path of a folder, or a name on the hub.
        revision: of a name on the hub; '' for the newest.
        dtype: of the weights.

    Raises:
        EngineError: transformers or the model is missing, the model is damaged, or takes no images.
    """
    try:
        import transformers
    except ImportError as error:
        raise EngineError(f"caption: {error}; {INSTALL}") from error
    known: dict[str, Any] = {"trust_remote_code": False}
    if is_folder(name):
        known["local_files_only"] = True
    elif revision:
        known["revision"] = revision
    try:
        maker: Any = transformers.AutoModelForImageTextToText
        model, loaded = maker.from_pretrained(
            name, dtype=dtype, use_safetensors=True, output_loading_info=True, **known
        )
        processor = _processor(transformers, name, known)
    except ImportError as error:
        raise EngineError(f"{name}: {error}; {INSTALL}") from error
    except Exception as error:  # damaged files raise nearly every class
        raise EngineError(f"{name}: {_reason(error)}; {_advice(name)}") from error
    if missing := sorted(loaded["missing_keys"]):
        raise EngineError(f"{name}: the weights lack {len(missing)} tensors, first {missing[0]}")
    model.generation_config.update(
        do_sample=False, num_beams=1, temperature=None, top_p=None, top_k=None, max_length=None
    )
    model.generation_config.forced_eos_token_id = None  # it would hide that an answer was cut off
    return processor, model


def _processor(transformers: Any, name: str, known: Mapping[str, Any]) -> Any:
    processor = transformers.AutoProcessor.from_pretrained(name, **known)
    if hasattr(processor, "image_processor") and hasattr(processor, "tokenizer"):
        return processor
    return _Parts(
        transformers.AutoImageProcessor.from_pretrained(name, **known),
        transformers.AutoTokenizer.from_pretrained(name, **known),
    )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__


def _advice(name: str) -> str:
    if is_folder(name):
        return (
            "expected a folder of transformers with a model that takes images and text: "
            "config.json, *.safetensors, and the files of its processor"
        )
    return (
        "expected a model on the hub that takes images and text, with safetensors; without a "
        "network give the path of a folder"
    )
