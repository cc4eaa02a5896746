"""The jobs that a build would submit to Dataflow, made without it and without a network."""

import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator

from pipelines.engines.engine import Engine, shard_numbers
from pipelines.engines.profile import load_profile
from pipelines.runtime.chain import chain_name, in_jobs
from pipelines.runtime.map_shards import MapShards
from pipelines.runtime.stage import MapStage
from pipelines.splits.graph import Split
from pipelines.splits.links import LinkReader
from pipelines.splits.tasks import SplitTasks
from pipelines.stage_table import STAGES, make_stages
from pipelines.stages.shard import SubsetOutputs
from schemas.recipe import Recipe
from schemas.recipe_file import load_recipe
from schemas.store.storage import Storage
from schemas.subsets import T2I

RECIPE = "pipelines/recipes/vargpt-v1.1.yaml"
IMAGE = "us-docker.pkg.dev/my-project/corpus/cpu:1"
# What only the user knows; --dry_run and below keep the job here, and spare a `pip freeze`.
GIVEN = (
    "--project=my-project",
    "--region=us-central1",
    "--temp_location=gs://my-bucket/temp",
    f"--sdk_container_image={IMAGE}",
    "--dry_run=true",
    "--no_auth",
    "--experiments=disable_logging_submission_environment",
)


class DataflowJob(NamedTuple):
    """A job as the runner describes it to the service."""

    graph: Any  # beam_runner_api_pb2.Pipeline
    environment: Any  # google.cloud.dataflow_v1beta3.Environment
    faults: list[str]  # of the options, as Beam's validator sees them

    @property
    def pool(self) -> Any:
        """The one worker pool that the options describe."""
        (pool,) = self.environment.worker_pools
        return pool


def graphs(recipe: Recipe, store: Storage) -> Mapping[str, Callable[[Any], Any]]:
    """Map the name of each job of a build to what makes its graph of shard numbers."""
    made = make_stages(recipe)
    stages = {stage.name: stage for stage in made}
    chains = [[each for each in job if isinstance(each, MapStage)] for job in in_jobs(made)]

    outputs = SubsetOutputs(subset=T2I, shards=range(9), samples=100, outputs=2)

    def chained(chain: list[MapStage]) -> Callable[[Any], Any]:
        return lambda shards: shards | MapShards(chain, store)

    return {
        **{chain_name(chain): chained(chain) for chain in chains if chain},
        "dedup": lambda shards: stages["dedup"].expand(shards, store, "f"),
        "split": lambda shards: split_of(recipe, store).expand(shards, "f"),
        "shard": lambda shards: stages["shard"].expand_subset(shards, store, outputs),
        "report": lambda shards: stages["report"].expand(shards, store),
    }


def split_of(recipe: Recipe, store: Storage) -> Split:
    """Return what draws the held-out samples of nine shards."""
    reader = LinkReader(recipe=recipe, rows_of="tokens")
    return Split(store=store, tasks=SplitTasks(reader=reader, partitions=3, samples=100))


def submit(
    graph: Callable[[Any], Any], name: str, engine: Engine, *, stages: Collection[str], gpu: bool
) -> DataflowJob:
    """Make a job, up to where it would be sent."""
    from apache_beam.runners.dataflow.internal import apiclient

    options = PipelineOptions(list(engine.job_arguments(name, stages=stages, gpu=gpu)))
    pipeline = beam.Pipeline(options=options)
    faults = PipelineOptionsValidator(options, pipeline.runner).validate()
    graph(pipeline)
    job = pipeline.run().job
    described = apiclient.Environment(
        packages=[],
        options=job.options,
        environment_version="8",
        proto_pipeline_staged_url="gs://my-bucket/temp/pipeline.pb",
        proto_pipeline=job.proto_pipeline,
    )
    return DataflowJob(job.proto_pipeline, described.proto, faults)


@contextmanager
def no_network() -> Iterator[None]:
    """Refuse every connection of this process but those to itself."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
            raise AssertionError(f"a connection to {address}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        yield


@pytest.fixture(scope="session")
def dataflow_job() -> Callable[..., DataflowJob]:
    """Return a function that makes a job of a build, with further options of the user's."""
    pytest.importorskip("google.cloud.dataflow_v1beta3", reason="run `make test-dataflow`")

    @cache
    def make(name: str, *given: str, overrides: tuple[str, ...] = ()) -> DataflowJob:
        recipe = load_recipe(RECIPE, overrides)
        engine = Engine(profile=load_profile("dataflow"), beam_options=(*GIVEN, *given))
        graph = graphs(recipe, Storage("gs://my-bucket/corpus"))[name]
        first, _, last = name.partition("-to-")
        stages = STAGES[STAGES.index(first) : STAGES.index(last) + 1] if last else (name,)
        asks = {
            each.name for each in make_stages(recipe) if isinstance(each, MapStage) and each.gpu
        }
        gpu = bool(asks & {*stages})
        with no_network():
            return submit(
                lambda root: graph(shard_numbers(root, range(9))),
                name,
                engine,
                stages=stages,
                gpu=gpu,
            )

    return make
