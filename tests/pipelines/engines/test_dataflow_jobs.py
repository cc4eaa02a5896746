"""Every job of a build, as it would be sent to Dataflow: machines, images, accelerators."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from pipelines.build import Build
from pipelines.engines.engine import Engine, shard_numbers
from pipelines.engines.profile import load_profile
from pipelines.runtime.claims import Claims
from pipelines.stages.vq_tokens import VqTokens
from schemas.recipe_file import parse_recipe

CRAWL, SCORES, TOKENS = "ingest-to-measure", "score-to-select", "caption-to-vq_tokens"
GPU_STEPS = {SCORES: "score", TOKENS: "vq_tokens"}  # the step of a job that has a GPU
JOBS = (CRAWL, SCORES, "dedup", TOKENS, "shard", "report")
IMAGE = "us-docker.pkg.dev/my-project/corpus/cpu:1"
ACCELERATOR, MIN_RAM = "beam:resources:accelerator:v1", "beam:resources:min_ram_bytes:v1"
SHUFFLES = ("beam:transform:group_by_key:v1", "beam:transform:reshuffle:v1")
VCPUS_GB = {"n2-standard-4": (4, 16), "n2-highmem-4": (4, 32)}

every_job = pytest.mark.parametrize("name", JOBS)
MakeJob = Callable[..., Any]


def hinted(job: Any, hint: str) -> dict[str, bytes]:
    """Map the transforms whose workers a hint is for to its value."""
    parts = job.graph.components
    hints = {name: each.resource_hints for name, each in parts.environments.items()}
    return {
        transform.unique_name: hints[transform.environment_id][hint]
        for transform in parts.transforms.values()
        if hint in hints.get(transform.environment_id, {})
    }


def images(job: Any) -> set[str]:
    return {image.container_image for image in job.pool.sdk_harness_container_images}


@every_job
def test_beams_own_validation_has_no_complaint(name: str, dataflow_job: MakeJob) -> None:
    assert dataflow_job(name).faults == []


@every_job
def test_scores_and_tokens_alone_ask_for_an_accelerator_and_only_to_compute(
    name: str, dataflow_job: MakeJob
) -> None:
    wanted: Mapping[str, bytes] = {}
    if name in GPU_STEPS:
        gpu = b"type:nvidia-l4;count:1;machine_type:g2-standard-8;install-nvidia-driver:5xx"
        wanted = {f"MapShards({name})/Run({GPU_STEPS[name]})": gpu}
    assert hinted(dataflow_job(name), ACCELERATOR) == wanted
    assert hinted(dataflow_job(name), MIN_RAM).keys() == wanted.keys()


def test_no_shuffle_runs_where_the_gpu_is(dataflow_job: MakeJob) -> None:
    job = dataflow_job(TOKENS)
    shuffles = {
        each.unique_name
        for each in job.graph.components.transforms.values()
        if each.spec.urn in SHUFFLES
    }
    assert shuffles
    assert not shuffles & hinted(job, ACCELERATOR).keys()


def test_a_recipe_without_a_gpu_tokenizes_on_every_core(dataflow_job: MakeJob) -> None:
    job = dataflow_job(TOKENS, overrides=("vq_tokens.gpu=null",))
    assert hinted(job, ACCELERATOR) == {}
    assert "use_multiple_sdk_containers" in job.environment.experiments
    assert job.pool.machine_type == "n2-standard-4"


@every_job
def test_a_worker_has_memory_for_each_of_its_processes(name: str, dataflow_job: MakeJob) -> None:
    job = dataflow_job(name)
    vcpus, gigabytes = VCPUS_GB[job.pool.machine_type]
    # A process was seen to take 1.1 GB, and a second thread decodes a second shard.
    assert gigabytes / vcpus >= 4
    assert (job.pool.machine_type == "n2-highmem-4") == (name == "dedup")
    assert job.pool.num_threads_per_worker == (8 if name in GPU_STEPS else 2)


@every_job
def test_a_vm_has_a_process_a_core_but_one_that_shares_a_gpu_has_one(
    name: str, dataflow_job: MakeJob
) -> None:
    found = {e for e in dataflow_job(name).environment.experiments if "multiple_sdk" in e}
    no = "no_" if name in GPU_STEPS else ""
    assert found == {f"{no}use_multiple_sdk_containers"}


@every_job
def test_the_pool_grows_with_the_work_up_to_a_limit_on_disks_of_a_known_size(
    name: str, dataflow_job: MakeJob
) -> None:
    pool = dataflow_job(name).pool
    scaling = pool.autoscaling_settings
    assert scaling.algorithm.name == "AUTOSCALING_ALGORITHM_BASIC"  # by throughput
    assert scaling.max_num_workers == (8 if name in GPU_STEPS else 50)
    assert pool.disk_size_gb == (100 if name in GPU_STEPS else 50)


@every_job
def test_every_environment_is_the_image_and_nothing_of_this_process_is_staged(
    name: str, dataflow_job: MakeJob
) -> None:
    job = dataflow_job(name)
    assert images(job) == {IMAGE}
    assert len(job.pool.sdk_harness_container_images) == (2 if name in GPU_STEPS else 1)
    environments = job.graph.components.environments.values()
    assert [artifact for each in environments for artifact in each.dependencies] == []


@every_job
def test_a_job_is_a_batch_job_of_the_service_as_it_is(name: str, dataflow_job: MakeJob) -> None:
    environment = dataflow_job(name).environment
    assert environment.version["job_type"] == "FNAPI_BATCH"
    # Prime chooses machines itself, and does not take machine_type; FlexRS takes no hints.
    assert list(environment.service_options) == []
    assert not environment.flex_resource_scheduling_goal


def test_the_users_options_win_over_the_profiles(dataflow_job: MakeJob) -> None:
    given = ("--max_num_workers=7", "--machine_type", "e2-standard-8", "--no_use_public_ips")
    pool = dataflow_job(CRAWL, *given).pool
    assert pool.autoscaling_settings.max_num_workers == 7
    assert pool.machine_type == "e2-standard-8"
    assert pool.ip_configuration.name == "WORKER_IP_PRIVATE"


def test_an_option_may_be_of_one_stage_or_of_the_gpu_alone(dataflow_job: MakeJob) -> None:
    given = ("--gpu.sdk_container_image=gpu:1", "--crawl.max_num_workers=5")
    assert images(dataflow_job(TOKENS, *given)) == {"gpu:1"}
    assert images(dataflow_job(CRAWL, *given)) == {IMAGE}
    assert dataflow_job(CRAWL, *given).pool.autoscaling_settings.max_num_workers == 5
    assert dataflow_job("dedup", *given).pool.autoscaling_settings.max_num_workers == 50


def test_what_only_the_user_knows_is_asked_for() -> None:
    missing = load_profile("dataflow").missing(["--project=p", "--region=us-central1"])
    options = [line.split(":")[0] for line in missing if line.startswith("--")]
    assert options == ["--temp_location", "--sdk_container_image"]


def test_a_job_may_run_in_the_driver(tmp_path: Path) -> None:
    given = ("--project=p", "--region=r", "--report.runner=FnApiRunner")
    engine = Engine(profile=load_profile("dataflow"), beam_options=given)
    out = tmp_path / "out"

    def graph(root: Any) -> None:
        _ = shard_numbers(root, [7]) | beam.Map(lambda shard: out.write_text(f"shard {shard}"))

    engine.run(graph, name="report")
    assert out.read_text() == "shard 7"


class Submitted(Exception):
    """Ends a build at its first job, with what the engine was told of it."""


class Recorder(Engine):
    def run(self, graph: Any, *, name: str, stages: Any = (), gpu: bool = False) -> None:
        raise Submitted(name, gpu)


@pytest.mark.parametrize("gpu", [{"type": "nvidia-l4"}, None])
def test_a_build_tells_the_engine_which_job_asks_for_a_gpu(gpu: Any, desk: Any) -> None:
    recipe = parse_recipe(
        {
            "name": "small",
            "sources": [{"name": "web", "kind": "list", "path": "a.csv"}],
            "vq_tokens": {"gpu": gpu},
        }
    )
    for folder in ("raw", "selection", "pairs"):
        desk.put(folder, 0, [{"key": "0" * 32}])  # for no rows there is no job
    desk.put_plan(["web"])
    claims = Claims(desk.store, {})
    job = Build(recipe=recipe, store=desk.store, engine=Recorder(), shards=1, claims=claims)
    with pytest.raises(Submitted) as submitted:
        job.chain([VqTokens.from_recipe(recipe, "pairs")])
    assert submitted.value.args == ("vq_tokens", gpu is not None)
