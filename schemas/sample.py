"""The shard contract: what a sample of the corpus consists of, and how it is checked."""

import json
from collections.abc import Mapping
from typing import Any

CONTRACT_VERSION = 1
IMAGE_GEN = "<image_gen>"  # marks the generated image in a message
IMAGE = "<image>"  # marks an input image

# JSON type of every field of KEY.json; signals are one object of numbers, flags and strings.
T2I_FIELDS: Mapping[str, type] = {
    "key": str,
    "messages": list,
    "caption": str,
    "caption_origin": str,
    "text": str,
    "title": str,
    "tags": list,
    "source": str,
    "url": str,
    "licence": str,
    "author": str,
    "sha256": str,
    "width": int,
    "height": int,
    "signals": dict,
    "template": str,
    "recipe": str,
}


def encode_json(sample: Mapping[str, Any]) -> bytes:
    """Write a sample's JSON as it stands in a shard: fields in the contract's order, UTF-8.

    Raises:
        ValueError: if a field is missing, of another type, null, or not finite.
    """
    faults = json_faults(sample)
    if faults:
        raise ValueError(f"sample {sample.get('key')!r}: {'; '.join(faults)}")
    ordered = {name: sample[name] for name in T2I_FIELDS}
    return json.dumps(ordered, ensure_ascii=False, allow_nan=False).encode()


def json_faults(sample: Mapping[str, Any]) -> list[str]:
    """Say in what a parsed sample breaks the contract; empty if in nothing."""
    faults = [f"field {name!r} is missing" for name in T2I_FIELDS if name not in sample]
    faults += [
        f"field {name!r} is not in the contract" for name in sample if name not in T2I_FIELDS
    ]
    for name, type_ in T2I_FIELDS.items():
        value = sample.get(name)
        if name in sample and type(value) is not type_:
            faults.append(f"field {name!r} is {value!r}, expected {type_.__name__}")
    if not faults:
        faults += _message_faults(sample["messages"])
        faults += [f"signal {k!r} is {v!r}" for k, v in sample["signals"].items() if v is None]
    return faults


def _message_faults(messages: list[Any]) -> list[str]:
    faults: list[str] = []
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:  # type: ignore[arg-type]
            faults.append(f"messages[{number}] is {message!r}, expected role and content")
    marks = sum(str(message.get("content", "")).count(IMAGE_GEN) for message in messages)
    if not faults and marks != 1:
        faults.append(f"{marks} {IMAGE_GEN} marks in the messages, expected 1")
    return faults
