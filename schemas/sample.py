"""The shard contract: what a sample of the corpus consists of, and how it is checked."""

import json
import math
from collections.abc import Mapping
from typing import Any, cast

from schemas.markers import IMAGE as IMAGE
from schemas.markers import IMAGE_GEN as IMAGE_GEN

CONTRACT_VERSION = 2

# JSON type of every field of KEY.json; signals are one object of numbers, flags and strings.
# No list but the messages, which are never empty: of five samples with empty lists `datasets`
# learns lists of nothing, and fails at the first that is not.
T2I_FIELDS: Mapping[str, type] = {
    "key": str,
    "messages": list,
    "caption": str,
    "caption_origin": str,
    "text": str,
    "title": str,
    "tags": str,  # joined by ", "
    "source": str,
    "url": str,
    "licence": str,
    "author": str,
    "sha256": str,
    "width": int,  # of the image in the shard, px
    "height": int,  # of the image in the shard, px
    "crop_aspect": float,  # height / width of the shape that was tokenized; 1.0 for squares
    "signals": dict,  # what was measured of the image as fetched, by column
    "template": str,
    "recipe": str,  # fingerprint of the recipe's content
}

# KEY.json of a pair of images, one chosen over the other as the answer to a prompt.
PREFERENCE_FIELDS: Mapping[str, type] = {
    "key": str,
    "messages": list,
    "prompt": str,  # what scorers read
    "source": str,  # of the prompt
    "url": str,  # of the chosen image where it is no model's, '' if unknown
    "licence": str,  # of that image, '' if unknown
    "pairs": str,  # paper: chosen is the image that the prompt came with; scored: both a model's
    "chosen_seed": str,  # that the model drew it with; '' for the prompt's own image
    "rejected_seed": str,  # the same of the rejected image
    "chosen_score": float,  # by `scorer`; 0.0 where nothing was scored
    "rejected_score": float,  # the same of the rejected image
    "margin": float,  # score of the chosen above the rejected
    "scorer": str,  # '' for none
    "samples": int,  # images that the model drew of the prompt
    "model": str,  # sha256 of config and weights
    "sampling": str,  # guidance, temperature, top-k and top-p
    "crop_aspect": float,  # height / width of both images as they were tokenized
}


def encode_json(sample: Mapping[str, Any], fields: Mapping[str, type] = T2I_FIELDS) -> bytes:
    """Write a sample's JSON as it stands in a shard: fields in the contract's order, UTF-8.

    Raises:
        ValueError: if a field is missing, not in the contract, of another type, or not finite.
    """
    faults = json_faults(sample, fields)
    if faults:
        raise ValueError(f"sample {sample.get('key')!r}: {'; '.join(faults)}")
    ordered = {name: sample[name] for name in fields}
    return json.dumps(ordered, ensure_ascii=False, allow_nan=False).encode()


def json_faults(sample: Mapping[str, Any], fields: Mapping[str, type] = T2I_FIELDS) -> list[str]:
    """Say in what a parsed sample breaks the contract; empty if in nothing."""
    faults = [f"field {name!r} is missing" for name in fields if name not in sample]
    faults += [f"field {name!r} is not in the contract" for name in sample if name not in fields]
    for name, type_ in fields.items():
        value = sample.get(name)
        if name in sample and type(value) is not type_:
            faults.append(f"field {name!r} is {value!r}, expected {type_.__name__}")
    if not faults:
        faults += _message_faults(sample["messages"])
        faults += [
            f"signal {name!r} is {value!r}, expected a finite number of 64 bits, a flag or a string"
            for name, value in sample.get("signals", {}).items()
            if not _is_signal(value)
        ]
    return faults


def _message_faults(messages: list[Any]) -> list[str]:
    faults = [
        f"messages[{number}] is {message!r}, expected role and content"
        for number, message in enumerate(messages)
        if not _is_message(message)
    ]
    if faults:
        return faults
    marks = sum(message["content"].count(IMAGE_GEN) for message in messages)
    return [] if marks == 1 else [f"{marks} {IMAGE_GEN} marks in the messages, expected 1"]


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    fields = cast(dict[str, Any], message)
    return set(fields) == {"role", "content"} and all(isinstance(v, str) for v in fields.values())


def _is_signal(value: Any) -> bool:
    """Tell if every reader holds the value: `datasets` has no integer over 63 bits and a sign."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, str)
