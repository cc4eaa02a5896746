"""Captions by batch files: requests are written, answered elsewhere, and the answers taken.

A row may need several rounds: where a gate refuses an answer, the next request goes to another
engine or style, and is in the files of the next round.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from filters.captioner import Answer, Asked
from pipelines.captions.answers import Answers, storable
from pipelines.captions.ask import Asker
from pipelines.captions.batch_files import AnswerFiles, Failures, write_requests
from pipelines.captions.chat import Sampling
from pipelines.captions.choose import Request
from pipelines.check_recipe import pin
from pipelines.runtime.sidecar import Reject, sidecar_path
from pipelines.sources.plan import read_plan
from pipelines.stages.caption import Caption
from schemas.caption_config import OpenAiEngine
from schemas.recipe import Recipe
from schemas.recipe_file import RecipeError
from schemas.store.storage import CorpusError, Storage


@dataclass(frozen=True, kw_only=True)
class Emitted:
    """Files of requests."""

    files: Sequence[Path]
    unreadable: int  # images that could not be read; they have no request
    first_unreadable: str  # row, and why


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What files of answers held."""

    answered: int
    waiting: int  # requests without an answer
    foreign: int  # answers to requests of others, or that are answered already
    broken: int  # lines that are no answers
    first_broken: str  # where, and why
    failed: Mapping[str, Failures]  # lines without an answer, by reason


@dataclass(frozen=True, kw_only=True)
class CaptionBatches:
    """The requests of a corpus to one engine of a recipe.

    Args:
        store: a corpus that was built until `dedup` at least.
        recipe: with the engine.
        name: of the engine; '' for the first one with OpenAI's API.
    """

    store: Storage
    recipe: Recipe
    name: str = ""

    def emit(self, folder: Path) -> Emitted:
        """Write all requests that wait for an answer.

        Raises:
            RecipeError: the recipe has no such engine.
            CorpusError: the corpus was not built so far, or the folder has requests of before.
        """
        if there := sorted(folder.glob("requests-*.jsonl")):
            raise CorpusError(f"{there[0]}: requests of another time; give another folder")
        _, engine = self._engine()
        sampling = Sampling(model=engine.model, temperature=engine.temperature, top_p=engine.top_p)
        rejects: dict[str, Reject] = {}
        files = write_requests(self._asked(rejects), sampling, folder)
        said = [f"{each.id}: {each.reason}: {each.detail}" for each in rejects.values()]
        return Emitted(files=files, unreadable=len(rejects), first_unreadable=min(said, default=""))

    def take(self, files: Sequence[Path]) -> Taken:
        """Keep the answers of files. Memory holds a line a waiting request.

        Raises:
            EngineError: all requests were refused.
            RecipeError, CorpusError: as `emit`.
        """
        shards_of: dict[str, list[int]] = {}
        for shard, (_, requests) in self._waiting():
            for digest in requests:
                shards_of.setdefault(digest, []).append(shard)
        read = AnswerFiles(expected=shards_of.keys())
        stage, kept = self._stage, dict[int, Answers]()
        answered = 0
        for outcome in read.outcomes(files):
            if isinstance(outcome, Answer):
                answered += 1
                for shard in shards_of[outcome.digest]:
                    if shard not in kept:
                        # All shards are open at once, so none has a timer.
                        kept[shard] = stage.answers(shard, self.store, flush_s=None)
                        kept[shard].find([])
                    kept[shard].add(storable(outcome))
        for answers in kept.values():
            answers.flush()
        return Taken(
            answered=answered,
            waiting=len(shards_of) - answered,
            foreign=read.foreign + read.repeated,
            broken=read.broken,
            first_broken=read.first_broken,
            failed=read.failed,
        )

    def _asked(self, rejects: dict[str, Reject]) -> Iterator[Asked]:
        number, _ = self._engine()
        seen: set[str] = set()  # an image may be in several shards
        for _, (asker, requests) in self._waiting():
            new = {digest: one for digest, one in requests.items() if digest not in seen}
            seen |= new.keys()
            found: dict[str, Reject] = {}
            yield from asker.asked(number, new, found)
            for digest, reject in found.items():
                rejects[digest] = replace(reject, id=new[digest].row["key"])

    def _waiting(self) -> Iterator[tuple[int, tuple[Asker, Mapping[str, Request]]]]:
        """Yield each shard with its requests that wait, by digest."""
        number, _ = self._engine()
        for shard in range(len(read_plan(self.store))):
            path = sidecar_path("duplicates", shard)
            if not self.store.exists(path):
                raise CorpusError(f"{path}: missing; build until dedup")
            yield shard, self._stage.waiting(shard, self.store, number)

    @cached_property
    def _stage(self) -> Caption:
        return Caption.from_recipe(pin(self.recipe), "duplicates")

    def _engine(self) -> tuple[int, OpenAiEngine]:
        for number, engine in enumerate(self.recipe.caption.engines):
            if isinstance(engine, OpenAiEngine) and self.name in ("", engine.name):
                return number, engine
        named = f" named {self.name!r}" if self.name else ""
        raise RecipeError(f"caption.engines: no engine `openai`{named}; batch files are for those")
