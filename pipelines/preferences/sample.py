"""The members of a pair in a shard."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL.Image import Image

from model.preferences.pairs import GIVEN
from model.preferences.sampling import Drawn
from model.tokenizers.protocol import CodeArray
from pipelines.preferences.inputs import Prepared
from pipelines.preferences.tools import described_sampling
from pipelines.shards.sample_image import jpeg
from pipelines.shards.write_shard import npy
from schemas.recipe import ShardConfig
from schemas.sample import encode_json
from schemas.subsets import Subset


def facts_of(made_by: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON fields that all samples share, from the settings of the stage."""
    return {
        "pairs": made_by["pairs"],
        "samples": made_by["samples"],
        "scorer": made_by["scorer"][0] if made_by["scorer"] else "",
        "model": made_by["model"],
        "sampling": described_sampling(made_by["sampling"]),
    }


def sample_json(
    prompt: Mapping[str, Any], pair: Mapping[str, Any], facts: Mapping[str, Any], subset: Subset
) -> bytes:
    """Return the JSON of a sample.

    Args:
        prompt: the sample's row of schema PROMPTS.
        pair: the sample's row of schema PREFERENCES.
        facts: the fields that all samples share, see `facts_of`.
        subset: the subset of the sample.
    """
    chosen, rejected = pair["chosen"], pair["rejected"]
    is_given = chosen == GIVEN
    sample = {
        "key": prompt["key"],
        "messages": prompt["messages"],
        "prompt": prompt["text"],
        "source": prompt["source"],
        "url": prompt["url"] if is_given else "",
        "licence": prompt["licence"] if is_given else "",
        "chosen_seed": "" if is_given else pair["seeds"][chosen],
        "rejected_seed": pair["seeds"][rejected],
        "chosen_score": _score(pair, chosen),
        "rejected_score": _score(pair, rejected),
        "margin": pair["margin"],
        "crop_aspect": prompt["aspect"],
        "listed": "{}",
        **facts,
    }
    return encode_json(sample, subset)


def sample_members(
    prepared: Prepared,
    drawn: Sequence[Drawn],
    pair: Mapping[str, Any],
    json: bytes,
    codes: str,
    subset: Subset,
    shard: ShardConfig,
) -> dict[str, bytes]:
    """Return the members of a sample, in order.

    Args:
        prepared: the prompt with its images.
        drawn: the model's images.
        pair: the chosen and the rejected image, a row of schema PREFERENCES.
        json: the JSON of the sample, from `sample_json`.
        codes: name of the codes' member, without `chosen.` or `rejected.`.
        subset: the subset of the sample.
        shard: settings that images are written with.
    """
    found = {"json": json}
    for prefix, number in zip(subset.generated, (pair["chosen"], pair["rejected"]), strict=True):
        image, codes_L = _image(prepared, drawn, number)
        found |= {f"{prefix}jpg": jpeg(image, shard), f"{prefix}{codes}": npy(codes_L)}
    if subset.input_image:
        assert prepared.edited is not None
        found[subset.input_image] = jpeg(prepared.edited, shard)
    return {member: found[member] for member in subset.members([codes])}


def _score(pair: Mapping[str, Any], number: int) -> float:
    """Return the score of an image of a pair; 0.0 without a scorer."""
    if number == GIVEN:
        return pair["given_score"]
    return pair["scores"][number] if pair["scores"] else 0.0


def _image(prepared: Prepared, drawn: Sequence[Drawn], number: int) -> tuple[Image, CodeArray]:
    if number != GIVEN:
        return drawn[number].image, drawn[number].codes
    assert prepared.given is not None
    assert prepared.codes is not None
    return prepared.given, prepared.codes
