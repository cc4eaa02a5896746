"""The page's own command: its recipe loads, its options make every job, its paths are remote."""

import re
import shlex
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.engines.profile import options_of
from pipelines.stage_table import JOBS
from schemas.recipe_file import load_recipe

PAGE = Path("docs/how-to/run-on-dataflow.md")


def command() -> list[str]:
    """Return the words of the build command, variables filled in as a shell would."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    values: dict[str, str] = {}
    for name, value in re.findall(r"^([A-Z]+)=(\S+)$", "".join(blocks), re.MULTILINE):
        values[name] = Template(value).substitute(values)
    (found,) = re.findall(r"^vargpt-corpus build .*?(?=\n\n)", "\n".join(blocks), re.M | re.S)
    return shlex.split(Template(found.replace("\\\n", " ")).substitute(values))


def beam_options() -> tuple[str, ...]:
    words = command()
    return tuple(words[words.index("--") + 1 :])


def test_its_recipe_loads_and_every_path_is_one_that_workers_can_read() -> None:
    words = command()
    overrides = [after for word, after in pairwise(words) if word == "--set"]
    recipe = load_recipe(words[2], overrides)
    assert all(source.path.startswith("gs://my-project-corpus/") for source in recipe.sources)
    assert [getattr(source, "list", "gs://")[:5] for source in recipe.sources] == ["gs://"] * 2
    assert str(recipe.vq_tokens.tokenizers[0].checkpoint).startswith("gs://my-project-corpus/")


@pytest.mark.parametrize(
    ("name", "image"),
    [("ingest-to-measure", "cpu"), ("score-to-select", "gpu"), ("caption-to-vq_tokens", "gpu")],
)
def test_its_options_are_all_that_is_needed(
    name: str, image: str, dataflow_job: Callable[..., Any]
) -> None:
    job = dataflow_job(name, *beam_options())
    assert job.faults == []
    found = {image.container_image for image in job.pool.sdk_harness_container_images}
    assert found == {f"us-central1-docker.pkg.dev/my-project/corpus/{image}:0.1.0"}
    worker = "corpus-worker@my-project.iam.gserviceaccount.com"
    assert job.environment.service_account_email == worker


def test_every_option_it_speaks_of_is_one_that_beam_knows() -> None:
    table = PAGE.read_text().split("| to | say |")[1].split("\n\n")[0]
    said = [word for cell in re.findall(r"`(--[^`]*)`", table) for word in cell.split()]
    options = options_of(JOBS, said)
    known = PipelineOptions(list(options)).get_all_options(drop_default=True)
    everything = PipelineOptions(list(options)).get_all_options(
        drop_default=True, retain_unknown_options=True
    )
    assert len(said) > 8
    assert everything == known
