"""No shuffle carries the bytes of an image or of tokens: the graphs are walked, and watched."""

import io
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.metrics.metric import Metrics, MetricsFilter
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.typehints import typehints
from PIL import Image

from pipelines.engines.engine import shard_numbers
from pipelines.runtime.map_shards import MapShards
from pipelines.runtime.stage import MapStage
from pipelines.splits.graph import Split
from pipelines.splits.links import LinkReader
from pipelines.splits.tasks import SplitTasks
from pipelines.stage_table import make_stages
from pipelines.stages.shard import SubsetOutputs
from schemas.recipe_file import parse_recipe
from schemas.store.storage import Storage
from schemas.subsets import T2I

SHARDS = 2
IMAGES = 4  # a shard
RECIPE = parse_recipe(
    {
        "name": "small",
        "sources": [{"name": "web", "kind": "list", "path": "a.csv", "quota": 5}],
    }
)
Graph = Callable[[Any, Storage], Any]


def graph_of(*stages: MapStage) -> Graph:
    return lambda shards, store: shards | MapShards(stages, store)


def split_of(store: Storage) -> Split:
    """Return what draws held-out samples."""
    reader = LinkReader(recipe=RECIPE, rows_of="tokens")
    return Split(store=store, tasks=SplitTasks(reader=reader, partitions=2, samples=10))


STAGES: Mapping[str, Any] = {stage.name: stage for stage in make_stages(RECIPE)}
GRAPHS: Mapping[str, Graph] = {
    **{name: graph_of(stage) for name, stage in STAGES.items() if isinstance(stage, MapStage)},
    "ingest-to-select": graph_of(
        *(STAGES[name] for name in ("ingest", "crawl", "measure", "score", "select"))
    ),
    "dedup": lambda shards, store: STAGES["dedup"].expand(shards, store, "f"),
    "shard": lambda shards, store: STAGES["shard"].expand_subset(
        shards, store, SubsetOutputs(subset=T2I, shards=range(2), samples=0, outputs=2)
    ),
    "split": lambda shards, store: split_of(store).expand(shards, "f"),
    "report": lambda shards, store: STAGES["report"].expand(shards, store),
}
# Those that need no network: crawled rows are laid out by hand.
IN_ORDER = ("measure", "score", "select", "dedup", "caption", "pair", "vq_tokens", "shard")
SHUFFLES = (beam.GroupByKey, beam.CombinePerKey, beam.CoGroupByKey, beam.Reshuffle)
HEAVY = (bytes, bytearray, memoryview, np.ndarray, Image.Image)


def leaf_types(hint: Any) -> Iterator[Any]:
    """Yield the types that a declared type is made of, down into named tuples and dataclasses."""
    inner = getattr(hint, "tuple_types", None) or getattr(hint, "union_types", None)
    if inner is None:
        inner = get_args(hint)
    if not inner and hasattr(hint, "inner_type"):
        inner = (hint.inner_type,)
    if not inner and (hasattr(hint, "_fields") or is_dataclass(hint)):
        inner = tuple(get_type_hints(hint).values())
    if isinstance(hint, typehints.DictConstraint):
        inner = (hint.key_type, hint.value_type)
    if inner:
        for part in inner:
            yield from leaf_types(part)
    else:
        yield hint


class WithBytes(NamedTuple):
    key: str
    body: bytes


class Shuffled(PipelineVisitor):
    """Collects (label, element type) of whatever goes into a shuffle."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Any]] = []

    def enter_composite_transform(self, transform_node: AppliedPTransform) -> None:
        self.visit_transform(transform_node)

    def visit_transform(self, transform_node: AppliedPTransform) -> None:
        if isinstance(transform_node.transform, SHUFFLES):
            self.found += [
                (transform_node.full_label, pcoll.element_type) for pcoll in transform_node.inputs
            ]


@pytest.mark.parametrize("name", GRAPHS)
def test_every_shuffle_declares_what_it_carries_and_that_is_no_bytes(name: str, tmp_path: Path):
    pipeline = beam.Pipeline(runner=FnApiRunner())
    GRAPHS[name](shard_numbers(pipeline, range(2)), Storage(str(tmp_path)))
    visitor = Shuffled()
    pipeline.visit(visitor)
    assert visitor.found
    for label, hint in visitor.found:
        leaves = list(leaf_types(hint))
        assert set(leaves) & {Any, typehints.Any, object} == set(), f"{label}: {hint}"
        assert [leaf for leaf in leaves if leaf in HEAVY] == [], f"{label}: {hint}"


def test_the_walk_finds_bytes_however_deep():
    deep = typehints.Tuple[int, typehints.List[typehints.Tuple[int, bytes]]]
    for hint in (deep, tuple[int, dict[str, bytes] | None], tuple[str, WithBytes]):
        assert bytes in list(leaf_types(hint))


def parts_of(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, Mapping):
        for pair in value.items():
            yield from parts_of(pair)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from parts_of(part)


def weigh(element: Any) -> Any:
    """Pass on an element of a shuffle, and count its pickled size, and bytes in it."""
    Metrics.distribution("watch", "size").update(len(pickle.dumps(element)))
    heavy = any(isinstance(part, HEAVY) for part in parts_of(element))
    Metrics.counter("watch", "heavy").inc(int(heavy))
    return element


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put `weigh` before every GroupByKey, in composites of Beam's own as well."""
    apply = beam.Pipeline.apply
    numbers = iter(range(1000))

    def watching(self, transform, pvalueish=None, label=None, *rest):
        if isinstance(transform, beam.GroupByKey):
            watch = beam.Map(weigh).with_output_types(pvalueish.element_type)
            pvalueish = apply(self, watch, pvalueish, f"Weigh{next(numbers)}")
        return apply(self, transform, pvalueish, label, *rest)

    monkeypatch.setattr(beam.Pipeline, "apply", watching)


@pytest.fixture(scope="module")
def noisy() -> Callable[[int], bytes]:
    """Return a function that draws images that do not compress: over 100 kB each."""

    def draw(seed: int) -> bytes:
        grain = np.frombuffer(np.arange(200 * 200).astype("<u4").tobytes(), np.uint8)
        pixels = (grain.astype(np.uint32) * (2654435761 + seed) >> 7).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels[: 200 * 200 * 3].reshape(200, 200, 3)).save(file, "BMP")
        return file.getvalue()

    return draw


@pytest.mark.slow
def test_while_a_corpus_is_built_no_element_of_a_shuffle_grows_with_the_images(
    desk, noisy: Callable[[int], bytes], watched: None
):
    desk.put_plan(["web"] * SHARDS)
    for shard in range(SHARDS):
        desk.put_images(shard, {f"{shard}-{n}": noisy(shard * 10 + n) for n in range(IMAGES)})
    smallest = min(row["length"] for shard in range(SHARDS) for row in desk.rows("raw", shard))
    assert smallest > 100_000
    largest: dict[str, int] = {}
    for name in IN_ORDER:
        pipeline = beam.Pipeline(runner=FnApiRunner())
        GRAPHS[name](shard_numbers(pipeline, range(SHARDS)), desk.store)
        result = pipeline.run()
        result.wait_until_finish()
        found = result.metrics().query(MetricsFilter().with_namespace("watch"))
        assert sum(counter.committed for counter in found["counters"]) == 0, name
        largest[name] = max(sizes.committed.max for sizes in found["distributions"])
    assert desk.store.listing("shards").keys() >= {"t2i.json"}
    assert max(largest.values()) < smallest / 20, largest


@pytest.mark.slow
def test_more_rows_put_no_more_elements_into_the_shuffles_of_dedup(
    make_desk, tmp_path: Path, watched: None
):
    elements = []
    for images in (150, 600):
        desk = make_desk(tmp_path / str(images))
        for shard in range(SHARDS):
            rows = [
                {
                    "key": f"{shard:016x}{number:016x}",
                    "sha256": f"{number // 2:064x}",
                    "phash": number % 7,
                    "colour_layout": f"{number % 5:02x}",
                    "text": f"text {number % 3}",
                }
                for number in range(images)
            ]
            for folder in ("sources", "raw", "signals", "selection"):
                desk.put(folder, shard, rows)
        pipeline = beam.Pipeline(runner=FnApiRunner())
        GRAPHS["dedup"](shard_numbers(pipeline, range(SHARDS)), desk.store)
        result = pipeline.run()
        result.wait_until_finish()
        sizes = result.metrics().query(MetricsFilter().with_name("size"))["distributions"]
        elements.append(sum(size.committed.count for size in sizes))
    assert elements[0] == elements[1] > 0


def test_only_the_tokens_ask_for_an_accelerator_and_only_where_the_recipe_does(
    tmp_path: Path,
) -> None:
    gpu = {"vq_tokens": {"gpu": {"type": "nvidia-l4", "count": 2, "min_ram": "24GB"}}}
    recipe = parse_recipe(RECIPE.model_dump(mode="json") | gpu)
    stages = [stage for stage in make_stages(recipe) if isinstance(stage, MapStage)]
    assert "vq_tokens" in [stage.name for stage in stages]
    for stage in stages:
        asked = hints_of(stage, tmp_path)
        if stage.name == "vq_tokens":
            accelerator = b"type:nvidia-l4;count:2;install-nvidia-driver:5xx"
            assert asked["beam:resources:accelerator:v1"] == accelerator
            assert int(asked["beam:resources:min_ram_bytes:v1"]) == 24 * 10**9
        else:
            assert asked == {}
    assert hints_of(STAGES["vq_tokens"], tmp_path) == {}


def hints_of(stage: MapStage, folder: Path) -> dict[str, bytes]:
    """Return the resource hints of the environments in a stage's graph."""
    pipeline = beam.Pipeline(runner=FnApiRunner())
    shard_numbers(pipeline, range(2)) | MapShards([stage], Storage(str(folder)))
    proto = pipeline.to_runner_api()
    found: dict[str, bytes] = {}
    for environment in proto.components.environments.values():
        found |= environment.resource_hints
    return found
