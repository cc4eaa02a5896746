"""Engine profiles: each engine is a YAML file of Beam options in `pipelines/engines/`.

A profile also lists what a build on the engine needs, so that a missing jar gives a clear message
and not a stack trace of the runner.
"""

import importlib.util
import os.path
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib.machinery import PathFinder
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.recipe_faults import nearest
from schemas.store.storage import CorpusError
from schemas.strict_yaml import load_yaml

_PREFIXED = re.compile(r"--(\w+)\.")  # --crawl.num_workers=2 is an option of the job `crawl`
Value = str | int | bool | tuple[str, ...]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Need(_Model):
    """One thing that an engine needs: a program, a module, an option, or a file in an option."""

    program: str | None = None  # on the PATH
    module: str | None = None  # of Python
    option: str | None = None  # of Beam, which the user must give
    file: str | None = None  # option of Beam that names the file
    get: str  # how to get it
    unless: tuple[str, ...] = ()  # options of Beam that make it unnecessary

    @model_validator(mode="after")
    def _is_one_thing(self) -> "Need":
        if sum(kind is not None for kind in self._kinds()) != 1:
            raise ValueError("expected exactly one of program, module, option, file")
        return self

    def _kinds(self) -> tuple[str | None, ...]:
        return self.program, self.module, self.option, self.file

    def name(self, options: Mapping[str, str]) -> str:
        """Return the name of the need; for a file, its path if the options have it."""
        if self.option:
            return f"--{self.option}"
        return self.program or self.module or options.get(str(self.file), f"--{self.file}")

    def is_there(self, options: Mapping[str, str]) -> bool:
        """Return whether the need is met, or the options make it unnecessary."""
        if any(option in options for option in self.unless):
            return True
        if self.program:
            return shutil.which(self.program) is not None
        if self.module:
            return _is_module(self.module)
        if self.option:
            return self.option in options
        place = options.get(str(self.file), "")
        return "://" in place or os.path.isfile(place)


class Profile(_Model):
    """The data file of an engine."""

    name: str
    about: str
    pool: bool = False  # whether our own pool of local processes does the work
    log: Literal["INFO", "WARNING", "CRITICAL"] = "WARNING"  # level of Beam's log to show
    # Beam options, with or without a job prefix; {processes} is the value of --processes.
    options: dict[str, Value] = Field(default_factory=dict)
    needs: tuple[Need, ...] = ()

    def arguments(self, processes: int) -> tuple[str, ...]:
        """Return the options as command line arguments; a list repeats its option."""
        words: list[str] = []
        for name, value in self.options.items():
            for each in value if isinstance(value, tuple) else (value,):
                if each is True:
                    words.append(f"--{name}")
                elif each is not False:
                    words.append(f"--{name}={str(each).format(processes=processes)}")
        return tuple(words)

    def missing(self, arguments: Sequence[str]) -> list[str]:
        """Return a sentence for each unmet need, given all options as arguments."""
        options = parse_options(arguments)
        return [
            f"{need.name(options)}: {need.get}" for need in self.needs if not need.is_there(options)
        ]


def parse_options(arguments: Sequence[str]) -> dict[str, str]:
    """Return option values by name, the last value of a repeated option.

    >>> parse_options(["--runner=SparkRunner", "--region", "us-central1", "--streaming"])
    {'runner': 'SparkRunner', 'region': 'us-central1', 'streaming': ''}
    """
    found: dict[str, str] = {}
    name = ""
    for word in arguments:
        if word.startswith("--"):
            name, _, found[name] = word[2:].partition("=")
        elif name:
            found[name] = word
    return found


def options_of(job: Collection[str], arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the options that apply to a job: without a prefix, or with a prefix of the job.

    >>> options_of({"crawl"}, ["--region=eu", "--crawl.num_workers=2", "--gpu.num_workers", "9"])
    ('--region=eu', '--num_workers=2')
    """
    held: list[str] = []
    holds = True
    for word in arguments:
        if found := _PREFIXED.match(word):
            holds = found[1] in job
            word = f"--{word[found.end() :]}"
        elif word.startswith("--"):
            holds = True
        if holds:
            held.append(word)
    return tuple(held)


def check_prefixes(arguments: Sequence[str], jobs: Collection[str]) -> None:
    """Check that every job prefix is known.

    Raises:
        CorpusError: a prefix is unknown; names it.
    """
    for word in arguments:
        if (found := _PREFIXED.match(word)) and found[1] not in jobs:
            raise CorpusError(f"{word}: unknown job {found[1]}, expected one of {', '.join(jobs)}")


@cache
def engine_names() -> tuple[str, ...]:
    """Return the names of the engines that ship with the package, `local` first."""
    names = {file.name.removesuffix(".yaml") for file in _folder().iterdir() if _is_profile(file)}
    return tuple(sorted(names, key=lambda name: (name != "local", name)))


@cache
def load_profile(name: str) -> Profile:
    """Read an engine's profile.

    Raises:
        CorpusError: there is no such engine.
    """
    if name not in engine_names():
        near = nearest(name, engine_names())
        hint = f"; did you mean {near}?" if near else ""
        raise CorpusError(
            f"engine {name!r}: unknown; expected one of {', '.join(engine_names())}{hint}"
        )
    data = load_yaml((_folder() / f"{name}.yaml").read_text())
    return Profile(name=name, **data)


def _folder():
    return files("pipelines") / "engines"


def _is_profile(file) -> bool:
    return file.name.endswith(".yaml")


def _is_module(name: str) -> bool:
    """Return whether a module is installed, without importing it or its package."""
    package, *parts = name.split(".")
    spec = importlib.util.find_spec(package)
    for part in parts:
        if spec is None or spec.submodule_search_locations is None:
            return False
        places = list(spec.submodule_search_locations)
        spec = PathFinder.find_spec(f"{spec.name}.{part}", places)
    return spec is not None
