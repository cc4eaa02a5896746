"""What the answers that captions rest on cost at a recipe's prices."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pipelines.runtime.sidecar import Origin, Used, add_used
from schemas.caption_config import CaptionConfig, CaptionEngine, OpenAiEngine

MILLION: Final = 1_000_000


def bill(config: CaptionConfig, captions: Iterable[Origin]) -> list[dict[str, Any]]:
    """Return a line for each engine of a recipe: its answers, tokens, and money if it has prices.

    Args:
        config: of the recipe.
        captions: footers of the side-cars of captions.
    """
    used: Mapping[str, Used] = {}
    for origin in captions:
        used = add_used(used, origin.used)
    lines: list[dict[str, Any]] = []
    for engine in config.engines:
        line = used.get(engine.name, Used())
        money = money_of(line, engine)
        priced = {} if money is None else {"money": money}
        lines.append({"engine": engine.name, **line._asdict(), **priced})
    return lines


def money_of(used: Used, engine: CaptionEngine) -> float | None:
    """Return what answers cost, in the money of the recipe's prices; None without prices."""
    if not isinstance(engine, OpenAiEngine) or not (engine.prompt_price or engine.completion_price):
        return None
    cost = used.prompt_tokens * engine.prompt_price
    return (cost + used.completion_tokens * engine.completion_price) / MILLION
