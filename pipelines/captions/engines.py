"""Which class stands behind each engine of a recipe; its module is imported when it is asked."""

from filters.captioner import CaptionEngine
from schemas import caption_config as config

_made: dict[str, CaptionEngine] = {}  # by settings; they keep models and connections


def make_engine(engine: config.CaptionEngine) -> CaptionEngine:
    """Return the engine of this process for some settings; nothing is loaded or opened yet.

    Raises:
        EngineError: a package of it is not installed.
    """
    return _made.setdefault(engine.model_dump_json(), _make(engine))


def _make(engine: config.CaptionEngine) -> CaptionEngine:
    if isinstance(engine, config.OpenAiEngine):
        from pipelines.captions.openai_client import OpenAiCaptioner

        return OpenAiCaptioner(config=engine)
    if isinstance(engine, config.VllmEngine):
        from pipelines.captions.vllm_server import VllmCaptioner

        return VllmCaptioner(config=engine)
    if isinstance(engine, config.TransformersEngine):
        from filters.captions.transformers_engine import TransformersCaptioner

        return TransformersCaptioner(config=engine)
    from filters.captions.custom import CustomCaptioner

    return CustomCaptioner(config=engine)
