"""Engine profiles: each engine is a YAML file of Beam options in `pipelines/engines/`.

A profile also says what must be there before a build can start on it, so that a missing jar is
one sentence and not a stack trace of the runner's.
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

from schemas.recipe_file import nearest
from schemas.store.storage import CorpusError
from schemas.strict_yaml import load_yaml

_PREFIXED = re.compile(r"--(\w+)\.")  # --crawl.num_workers=2 is an option of the job `crawl`
Value = str | int | bool | tuple[str, ...]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Need(_Model):
    """One thing that an engine needs: a program, a module, an option or the file it names."""

    program: str | None = None  # on the PATH
    module: str | None = None  # of Python
    option: str | None = None  # of Beam, that only the user knows
    file: str | None = None  # that an option of Beam names
    get: str  # how to come by it
    unless: tuple[str, ...] = ()  # options of Beam that make it needless

    @model_validator(mode="after")
    def _is_one_thing(self) -> "Need":
        if sum(kind is not None for kind in self._kinds()) != 1:
            raise ValueError("a need is one of program, module, option, file")
        return self

    def _kinds(self) -> tuple[str | None, ...]:
        return self.program, self.module, self.option, self.file

    def name(self, options: Mapping[str, str]) -> str:
        """Say what is needed, as far as the options tell."""
        if self.option:
            return f"--{self.option}"
        return self.program or self.module or options.get(str(self.file), f"--{self.file}")

    def is_there(self, options: Mapping[str, str]) -> bool:
        """Whether it is there, or the options make it needless."""
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
    """An engine, as a data file describes it."""

    name: str
    about: str
    pool: bool = False  # whether our own pool of local processes does the work
    log: Literal["INFO", "WARNING", "CRITICAL"] = "WARNING"  # what is shown of Beam's log
    # Of Beam, prefixed or not; {processes} stands for --processes.
    options: dict[str, Value] = Field(default_factory=dict)
    needs: tuple[Need, ...] = ()

    def arguments(self, processes: int) -> tuple[str, ...]:
        """Return the options as words of a command line; a list repeats its option."""
        words: list[str] = []
        for name, value in self.options.items():
            for each in value if isinstance(value, tuple) else (value,):
                if each is True:
                    words.append(f"--{name}")
                elif each is not False:
                    words.append(f"--{name}={str(each).format(processes=processes)}")
        return tuple(words)

    def missing(self, arguments: Sequence[str]) -> list[str]:
        """Say what is not there, a sentence each, given all options as words."""
        options = parse_options(arguments)
        return [
            f"{need.name(options)}: {need.get}" for need in self.needs if not need.is_there(options)
        ]


def parse_options(arguments: Sequence[str]) -> dict[str, str]:
    """Map the names of options to their values, the last one where one is repeated.

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
    """Return the options that hold for a job: those without a prefix, and those with one of its.

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
    """Refuse an option for a job that there is not.

    Raises:
        CorpusError: naming it.
    """
    for word in arguments:
        if (found := _PREFIXED.match(word)) and found[1] not in jobs:
            raise CorpusError(f"{word}: {found[1]} is none of {', '.join(jobs)}")


@cache
def engine_names() -> tuple[str, ...]:
    """Return the names of the engines that ship with the package, `local` first."""
    names = {file.name.removesuffix(".yaml") for file in _folder().iterdir() if _is_profile(file)}
    return tuple(sorted(names, key=lambda name: (name != "local", name)))


@cache
def load_profile(name: str) -> Profile:
    """Read an engine's profile.

    Raises:
        CorpusError: if there is no such engine.
    """
    if name not in engine_names():
        near = nearest(name, engine_names())
        hint = f"; did you mean {near}?" if near else ""
        raise CorpusError(
            f"engine {name!r}: there is none; there are {', '.join(engine_names())}{hint}"
        )
    data = load_yaml((_folder() / f"{name}.yaml").read_text())
    return Profile(name=name, **data)


def _folder():
    return files("pipelines") / "engines"


def _is_profile(file) -> bool:
    return file.name.endswith(".yaml")


def _is_module(name: str) -> bool:
    """Whether a module is installed; not even the package that it is in is imported."""
    package, *parts = name.split(".")
    spec = importlib.util.find_spec(package)
    for part in parts:
        if spec is None or spec.submodule_search_locations is None:
            return False
        places = list(spec.submodule_search_locations)
        spec = PathFinder.find_spec(f"{spec.name}.{part}", places)
    return spec is not None
