"""A pair as it stands in a shard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL.Image import Image

from model.preferences.pairs import GIVEN, Preference
from model.preferences.sampling import Drawn
from model.tokenizers.protocol import CodeArray
from pipelines.preferences.inputs import Prepared
from pipelines.shards.write_shard import jpeg, npy
from schemas.recipe import ShardConfig
from schemas.sample import PREFERENCE_FIELDS, encode_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Which image is preferred, and by what."""

    pair: Preference
    scores: Sequence[float]  # of the drawn images; none where nothing was scored
    given_score: float  # of the given image; 0.0 where it was not scored

    def score(self, number: int) -> float:
        """Return the score of an image of the pair, 0.0 where nothing was scored."""
        if number == GIVEN:
            return self.given_score
        return self.scores[number] if self.scores else 0.0


def sample_members(
    prepared: Prepared,
    drawn: Sequence[Drawn],
    verdict: Verdict,
    facts: Mapping[str, Any],
    codes: str,
    shard: ShardConfig,
) -> dict[str, bytes]:
    """Return the members of a sample, in their order.

    Args:
        prepared: the prompt and what it came with.
        drawn: the model's images.
        verdict: which two to take.
        facts: the fields of the JSON that are the same for all samples.
        codes: name of the member with an image's codes, without what it begins with.
        shard: how images are written.
    """
    row, pair = prepared.row, verdict.pair
    is_given = pair.chosen == GIVEN
    sample = {
        "key": row["key"],
        "messages": row["messages"],
        "prompt": row["text"],
        "source": row["source"],
        "url": row["url"] if is_given else "",
        "licence": row["licence"] if is_given else "",
        "chosen_seed": "" if is_given else drawn[pair.chosen].seed,
        "rejected_seed": drawn[pair.rejected].seed,
        "chosen_score": verdict.score(pair.chosen),
        "rejected_score": verdict.score(pair.rejected),
        "margin": pair.margin,
        "crop_aspect": row["aspect"],
        **facts,
    }
    chosen, chosen_codes = _image(prepared, drawn, pair.chosen)
    rejected, rejected_codes = _image(prepared, drawn, pair.rejected)
    members = {
        "chosen.jpg": jpeg(chosen, shard),
        f"chosen.{codes}": npy(chosen_codes),
        "json": encode_json(sample, PREFERENCE_FIELDS),
        "rejected.jpg": jpeg(rejected, shard),
        f"rejected.{codes}": npy(rejected_codes),
    }
    if prepared.edited is not None:
        members["source.jpg"] = jpeg(prepared.edited, shard)
    return members


def _image(prepared: Prepared, drawn: Sequence[Drawn], number: int) -> tuple[Image, CodeArray]:
    if number != GIVEN:
        return drawn[number].image, drawn[number].codes
    assert prepared.given is not None
    assert prepared.codes is not None
    return prepared.given, prepared.codes
