"""caption: choose the words of every kept row; the source's original stays in `sources/`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import pyarrow as pa

from filters.captioner import Unanswered
from filters.captions.questions import Flags
from filters.text import primary_text
from pipelines.captions.answers import FLUSH_S, Answers
from pipelines.captions.ask import Asker, Outcome
from pipelines.captions.choose import Ask, Captioned, Captioner, Request, Row, Written
from pipelines.captions.cosines import Cosines, clip_of
from pipelines.captions.engines import make_engine
from pipelines.captions.flags import flags_of, forbidden
from pipelines.captions.fuse import fused
from pipelines.captions.instruct import instructed
from pipelines.captions.judge import Judge
from pipelines.captions.usage import CountingAsk
from pipelines.runtime.device import DeviceClock
from pipelines.runtime.face_boxes import face_blur, read_boxes
from pipelines.runtime.gpu import require_gpu
from pipelines.runtime.images import named
from pipelines.runtime.sidecar import Reject, blank_row
from pipelines.runtime.stage import MapStage, ShardResult
from pipelines.sources.shard_subsets import ShardSubsets
from schemas.caption_config import SOURCE, CaptionConfig
from schemas.recipe import BlurConfig, DecodeConfig, Recipe
from schemas.score_config import ClipModel
from schemas.sections import Gpu
from schemas.store.storage import Storage
from schemas.subsets import T2I
from schemas.tables import CAPTIONS, WRITTEN

LISTED = ("text", "title", "tags", "turns")
LOCATED = ("file", "offset", "length", "sha256")


@dataclass(frozen=True, kw_only=True)
class Caption(MapStage):
    """Caption the selected rows of one shard.

    Models are asked only for answers that `answers/` does not have.
    """

    folder: ClassVar[str] = "captions"
    reads: ClassVar[tuple[str, ...]] = ("sources",)
    version: ClassVar[int] = 5  # 5: instructions
    decides: ClassVar[tuple[str, ...]] = ("caption", "decode", "blur")
    decodes: ClassVar[bool] = True
    retries: ClassVar[bool] = True
    repeats: ClassVar[bool] = True

    config: CaptionConfig
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    blur: BlurConfig | None = None
    clip: ClipModel | None = None  # of the scorer that `gates.clip_scorer` names
    subsets: ShardSubsets = field(default_factory=ShardSubsets)
    asks: bool = True  # whether models are asked; `verify` has to find all answers
    rows_of: str = "duplicates"

    @classmethod
    def from_recipe(cls, recipe: Recipe, rows_of: str) -> "Caption":
        """Return the stage as a recipe has it."""
        return cls(
            config=recipe.caption,
            decode=recipe.decode,
            blur=recipe.blur,
            clip=clip_of(recipe, recipe.caption.gates.clip_scorer),
            subsets=ShardSubsets.from_recipe(recipe),
            rows_of=rows_of,
        )

    @property
    def inputs(self) -> tuple[str, ...]:
        """Name the folders that its output depends on: with models, also those of images."""
        made = ("raw",) if self.subsets else ()
        if not self.config.engines:
            return (*super().inputs, *made)
        scores = ("scores",) if self.blur or self._clip else ()
        return (*super().inputs, "raw", "signals", *scores)

    @property
    def is_isolated(self) -> bool:
        """Whether it decodes images."""
        return bool(self.config.engines)

    @property
    def gpu(self) -> Gpu | None:
        """The GPUs of the recipe."""
        return self.config.gpu if self.config.engines else None

    def without_work(self) -> Self:
        """Return a stage that asks no model."""
        return replace(self, asks=False)

    def schema(self) -> pa.Schema:
        """Return the schema of the side-cars."""
        return CAPTIONS

    def settings(self, shard: int, store: Storage) -> Any:
        """Return what is asked, of whom, and what is refused, of the subset of the shard."""
        judge = self._judge(shard, store)
        decided = dict(self.config.decides())
        instruction = judge.instruction and judge.instruction.model_dump(mode="json")
        if judge.subset != T2I:
            if not instruction:
                return []
            return [decided["engines"][judge.writer], decided["gates"], instruction]
        blur = self.blur.model_dump(mode="json") if self.blur and self.config.engines else None
        clip = self._clip and self._clip.model_dump(mode="json")
        decided["instructions"] = instruction
        return [decided, self.decode.decides(), blur, clip]

    def process(self, shard: int, store: Storage, scratch: Path) -> ShardResult:
        """Write `captions/NNNNN.parquet`."""
        clock = DeviceClock()
        judge = self._judge(shard, store)
        asker = self._asker(shard, store, judge, clock)
        ask = CountingAsk(ask=asker if self.asks else asker.kept, config=self.config)
        try:
            made = self._made(ask, judge, shard, store)
        finally:
            asker.answers.flush()
        return ShardResult(
            table=pa.Table.from_pylist(made.kept, schema=CAPTIONS),
            rows_in=made.rows_in,
            rejects=named(made.rejects, shard, store),
            used=ask.used,
            waited=clock.share,
        )

    def _made(self, ask: Ask, judge: Judge, shard: int, store: Storage) -> "_Made":
        """Caption the rows of a shard, and ask for the instructions of those that are kept."""
        if judge.subset == T2I:
            made = self._chosen(self._rows(shard, store), ask, judge)
        else:
            made = self._as_listed(shard, store)
        found = instructed(made.kept, ask, judge)
        kept = [
            {**row, "instructions": [asdict(each) for each in found.written.get(row["key"], ())]}
            for row in made.kept
            if row["key"] not in found.rejects
        ]
        return replace(made, kept=kept, rejects=[*made.rejects, *found.rejects.values()])

    def _chosen(self, rows: Sequence[Row], ask: Ask, judge: Judge) -> "_Made":
        """Choose the captions of rows that images are generated for."""
        made = self._captioned(rows, ask, judge)
        rejects = [each.reject for each in made if each.reject]
        captioned = [(row, each) for row, each in zip(rows, made, strict=True) if each.passed]
        flags: dict[str, Flags] = {}
        if self.config.questions:
            for key, found in flags_of([row for row, _ in captioned], ask, judge).items():
                why = found if isinstance(found, Reject) else forbidden(key, found, self.config)
                if why:
                    rejects.append(why)
                elif isinstance(found, Flags):
                    flags[key] = found
            captioned = [(row, each) for row, each in captioned if row["key"] in flags]
        kept = [_row(row["key"], each, flags.get(row["key"])) for row, each in captioned]
        return _Made(rows_in=len(rows), kept=kept, rejects=rejects)

    def _as_listed(self, shard: int, store: Storage) -> "_Made":
        """Take instructions, prompts and conversations as they are listed."""
        rows = self.rows("sources", shard, store).select(["key", *LISTED]).to_pylist()
        raw = self.rows("raw", shard, store).select(["key", "instruction"]).to_pylist()
        made = {row["key"]: row["instruction"] for row in raw}
        kept = [
            _listed_row(row, made[row["key"]] or primary_text(row["text"], row["title"]))
            for row in rows
        ]
        return _Made(rows_in=len(rows), kept=kept)

    def waiting(
        self, shard: int, store: Storage, engine: int
    ) -> tuple[Asker, Mapping[str, Request]]:
        """Return the next requests of a shard to an engine that have no answer, by digest.

        With them, what makes requests with images of them: `Asker.asked`.

        A row that needs another engine first, or whose image cannot be read, has none.

        Args:
            shard: its number.
            store: the corpus.
            engine: its number in the recipe.
        """
        judge = self._judge(shard, store)
        asker = self._asker(shard, store, judge, DeviceClock())
        found: dict[str, Request] = {}

        def ask(number: int, requests: Sequence[Request]) -> Iterator[tuple[Request, Outcome]]:
            for digest, request, answer in asker.known(number, requests):
                if answer is None and number == engine:
                    found[digest] = request
                yield request, answer or Unanswered(digest=digest, detail="not asked yet")

        self._made(ask, judge, shard, store)
        return asker, found

    def _judge(self, shard: int, store: Storage) -> Judge:
        """Return what asks and judges for the subset of a shard."""
        subset = self.subsets.of(shard, store)
        cosine = self._cosine(shard, store) if subset == T2I else None
        return Judge(config=self.config, subset=subset, cosine=cosine)

    @property
    def _clip(self) -> ClipModel | None:
        """The CLIP that compares captions with images, if the recipe asks for it."""
        return self.clip if self.config.compares else None

    def _cosine(self, shard: int, store: Storage) -> Cosines | None:
        scorer = self.config.gates.clip_scorer
        clip = self._clip
        return clip and Cosines(store=store, shard=shard, scorer=scorer, clip=clip)

    def _rows(self, shard: int, store: Storage) -> list[dict[str, Any]]:
        """Return the rows to caption: their words and, for models, where their images lie."""
        rows = self.rows("sources", shard, store).select(["key", *LISTED]).to_pylist()
        if not self.config.engines:
            return rows
        images = {row["key"]: row for row in self.rows("raw", shard, store).to_pylist()}
        sizes = self.rows("signals", shard, store).select(["key", "width", "height"]).to_pylist()
        size = {row["key"]: (row["width"], row["height"]) for row in sizes}
        faces = read_boxes(store, shard, self.blur)
        return [
            {
                **row,
                **{name: images[row["key"]][name] for name in LOCATED},
                "size": size[row["key"]],
                "blur": face_blur(faces.get(row["key"], ()), self.blur),
            }
            for row in rows
        ]

    def answers(self, shard: int, store: Storage, flush_s: float | None = FLUSH_S) -> Answers:
        """Return the answers that are kept of a shard; `verify` looks at the corpus alone."""
        cache = self.config.cache if self.asks else None
        shared = Storage(cache) if cache else None
        return Answers(store=store, shard=shard, shared=shared, flush_s=flush_s)

    def _captioned(self, rows: Sequence[Row], ask: Ask, judge: Judge) -> list[Captioned]:
        captioner = Captioner(config=self.config, ask=ask, judge=judge.judge, source=judge.source)
        found = captioner.caption(rows)
        made = [self._ranked(row, each, judge) for row, each in zip(rows, found, strict=True)]
        return fused(rows, made, ask, judge)

    def _ranked(self, row: Row, made: Captioned, judge: Judge) -> Captioned:
        """Put the caption that agrees best with the image first, if the recipe says so."""
        compare = judge.cosine
        if self.config.choose == "first" or compare is None or len(made.passed) < 2:
            return made

        def disagreement(each: Written) -> float:
            cosine = compare(row, each.caption)
            return 2.0 if cosine is None else -cosine

        return replace(made, passed=sorted(made.passed, key=disagreement))

    def _asker(self, shard: int, store: Storage, judge: Judge, clock: DeviceClock) -> Asker:
        return Asker(
            engines=[(config, make_engine(config)) for config in self.config.engines],
            prompt_of=judge.prompt,
            max_new_tokens=judge.max_new_tokens,
            store=store,
            answers=self.answers(shard, store),
            decode=self.decode,
            clock=clock,
            require=self._require_gpu,
        )

    def _require_gpu(self) -> None:
        if gpu := self.gpu:
            require_gpu(self.name, f"caption.gpu ({gpu.type})", "--set caption.gpu=null")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What came of the rows of a shard."""

    rows_in: int
    kept: Sequence[dict[str, Any]]  # of schema CAPTIONS, and `turns` of listed conversations
    rejects: Sequence[Reject] = ()


def _listed_row(row: Row, text: str) -> dict[str, Any]:
    said = {"caption": text, "text": text, "style": SOURCE, "origin": "text"}
    return {
        "key": row["key"],
        "turns": row["turns"],
        "caption": text,
        "caption_origin": "text",
        "caption_style": SOURCE,
        "flags": [],
        "written": [blank_row(WRITTEN) | said],
    }


def _row(key: str, made: Captioned, flags: Flags | None) -> dict[str, Any]:
    first = made.passed[0]
    said = flags.values if flags else {}
    return {
        "key": key,
        "caption": first.caption,
        "caption_origin": first.origin,
        "caption_style": first.style,
        "flags": [
            {"name": name, "value": value} for name, value in said.items() if value is not None
        ],
        "written": [asdict(each) for each in made.written],
    }
