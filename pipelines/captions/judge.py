"""What is asked for a row, and whether the answer is a caption."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from filters.caption import source_caption, why_no_caption
from filters.captioner import Answer
from filters.captions.gates import Gated, agreeing, gated
from filters.captions.instruction_gates import instruction_fault, lead_in_fault, without_label
from filters.captions.instructions import (
    INSTRUCTION,
    LEAD_IN,
    instruction_request,
    lead_in_request,
)
from filters.captions.languages import detector
from filters.captions.questions import (
    Flags,
    flags_in,
    questions_of,
    questions_prompt,
    questions_schema,
)
from filters.captions.styles import FUSED, fusion_of, request_of
from filters.captions.styles import Request as Asked
from filters.text import primary_text
from model.data.text_tokenizer import BUNDLED
from pipelines.captions.ask import Prompt, sent_size
from pipelines.captions.choose import Request, Row, Written
from schemas.caption_config import SOURCE, CaptionConfig, Instruction, Style
from schemas.subsets import T2I, Subset

REFUSED = "refused"  # reason: the server took the request for wrong
TOKENS_OF_A_FLAG = 16  # "cropped_subject": false,
FUSION = Style.model_construct(style=FUSED, share=1.0)  # what is asked of two texts
QUESTIONS = Style.model_construct(style="questions", share=1.0)  # what is asked beside captions
INSTRUCTIONS = Style.model_construct(style=INSTRUCTION, share=1.0)  # what is asked of a caption
LEAD_INS = Style.model_construct(style=LEAD_IN, share=1.0)  # what is asked of an instruction


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Asks and judges as a recipe says."""

    config: CaptionConfig
    subset: Subset = T2I  # of the rows
    cosine: Callable[[Row, str], float | None] | None = None  # of a row's image and a caption

    def prompt(self, request: Request) -> Prompt:
        """Return what is asked about the row's image."""
        if request.style is QUESTIONS:
            questions = questions_of(self.config)
            text = questions_prompt(questions)
            return Prompt(id="", text=text, schema=questions_schema(questions))
        if request.style in (FUSION, INSTRUCTIONS, LEAD_INS):
            asked = self._asked(request.style)
            words = row_text(request.row) if request.style is FUSION else ""
            text = asked.prompt_for(words, "", request.row["caption"])
            return Prompt(id=asked.prompt_id, text=text, reads_image=False)
        asked = request_of(request.style)
        row = request.row
        return Prompt(
            id=asked.prompt_id,
            text=asked.prompt_for(row["text"], row["title"]),
            schema=asked.schema,
        )

    def max_new_tokens(self, style: Style) -> int:
        """Return how many tokens a model may write in a style."""
        if style is QUESTIONS:
            return TOKENS_OF_A_FLAG * len(questions_of(self.config))
        return self._asked(style).max_new_tokens

    def _asked(self, style: Style) -> Asked:
        if style is FUSION:
            assert self.config.fuse
            return fusion_of(self.config.fuse)
        if style is INSTRUCTIONS:
            assert self.instruction
            return instruction_request(self.instruction, self.subset)
        if style is LEAD_INS:
            return lead_in_request()
        return request_of(style)

    @property
    def instruction(self) -> Instruction | None:
        """How a model writes the user's turn of the rows' subset; None where templates do."""
        by_name: dict[str, Instruction] = {**self.config.instructions}
        return by_name.get(self.subset.name)

    @property
    def writer(self) -> int:
        """The number of the engine that writes the user's turn."""
        assert self.instruction
        return [each.name for each in self.config.engines].index(self.instruction.engine)

    def judge(self, request: Request, answer: Answer) -> Written:
        """Apply the gates to an answer."""
        asked = self._asked(request.style)
        if answer.status == "refused":
            found = Gated(text="", reason=REFUSED, detail=answer.detail)
        else:
            found = gated(
                answer.text,
                answer.finish_reason,
                request=asked,
                gates=self.config.gates,
                count_tokens=count_tokens,
                language_of=detector() if self.config.gates.languages else None,
                size=self._counted_in(request) if asked.form == "regions" else None,
            )
            if request.style in (INSTRUCTIONS, LEAD_INS):
                found = self._instructing(found, request)
            elif self.cosine and not found.reason:
                found = agreeing(found, self.cosine(request.row, found.text), self.config.gates)
        engine = self.config.engines[request.engine].name
        return Written(
            style=request.style.style,
            engine=engine,
            origin=engine,
            model=answer.model,
            prompt=asked.prompt_id,
            digest=answer.digest,
            text=answer.text,
            caption="" if found.reason else found.text,
            reason=found.reason,
            detail=found.detail,
            finish_reason=answer.finish_reason,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
        )

    def _instructing(self, found: Gated, request: Request) -> Gated:
        """Apply the gates of instructions to a text that passed those of captions."""
        if found.reason:
            return found
        given, text = request.row["caption"], without_label(found.text)
        if request.style is LEAD_INS:
            fault = lead_in_fault(text, given)
        else:
            assert self.instruction
            fault = instruction_fault(text, given, self.subset, self.instruction.keeps)
        return (
            Gated(text=text, reason=fault.reason, detail=fault.detail)
            if fault
            else Gated(text=text)
        )

    def flags(self, answer: Answer) -> Flags:
        """Read what an answer says to the recipe's questions."""
        return flags_in(answer.text, questions_of(self.config))

    def _counted_in(self, request: Request) -> tuple[int, int]:
        """Return the width and height that a model's boxes count in."""
        engine = self.config.engines[request.engine]
        if engine.boxes == "thousandths":
            return 1000, 1000
        return sent_size(request.row["size"], engine.image_side)

    def source(self, row: Row) -> Written:
        """Write a row's caption from the source's own words."""
        text, title, tags = row["text"], row["title"], row["tags"]
        rules = self.config.boilerplate
        caption, origin = source_caption(
            text,
            title,
            tags,
            max_chars=self.config.max_chars,
            boilerplate=rules,
            title_below_words=self.config.title_below_words,
        )
        write = partial(Written, style=SOURCE, engine="")
        if caption:
            return write(origin=origin, caption=caption)
        reason, detail = why_no_caption(text, title, tags, rules)
        return write(origin="", reason=reason, detail=detail)


def row_text(row: Row) -> str:
    """Return the source's words of a row: the text, or else the title."""
    return primary_text(row["text"], row["title"])


def count_tokens(text: str) -> int:
    """Return the number of tokens of a text, by the bundled text tokenizer."""
    return len(_tokenizer().encode(text, add_special_tokens=False).ids)


@cache
def _tokenizer() -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
