"""The answers that the captions of a shard rest on, counted as they are asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from filters.captioner import Answer
from pipelines.captions.ask import Outcome
from pipelines.captions.choose import Ask, Request
from pipelines.runtime.sidecar import Used
from schemas.caption_config import CaptionConfig


@dataclass(frozen=True, kw_only=True)
class CountingAsk:
    """Asks as another does, and counts each answer once, whatever becomes of its rows."""

    ask: Ask
    config: CaptionConfig
    _answers: dict[str, tuple[str, Answer]] = field(default_factory=dict)  # by digest

    def __call__(
        self, number: int, requests: Sequence[Request]
    ) -> Iterator[tuple[Request, Outcome]]:
        """Yield each request with what came of it."""
        engine = self.config.engines[number].name
        for request, outcome in self.ask(number, requests):
            if isinstance(outcome, Answer):
                self._answers.setdefault(outcome.digest, (engine, outcome))
            yield request, outcome

    @property
    def used(self) -> dict[str, Used]:
        """What was counted, by engine."""
        found: dict[str, Used] = {}
        for engine, answer in self._answers.values():
            one = Used(1, answer.prompt_tokens, answer.completion_tokens)
            found[engine] = found.get(engine, Used()).plus(one)
        return found
