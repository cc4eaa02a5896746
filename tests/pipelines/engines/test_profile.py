"""Profiles are data: read, overridden by the user's options, and honest about what is missing."""

from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from pydantic import ValidationError

from pipelines.cli.main import main
from pipelines.engines.engine import Engine
from pipelines.engines.profile import (
    Profile,
    check_prefixes,
    engine_names,
    load_profile,
    options_of,
    parse_options,
)
from pipelines.stage_table import JOBS
from schemas.store.storage import CorpusError, Storage


def made(**fields) -> Profile:
    return Profile(name="x", about="An engine.", **fields)


def test_the_engines_are_those_of_the_documentation() -> None:
    assert engine_names() == ("local", "dataflow", "flink", "prism", "spark")


@pytest.mark.parametrize("name", engine_names())
def test_every_profile_names_a_runner_and_only_options_that_beam_knows(name: str) -> None:
    arguments = options_of(JOBS, load_profile(name).arguments(processes=3))
    unknown = PipelineOptions(arguments).get_all_options(
        drop_default=True, retain_unknown_options=True
    )
    known = PipelineOptions(arguments).get_all_options(drop_default=True)
    assert unknown == known
    assert "runner" in known


def test_an_engine_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(CorpusError, match=r"'sparc'.* expected one of local, dataflow, .*spark"):
        load_profile("sparc")


def test_options_stand_for_themselves_lists_repeat_and_false_is_silent() -> None:
    profile = made(options={"a": "x{processes}", "b": 4, "c": True, "d": False, "e": ["p", "q"]})
    assert profile.arguments(processes=2) == ("--a=x2", "--b=4", "--c", "--e=p", "--e=q")


def test_the_users_options_win_over_the_profiles() -> None:
    engine = Engine(profile=load_profile("spark"), beam_options=("--spark_master_url=spark://h:1",))
    assert parse_options(engine.arguments)["spark_master_url"] == "spark://h:1"
    options = PipelineOptions(list(engine.arguments)).get_all_options()
    assert options["spark_master_url"] == "spark://h:1"


@pytest.mark.parametrize(
    ("given", "crawl", "measure"),
    [
        (["--crawl.region=a"], "a", "of the profile"),
        (["--crawl.region", "a"], "a", "of the profile"),
        (["--region=b", "--crawl.region=a"], "a", "b"),
        (["--crawl.region=a", "--region=b"], "b", "b"),
    ],
)
def test_a_prefixed_option_is_of_one_job_and_the_last_of_a_name_wins(
    given: list[str], crawl: str, measure: str
) -> None:
    profile = made(options={"region": "of the profile"})
    engine = Engine(profile=profile, beam_options=tuple(given))
    for job, region in {"crawl": crawl, "measure": measure}.items():
        options = PipelineOptions(list(engine.job_arguments(job))).get_all_options()
        assert options["region"] == region


def test_a_gpus_options_hold_where_a_job_asks_for_one() -> None:
    engine = Engine(profile=made(options={"gpu.region": "a"}))
    assert "--region=a" in engine.job_arguments("vq_tokens", gpu=True)
    assert "--region=a" not in engine.job_arguments("vq_tokens")


def test_an_option_of_a_job_that_is_none_is_refused() -> None:
    with pytest.raises(
        CorpusError, match=r"--crwal\.num_workers=2: unknown job crwal, expected one of .*gpu"
    ):
        check_prefixes(["--crwal.num_workers=2"], JOBS)


def test_a_runner_of_the_users_own_needs_no_pool_of_ours() -> None:
    assert Engine().has_pool
    engine = Engine(beam_options=("--runner=DirectRunner", "--direct_num_workers=2"))
    assert not engine.has_pool
    options = PipelineOptions(list(engine.arguments))
    assert options.view_as(StandardOptions).runner == "DirectRunner"
    assert options.view_as(DirectOptions).direct_num_workers == 2


@pytest.mark.parametrize(
    ("need", "arguments", "missing"),
    [
        ({"program": "sh"}, [], []),
        ({"program": "no-such-program"}, [], ["no-such-program: get it"]),
        ({"module": "apache_beam.io"}, [], []),
        ({"module": "no_such.module"}, [], ["no_such.module: get it"]),
        ({"option": "region"}, ["--region=eu"], []),
        ({"option": "region"}, ["--regions=eu"], ["--region: get it"]),
        ({"file": "jar"}, ["--jar=HERE"], []),
        ({"file": "jar"}, ["--jar=https://a/b.jar"], []),
        ({"file": "jar"}, ["--jar=none.jar"], ["none.jar: get it"]),
        ({"file": "jar"}, [], ["--jar: get it"]),
        ({"file": "jar", "unless": ["endpoint"]}, ["--endpoint", "h:1"], []),
    ],
)
def test_what_is_missing_is_said_with_how_to_get_it(
    need: dict, arguments: list[str], missing: list[str], tmp_path: Path
) -> None:
    here = tmp_path / "a.jar"
    here.touch()
    given = [word.replace("HERE", str(here)) for word in arguments]
    assert made(needs=[{"get": "get it", **need}]).missing(given) == missing


@pytest.mark.parametrize("need", [{}, {"program": "a", "file": "b"}, {"jar": "a"}])
def test_a_need_is_one_thing(need: dict) -> None:
    with pytest.raises(ValidationError):
        made(needs=[{"get": "get it", **need}])


def test_a_build_that_lacks_something_says_so_before_any_work(tmp_path: Path) -> None:
    engine = Engine(profile=load_profile("spark"), beam_options=("--spark_job_server_jar=no.jar",))
    refused = pytest.raises(CorpusError, match=r"engine spark: no\.jar: run `make spark-jar`")
    with refused, engine.started(Storage(str(tmp_path))):
        pass


def test_the_command_lists_each_engine_and_what_it_needs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["engines"]) == 0
    printed = capsys.readouterr().out
    for name in engine_names():
        assert f"\n{name} " in f"\n{printed}"
    assert "--temp_location: a gs:// folder" in printed
