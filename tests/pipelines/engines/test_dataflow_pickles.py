"""Workers run the package of their image: no code of ours travels in a job, only its names."""

import base64
import bz2
import io
import pickle
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.internal.cloudpickle import cloudpickle
from apache_beam.portability.api import beam_runner_api_pb2 as api

OURS = ("pipelines", "filters", "schemas", "model", "__main__")
PAR_DO = "beam:transform:pardo:v1"
COMBINE = "beam:transform:combine"


class Reader(pickle.Unpickler):
    """Loads a pickle and notes where it came from: `by_value` code, and `named` modules."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.by_value: set[str] = set()
        self.named: set[str] = set()

    def find_class(self, module_name: str, global_name: str) -> Any:
        self.named.add(module_name)
        found = super().find_class(module_name, global_name)
        if global_name == "_make_function":
            return self._make_function
        if global_name == "_make_skeleton_class":
            return self._make_class
        return found

    def _make_function(self, code: Any, base_globals: dict[str, Any], *rest: Any) -> Any:
        self.by_value.add(base_globals.get("__name__", code.co_filename))
        return cloudpickle._make_function(code, base_globals, *rest)

    def _make_class(self, kind: Any, name: str, bases: Any, members: Any, *rest: Any) -> Any:
        self.by_value.add(members.get("__module__", name))
        return cloudpickle._make_skeleton_class(kind, name, bases, members, *rest)


def payloads(graph: Any) -> Iterator[bytes]:
    """Yield what may be a pickle: functions, coders, windowings and composites."""
    parts = graph.components
    for transform in parts.transforms.values():
        spec = transform.spec
        if spec.urn == PAR_DO:
            par_do = api.ParDoPayload.FromString(spec.payload)
            yield par_do.do_fn.payload
            for side in par_do.side_inputs.values():
                yield from (side.view_fn.payload, side.window_mapping_fn.payload)
        elif spec.urn.startswith(COMBINE):
            yield api.CombinePayload.FromString(spec.payload).combine_fn.payload
        else:
            yield spec.payload
    yield from (coder.spec.payload for coder in parts.coders.values())
    yield from (each.window_fn.payload for each in parts.windowing_strategies.values())


def unpacked(payload: bytes) -> bytes | None:
    """Undo what Beam wraps a pickle in; None for what is none."""
    try:
        packed = base64.b64decode(payload, validate=True)
    except ValueError:
        return None
    for unpack in (bz2.decompress, zlib.decompress):
        try:
            return unpack(packed)
        except (OSError, ValueError, zlib.error):
            continue
    return None


def read(graph: Any) -> list[Reader]:
    readers = [Reader(data) for data in map(unpacked, payloads(graph)) if data]
    for reader in readers:
        reader.load()
    return readers


def ours(names: set[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] in OURS}


@pytest.mark.parametrize(
    "name",
    [
        "ingest-to-measure",
        "score-to-select",
        "dedup",
        "caption-to-vq_tokens",
        "split",
        "shard",
        "report",
    ],
)
def test_a_job_names_our_code_and_does_not_carry_it(
    name: str, dataflow_job: Callable[..., Any]
) -> None:
    readers = read(dataflow_job(name).graph)
    assert any(ours(reader.named) for reader in readers)
    for reader in readers:
        assert ours(reader.by_value) == set()
        assert "__main__" not in reader.named


def test_the_walk_finds_a_lambda_and_a_class_made_in_a_function() -> None:
    class Local(beam.DoFn):
        pass

    pipeline = beam.Pipeline(runner="FnApiRunner")
    _ = pipeline | beam.Create([1]) | "a" >> beam.Map(lambda x: x) | "b" >> beam.ParDo(Local())
    found = [reader.by_value for reader in read(pipeline.to_runner_api())]
    assert sum(__name__ in names for names in found) == 2
