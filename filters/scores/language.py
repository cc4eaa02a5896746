"""The language of the text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import regex

from filters.scorer import Batch, Device, Scores, Subject
from filters.scores.packages import package_identity, packages_of
from filters.scores.process_cache import once_a_process
from filters.signal import Column
from schemas.score_config import LanguageScore

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

PACKAGE: Final = "py3langid"
MODEL: Final = "py3langid/data/model.npz.xz"
READ_CHARS: Final = 2_000  # more text changes nothing
_LETTERS = regex.compile(r"[\p{L}\p{M}]")


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageScorer:
    """The language of the text, as an ISO 639 code, and its probability among 140 languages.

    A text with fewer letters than `min_chars` has language '' and probability 0. Of a long text
    the first 2,000 characters are read. The image is not read.
    """

    config: LanguageScore
    device: Device

    needs_image = False
    clips = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The language and its probability."""
        name, least = self.config.name, self.config.min_chars
        code = f"language of the text, ISO 639; '' for less than {least} letters"
        return (
            Column(name=name, type=pa.string(), meaning=code),
            Column(
                name=f"{name}_probability",
                type=pa.float32(),
                meaning=f"probability of the language; 0 for less than {least} letters",
                nothing=0.0,
            ),
        )

    def identity(self) -> Mapping[str, Any]:
        """Return package and settings."""
        return {
            "scorer": "language",
            "version": 1,
            **package_identity(PACKAGE, MODEL),
            "min_chars": self.config.min_chars,
            "preprocessing": f"the first {READ_CHARS} characters",
        }

    def prepare(self, subject: Subject) -> None:
        """Return nothing: the image is not read."""

    def score(self, batch: Batch) -> Scores:
        """Return language and probability of each text."""
        found = [language_of(text, self.config.min_chars) for text in batch.texts]
        return {
            self.config.name: [language for language, _ in found],
            f"{self.config.name}_probability": [probability for _, probability in found],
        }


def language_of(text: str, min_chars: int) -> tuple[str, float]:
    """Return the language of a text and its probability; '' and 0 for too few letters.

    Raises:
        ScorerError: the detector's package is missing.
    """
    read = text[:READ_CHARS]
    if len(_LETTERS.findall(read)) < min_chars:
        return "", 0.0
    return identifier().classify(read)


@once_a_process
def identifier() -> "LanguageIdentifier":
    """Return the detector, with probabilities that add up to 1.

    Raises:
        ScorerError: its package is missing.
    """
    with packages_of("scores"):
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
