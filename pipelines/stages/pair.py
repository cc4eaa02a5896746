"""pair: turn every caption, instruction or conversation into the messages of a sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from pipelines.captions.judge import count_tokens
from pipelines.runtime.images import named
from pipelines.runtime.sidecar import Reject
from pipelines.runtime.stage import MapStage, ShardResult
from pipelines.sources.shard_subsets import ShardSubsets
from pipelines.templates.pair_files import PairFiles, field_of, file_sha256, load_pair_file
from pipelines.templates.template_file import Conversation
from pipelines.templates.written import WrittenTurn, written_pair
from schemas.conversation import MessageFault, message_faults
from schemas.keys import draw
from schemas.markers import IMAGE, marker_in
from schemas.recipe import PairConfig, Recipe
from schemas.store.storage import Storage
from schemas.subsets import EDIT, T2I, Subset
from schemas.tables import PAIRS

Messages = list[dict[str, str]]
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Pair(MapStage):
    """Write the messages of one shard, and check each sample."""

    folder: ClassVar[str] = "pairs"
    reads: ClassVar[tuple[str, ...]] = ("captions",)
    version: ClassVar[int] = 3  # 3: edits, conversations and preferences
    decides: ClassVar[tuple[str, ...]] = ("pair",)
    repeats: ClassVar[bool] = True

    config: PairConfig
    subsets: ShardSubsets = field(default_factory=ShardSubsets)
    rows_of: str = "captions"

    @classmethod
    def from_recipe(cls, recipe: Recipe, rows_of: str) -> "Pair":
        """Return the stage as a recipe has it."""
        subsets = ShardSubsets.from_recipe(recipe)
        return cls(config=recipe.pair, subsets=subsets, rows_of=rows_of)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Name the folders that its output depends on: with several images, also theirs."""
        images = ("sources", "raw", "signals") if self.subsets else ()
        return (*super().inputs, *images)

    def schema(self) -> pa.Schema:
        """Return the schema of the side-cars."""
        return PAIRS

    def settings(self, shard: int, store: Storage) -> Any:
        """Return what the template files hold, not where they lie, and how captions are put in."""
        config, subset = self.config, self.subsets.of(shard, store)
        return [
            subset.name,
            file_sha256(config, field_of(subset)),
            config.faithful,
            *([config.min_change] if subset.further else []),
            *([["system", *config.system]] if config.system else []),
            *([["max_tokens", config.max_tokens]] if config.max_tokens else []),
        ]

    def process(self, shard: int, store: Storage, scratch: Path) -> ShardResult:
        """Write `pairs/NNNNN.parquet`."""
        subset = self.subsets.of(shard, store)
        writer = PairWriter(
            subset=subset,
            files=load_pair_file(self.config, field_of(subset)),
            config=self.config,
        )
        captions = self.rows("captions", shard, store).to_pylist()
        facts = {row["key"]: {} for row in captions}
        for folder in ("sources", "raw", "signals") if subset != T2I else ():
            for row in self.rows(folder, shard, store).to_pylist():
                facts[row["key"]][folder] = row
        pairs: list[dict[str, Any]] = []
        rejects: list[Reject] = []
        for row in captions:
            key = row["key"]
            pair = writer.pair(key, row["caption"], facts[key], row["instructions"])
            if isinstance(pair, MessageFault):
                rejects.append(
                    Reject(id=key, reason=pair.reason, detail=pair.detail, dropped=pair.dropped)
                )
            else:
                pairs.append({"key": key, **pair})
        table = pa.Table.from_pylist(pairs, schema=PAIRS)
        return ShardResult(table=table, rows_in=len(captions), rejects=named(rejects, shard, store))


@dataclass(frozen=True, kw_only=True)
class PairWriter:
    """Writes and checks the messages of samples of one subset."""

    subset: Subset
    files: PairFiles
    config: PairConfig

    def pair(
        self, key: str, caption: str, facts: Row, instructions: Sequence[Row] = ()
    ) -> dict[str, Any] | MessageFault:
        """Return messages and template of a sample, or why it has none.

        Args:
            key: of the sample.
            caption: caption, instruction or prompt.
            facts: the sample's rows of `sources/`, `raw/` and `signals/`, by folder; none of t2i.
            instructions: what a model wrote of its turns, as in `captions/`.
        """
        if marker := marker_in(caption, allowed=(IMAGE,) if self.subset == EDIT else ()):
            detail = f"caption {caption!r:.200} spells {marker!r}, a token of chat templates"
            return MessageFault("marker_in_caption", detail)
        if fault := self._image_fault(facts):
            return fault
        messages, template = self._written(key, caption, facts, instructions)
        messages = self._with_system(key, messages)
        if faults := message_faults(messages, self.subset):
            return faults[0]
        if fault := self._length_fault(messages):
            return fault
        return {"messages": messages, "template": template}

    def _written(
        self, key: str, caption: str, facts: Row, instructions: Sequence[Row]
    ) -> tuple[Messages, str]:
        turns = facts["sources"]["turns"] if facts else []
        if turns:
            return _with_mark([dict(turn) for turn in turns]), ""
        made = written_pair(
            self.files,
            key,
            caption,
            subset=self.subset,
            faithful=self.config.faithful,
            turns={row["style"]: _turn(row) for row in instructions if row["caption"]},
        )
        return _messages(made), made.template

    def _with_system(self, key: str, messages: Messages) -> Messages:
        prompts = self.config.system
        if not prompts or (messages and messages[0]["role"] == "system"):
            return messages
        prompt = prompts[draw(key, "system prompt", len(prompts))]
        return [{"role": "system", "content": prompt}, *messages]

    def _length_fault(self, messages: Messages) -> MessageFault | None:
        """Return why a conversation is too long for `pair.max_tokens`."""
        if self.config.max_tokens is None:
            return None
        tokens = sum(count_tokens(message["content"]) for message in messages)
        if tokens <= self.config.max_tokens:
            return None
        detail = f"{tokens:,} tokens, pair.max_tokens is {self.config.max_tokens:,}"
        return MessageFault("too_long", detail, dropped=True)

    def _image_fault(self, facts: Row) -> MessageFault | None:
        """Return why the images of a sample are no pair."""
        if not self.subset.further:
            return None
        stored = {image["role"]: image for image in facts["raw"]["images"]}
        measured = {image["role"]: image for image in facts["signals"]["images"]}
        for role in self.subset.further:
            if stored[role]["sha256"] == facts["raw"]["sha256"]:
                return MessageFault("same_images", f"the {role} image has the same bytes", True)
            change = measured[role]["most_change"]
            if change < self.config.min_change:
                detail = (
                    f"the {role} image differs by {change:.2f} levels where it differs most, "
                    f"pair.min_change is {self.config.min_change:g}"
                )
                return MessageFault("unchanged", detail, True)
        return None


def _turn(row: Row) -> WrittenTurn:
    return WrittenTurn(text=row["caption"], engine=row["engine"], prompt=row["prompt"])


def _messages(made: Conversation) -> Messages:
    return [
        {"role": "user", "content": made.user},
        {"role": "assistant", "content": made.assistant},
    ]


def _with_mark(messages: Messages) -> Messages:
    """Put `<image>` before the first question of a conversation that does not say where it is."""
    if any(IMAGE in message["content"] for message in messages):
        return messages
    first = next((m for m in messages if m["role"] == "user"), None)
    if first:
        first["content"] = f"{IMAGE}\n{first['content']}"
    return messages
