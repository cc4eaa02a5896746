"""The scorers that a recipe can name; the module of a kind is imported when it is asked for."""

from collections.abc import Iterable

from filters.scorer import Device, Scorer
from filters.signal import Column
from schemas import score_config as settings


def make_scorer(config: settings.Scorer, device: Device) -> Scorer:
    """Return the scorer of a section of the recipe; no model is loaded yet."""
    match config:
        case settings.ClipScore():
            from filters.scores.clip import ClipScorer

            return ClipScorer(config=config, device=device)
        case settings.AestheticScore():
            from filters.scores.aesthetic import AestheticScorer

            return AestheticScorer(config=config, device=device)
        case settings.NsfwScore():
            from filters.scores.nsfw import NsfwScorer

            return NsfwScorer(config=config, device=device)
        case settings.WatermarkScore():
            from filters.scores.watermark import WatermarkScorer

            return WatermarkScorer(config=config, device=device)
        case settings.ImageTextScore():
            from filters.scores.image_text import ImageTextScorer

            return ImageTextScorer(config=config, device=device)
        case settings.FacesScore():
            from filters.scores.faces import FacesScorer

            return FacesScorer(config=config, device=device)
        case settings.LanguageScore():
            from filters.scores.language import LanguageScorer

            return LanguageScorer(config=config, device=device)
        case settings.CustomScore():
            from filters.scores.custom import CustomScorer

            return CustomScorer(config=config, device=device)


def score_columns(config: settings.Scorer) -> tuple[Column, ...]:
    """Return the columns that a scorer stores; no model and no package of models is loaded."""
    return make_scorer(config, Device()).columns


def columns_of(scorers: Iterable[settings.Scorer]) -> tuple[Column, ...]:
    """Return the columns of several scorers, in order."""
    return tuple(column for config in scorers for column in score_columns(config))
