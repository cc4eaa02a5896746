"""The shard contract: how the JSON of a sample is written, and how it is checked."""

import json
import math
from collections.abc import Mapping
from typing import Any

from schemas.conversation import message_faults
from schemas.markers import IMAGE as IMAGE
from schemas.markers import IMAGE_GEN as IMAGE_GEN
from schemas.subsets import Subset

CONTRACT_VERSION = 5


def encode_json(sample: Mapping[str, Any], subset: Subset) -> bytes:
    """Write a sample's JSON as it stands in a shard: fields in the subset's order, UTF-8.

    Raises:
        ValueError: if a field is missing, not in the contract, of another type, or not finite.
    """
    faults = json_faults(sample, subset)
    if faults:
        raise ValueError(f"sample {sample.get('key')!r}: {'; '.join(faults)}")
    ordered = {name: sample[name] for name in subset.fields}
    return json.dumps(ordered, ensure_ascii=False, allow_nan=False).encode()


def json_faults(sample: Mapping[str, Any], subset: Subset) -> list[str]:
    """Say in what a parsed sample breaks the contract; empty if in nothing."""
    fields = subset.fields
    faults = [f"field {name!r} is missing" for name in fields if name not in sample]
    faults += [f"field {name!r} is not in the contract" for name in sample if name not in fields]
    for name, type_ in fields.items():
        value = sample.get(name)
        if name in sample and type(value) is not type_:
            faults.append(f"field {name!r} is {value!r}, expected {type_.__name__}")
    if not faults:
        faults += [fault.detail for fault in message_faults(sample["messages"], subset)]
        faults += [
            f"signal {name!r} is {value!r}, expected a finite number of 64 bits, a flag or a string"
            for name, value in sample.get("signals", {}).items()
            if not _is_signal(value)
        ]
    return faults


def _is_signal(value: Any) -> bool:
    """Tell if every reader holds the value: `datasets` has no integer over 63 bits and a sign."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, str)
