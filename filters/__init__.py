"""Signals, scores, rules, decoding and captions, pure code without Beam. `__all__` is for users."""

from typing import TYPE_CHECKING

from schemas.lazy_names import lazily

if TYPE_CHECKING:
    from filters.caption import source_caption
    from filters.cleaning import clean
    from filters.decode import DecodeError
    from filters.decode import decode as decode_image
    from filters.face_blur import FaceBlur
    from filters.registry import SIGNALS, columns, make_signal
    from filters.rules import judge
    from filters.scorer import Batch, Device, Scorer, ScorerError, Subject
    from filters.scores.bundled_clip import bundled_clip
    from filters.scores.registry import make_scorer
    from filters.signal import Column, Record, Signal, Values
    from filters.words import count_words

__all__ = [
    "SIGNALS",
    "Batch",
    "Column",
    "DecodeError",
    "Device",
    "FaceBlur",
    "Record",
    "Scorer",
    "ScorerError",
    "Signal",
    "Subject",
    "Values",
    "bundled_clip",
    "clean",
    "columns",
    "count_words",
    "decode_image",
    "judge",
    "make_scorer",
    "make_signal",
    "source_caption",
]

__getattr__ = lazily(__name__, __file__)
