"""The section `caption` of the recipe: which engines write captions, how, and what is refused."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from schemas.languages import LANGUAGES
from schemas.sections import Fraction, Gpu, Model, Name, Section, Sha256, StageConfig
from schemas.subsets import InstructedSubset

Boilerplate = Literal["hash", "eps", "filename", "credit", "placeholder", "punctuation"]
"""Rules of `filters.caption_boilerplate`."""

SOURCE = "source"  # the style of the source's own words: its text, or a sentence of title and tags


class _Engine(Section):
    name: Name  # in `captions/`, and in the sample's `caption_origin`


class _Generation(_Engine):
    """How a model is asked."""

    image_side: int = Field(default=512, ge=32, le=4096)  # px, longer side of the image sent
    # What the model's boxes count in, for the style `grounded`: pixels of the image sent, as
    # Qwen2.5-VL, or thousandths of its sides, as Qwen2-VL and Qwen3-VL.
    boxes: Literal["pixels", "thousandths"] = "pixels"
    temperature: float = Field(default=0.0, ge=0, le=2)  # 0: the likeliest words
    top_p: float = Field(default=1.0, gt=0, le=1)  # share of the likeliest words that is drawn from


class OpenAiEngine(_Generation):
    """A server with OpenAI's API: vLLM, SGLang, llama.cpp, or a cloud."""

    EFFORT_FIELDS = frozenset(
        {"url", "key_env", "concurrency", "timeout_s", "attempts", "prompt_price"}
        | {"completion_price"}
    )

    engine: Literal["openai"]
    # To `/v1`, as http://localhost:8000/v1; without a user, a password or a query.
    url: str = Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#@]*)?$")
    model: str  # as the server calls it
    key_env: str = Field(default="OPENAI_API_KEY", pattern=r"^[A-Z_][A-Z0-9_]*$")  # variable
    concurrency: int = Field(default=16, ge=1, le=1024)  # requests of a worker at once, at most
    timeout_s: float = Field(default=120.0, gt=0)  # of a request
    attempts: int = Field(default=6, ge=1)  # of a request that meets 429, 5xx or a lost connection
    prompt_price: float = Field(default=0.0, ge=0)  # money for a million tokens
    completion_price: float = Field(default=0.0, ge=0)  # money for a million tokens


class TransformersEngine(_Generation):
    """A model of transformers that takes images and text, run by the workers."""

    EFFORT_FIELDS = frozenset({"batch_size"})

    engine: Literal["transformers"]
    model: str  # name on the hub, or the path of a folder
    revision: str = ""  # of a model on the hub
    model_sha256: Sha256 = ""  # of a folder's files; checked if given, otherwise set by the build
    precision: Literal["fp32", "bf16"] = "fp32"  # of the weights
    batch_size: int = Field(default=8, ge=1)  # images that the model reads at once, at most


class VllmEngine(_Generation):
    """A vLLM server that each worker with a GPU starts, shared by its processes."""

    EFFORT_FIELDS = frozenset(
        {"effort_arguments", "concurrency", "timeout_s", "attempts", "start_s"}
    )

    engine: Literal["vllm"]
    model: str  # name on the hub, or the path of a folder
    revision: str = ""  # of a model on the hub
    model_sha256: Sha256 = ""  # of a folder's files; checked if given, otherwise set by the build
    arguments: tuple[str, ...] = ()  # of `vllm serve` that may change answers: --quantization, ...
    # Those that change none: --gpu-memory-utilization, --tensor-parallel-size, ...
    effort_arguments: tuple[str, ...] = ()
    concurrency: int = Field(default=64, ge=1, le=1024)  # requests of a worker at once, at most
    timeout_s: float = Field(default=120.0, gt=0)  # of a request
    attempts: int = Field(default=6, ge=1)  # of a request that meets 429, 5xx or a lost connection
    start_s: float = Field(default=900.0, gt=0)  # until it answers


class CustomEngine(_Generation):
    """A callable by its dotted name; see docs/how-to/add-a-captioner.md."""

    EFFORT_FIELDS = frozenset({"batch_size"})

    engine: Literal["custom"]
    callable: str = Field(pattern=r"^[\w.]+:[\w.]+$")  # MODULE:NAME
    version: str = ""  # raised when its answers change
    batch_size: int = Field(default=8, ge=1)  # images that it is given at once, at most


CaptionEngine = Annotated[
    OpenAiEngine | TransformersEngine | VllmEngine | CustomEngine,
    Field(discriminator="engine"),
]


BUNDLED_STYLES = ("sentence", "dense", "tags", "grounded")
"""Styles with a prompt of their own, in `filters.captions.styles`."""

Form = Literal["text", "tags", "regions", "json"]
"""What an answer must be: sentences; a list; a caption with boxes; JSON by a schema of yours."""


RESERVED = ("fused", "questions", "instruction", "lead_in")


class Style(Model):
    """A kind of caption: what is asked, and how long an answer may be.

    What is not given is that of the bundled style of this name. A style of your own needs a prompt.
    """

    style: Name  # a bundled one: sentence, dense, tags, grounded; source; or a name of yours
    share: float = Field(default=1.0, gt=0)  # of the rows, against the other styles
    prompt: str = ""  # '' for a bundled style's own; {text} and {title} are the source's words
    form: Form | None = None  # of the answer; null: the bundled style's, or text
    json_schema: dict[str, Any] | None = None  # that answers of form json follow
    max_new_tokens: int | None = Field(default=None, ge=1)  # that a model may write
    min_tokens: int | None = Field(default=None, ge=0)  # of a caption, by the text tokenizer
    max_tokens: int | None = Field(default=None, ge=1)  # of a caption

    @model_validator(mode="after")
    def _check(self) -> "Style":
        if self.style in RESERVED:
            raise ValueError(f"{self.style} is the name of a style that the stage itself makes")
        if self.style == SOURCE and (self.prompt or self.form or self.json_schema):
            raise ValueError("source is the source's own words: it has no prompt, form or schema")
        if self.style not in (*BUNDLED_STYLES, SOURCE) and not self.prompt.strip():
            known = ", ".join((*BUNDLED_STYLES, SOURCE))
            raise ValueError(f"{self.style} is not bundled ({known}), so it needs a prompt")
        if (self.form == "json") != (self.json_schema is not None):
            raise ValueError("form json and json_schema belong together; one is missing")
        least, most = self.min_tokens, self.max_tokens
        if least is not None and most is not None and least > most:
            raise ValueError(f"min_tokens {least} is more than max_tokens {most}")
        return self


class Gates(Model):
    """What is no caption. Each refusal has its own reason, and its text is kept."""

    refusal: bool = True  # "I'm sorry", "as an AI", in several languages
    truncated: bool = True  # the model was cut off by max_new_tokens
    loop: Fraction | None = 0.3  # most share of repeated sequences of words; null: not used
    languages: tuple[str, ...] = ()  # ISO 639 codes that a caption may be in; none: any
    echo: bool = True  # the prompt instead of an answer
    special_tokens: bool = True  # <|im_end|>, <image>, ...
    names: bool = False  # of people, as far as a list of titles and verbs finds them
    min_clip: float | None = None  # least cosine with the image, by the scorer `clip_scorer`
    clip_scorer: Name = "clip"  # scorer of `score` whose model compares caption and image

    @field_validator("languages")
    @classmethod
    def _are_known(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted({*languages} - LANGUAGES):
            known = ", ".join(sorted(LANGUAGES))
            raise ValueError(f"{', '.join(unknown)}: no language that is known: {known}")
        return languages


class Question(Model):
    """A question with yes or no for an answer, about the image."""

    name: Name  # of the flag
    question: str  # with yes or no for an answer; yes is what a rule may forbid


class Fusion(Model):
    """One caption of the source's words and a generated one, by an engine that reads texts alone.

    As in CapsFusion (arXiv 2310.20550): names and facts of the source, in the caption's words.
    """

    engine: Name  # of `caption.engines`
    prompt: str = ""  # with {text}, {title} and {caption}; '' for the bundled one
    max_new_tokens: int = Field(default=256, ge=1)  # that the model may write
    min_tokens: int = Field(default=1, ge=0)  # of the caption, by the text tokenizer
    max_tokens: int = Field(default=512, ge=1)  # of the caption


class Instruction(Model):
    """Instructions of a subset that an engine writes, from texts alone.

    Rows that are not drawn, and those whose text a gate refuses, get a form of a template file.
    """

    engine: Name  # of `caption.engines`
    share: float = Field(default=1.0, gt=0, le=1)  # of the rows, drawn by a hash of the key
    prompt: str = ""  # with {caption}, the caption or the edit; '' for the bundled one
    # Whether the engine also writes the answer's words before the image, of rows whose instruction
    # it wrote; not of answers that are captions.
    lead_in: bool = False
    # Least share of the main words of the caption, or of the edit, that the instruction holds.
    keeps: Fraction = 0.5
    max_new_tokens: int = Field(default=160, ge=1)  # that the model may write
    min_tokens: int = Field(default=3, ge=0)  # of the instruction, by the text tokenizer
    max_tokens: int = Field(default=160, ge=1)  # of the instruction


class CaptionConfig(StageConfig):
    """The captions of every kept row: styles drawn by a hash of its key, written by engines.

    A row is dropped only if no style gives it a caption and `otherwise` says so, or if the source's
    words are asked for and are empty after cleaning, or match a rule named here. The length of the
    source's words is checked by `select` (text_words, text_chars).
    """

    EFFORT_FIELDS = frozenset({"cache", "gpu"})

    # Drawn by a hash of the row's key.
    styles: tuple[Style, ...] = Field(default=(Style(style=SOURCE),), min_length=1)
    per_row: int = Field(default=1, ge=1)  # captions of a row, each in another style
    # Which of them is the row's caption: the first that was drawn, or the one that agrees best with
    # the image, by `gates.clip_scorer`.
    choose: Literal["first", "best"] = "first"
    all: bool = False  # whether samples hold all captions of their row, not only the first
    # Models, asked in this order until one gives a caption that passes the gates.
    engines: tuple[CaptionEngine, ...] = ()
    gates: Gates = Gates()
    # Of a row that no engine captions in any style: the source's words, or a drop.
    otherwise: Literal["source", "drop"] = "source"
    fuse: Fusion | None = None  # of a row's generated caption and its text; null: not used
    # Asked of the first engine in one request a row; `default` asks a set of 20. The answers are
    # flags in `captions/` and in the signals of a sample.
    questions: Literal["default"] | tuple[Question, ...] = ()
    forbid: tuple[Name, ...] = ()  # names of questions: a row whose answer is yes is dropped
    # By subset: which rows a model writes the user's turn of, instead of a form of `pair`.
    instructions: dict[InstructedSubset, Instruction] = Field(default={})
    cache: str | None = None  # folder of answers that several corpora share, any fsspec URL
    gpu: Gpu | None = None  # requested from the runner for this stage only
    max_chars: int = Field(default=512, ge=16)  # of the source's words; longer texts are cut
    # Texts that are no captions; [] keeps all. hash: a printed Perl reference; eps: "EPS converted
    # from"; filename: of an image, or a camera's number; credit: "public domain", "made with
    # Inkscape"; placeholder: only "null", "none", "untitled"; punctuation: no letter, digit, emoji.
    boilerplate: tuple[Boilerplate, ...] = get_args(Boilerplate)
    # A text with fewer words is replaced by a sentence of title and tags, if there is a title.
    title_below_words: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _engines_and_styles_fit(self) -> "CaptionConfig":
        for what, names in (
            ("style", [style.style for style in self.styles]),
            ("engine", [engine.name for engine in self.engines]),
            ("question", self.own_questions),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"more than one {what} is named {', '.join(twice)}")
        if self.per_row > len(self.styles):
            raise ValueError(f"per_row is {self.per_row}, there are {len(self.styles)} styles")
        generated = [style.style for style in self.styles if style.style != SOURCE]
        if (generated or self.questions) and not self.engines:
            what = ", ".join(generated) or "questions"
            raise ValueError(f"{what}: no engine writes it; name one in caption.engines")
        if self.fuse and self.fuse.engine not in [engine.name for engine in self.engines]:
            raise ValueError(f"fuse.engine: no engine is named {self.fuse.engine!r}")
        for subset, instruction in self.instructions.items():
            if instruction.engine not in [engine.name for engine in self.engines]:
                where = f"instructions.{subset}.engine"
                raise ValueError(f"{where}: no engine is named {instruction.engine!r}")
            if instruction.prompt and "{caption}" not in instruction.prompt:
                where = f"instructions.{subset}.prompt"
                raise ValueError(f"{where}: {instruction.prompt!r} must hold {{caption}}")
        unknown = sorted({*self.forbid} - {*self.own_questions})
        if unknown and self.questions != "default":
            raise ValueError(f"forbid: {', '.join(unknown)} is no question of this recipe")
        return self

    @property
    def compares(self) -> bool:
        """Whether captions are compared with images, by `gates.clip_scorer`."""
        return self.gates.min_clip is not None or self.choose == "best"

    @property
    def own_questions(self) -> list[str]:
        """The names of the recipe's own questions."""
        return [each.name for each in self.questions if isinstance(each, Question)]

    def decides(self) -> Mapping[str, Any]:
        """Return what decides the captions: of an engine neither its place nor its speed."""
        data: dict[str, Any] = self.model_dump(mode="json", exclude={*self.EFFORT_FIELDS})
        for engine, fields in zip(self.engines, data["engines"], strict=True):
            for name in engine.EFFORT_FIELDS:
                del fields[name]
            if fields.get("model_sha256"):
                del fields["model"]
        return data
