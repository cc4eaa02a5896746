"""Pinning of a model that writes captions: the sha256 of its folder's files."""

from filters.captioner import EngineError
from filters.scorer import ScorerError
from filters.scores.weights_hash import folder_sha256
from schemas.caption_config import CaptionEngine, TransformersEngine, VllmEngine

# Of a folder of transformers: all that decides its answers.
MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
# vLLM also reads weights and tokenizers in other formats and, if told to, code.
VLLM_FILES = (*MODEL_FILES, "*.bin", "*.pt", "*.pth", "*.gguf", "*.tiktoken", "*.py")


def is_folder(model: str) -> bool:
    """Return whether a model is the path of a folder, and not a name on the hub.

    A recipe's own relative paths are absolute once it is read.
    """
    return model.startswith((".", "/", "~")) or "://" in model


def pinned_engine(engine: CaptionEngine) -> CaptionEngine:
    """Return the settings with the sha256 of the model's folder, so that a change is noticed.

    A model on the hub is known by its name and revision.

    Raises:
        EngineError: there is no such folder, it has another sha256 than the settings say, or the
            settings have a sha256 for a name on the hub.
    """
    if not isinstance(engine, TransformersEngine | VllmEngine):
        return engine
    return engine.model_copy(update={"model_sha256": model_sha256(engine)})


def model_sha256(engine: TransformersEngine | VllmEngine) -> str:
    """Return the sha256 of a model's folder, or '' for a name on the hub.

    Raises:
        EngineError: as `pinned_engine`.
    """
    where = f"caption.engines.{engine.name}.model: {engine.model}"
    if not is_folder(engine.model):
        if engine.model_sha256:
            raise EngineError(f"{where}: only a folder has a sha256; give a revision instead")
        return ""
    expected = f"{where}: expected a local folder with a model"
    if "://" in engine.model:
        raise EngineError(expected)
    try:
        files = VLLM_FILES if isinstance(engine, VllmEngine) else MODEL_FILES
        found = folder_sha256(engine.model, files)
    except ScorerError as error:
        raise EngineError(expected) from error
    if engine.model_sha256 and engine.model_sha256 != found:
        raise EngineError(f"{where}: sha256 is {found}, expected {engine.model_sha256}")
    return found
