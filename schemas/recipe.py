"""The recipe: one YAML file that decides every byte of a corpus.

Every model rejects unknown keys. `content` leaves out the keys for the location of the input and
the effort to get it, so that a moved list or a longer time-out rebuilds nothing.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import AfterValidator, Field, create_model, field_validator, model_validator

from schemas.caption_config import CaptionConfig
from schemas.fingerprint import fingerprint
from schemas.list_config import BalanceConfig, Benchmark, KnownHashes
from schemas.markers import marker_in
from schemas.rule_config import Rule, Rules, decided
from schemas.score_config import ScoreConfig
from schemas.sections import Fraction, Gpu, Model, Name, Section, Sha256, StageConfig
from schemas.source_config import Source


def _with_paths(given: Any) -> Any:
    """Return a list in which a text is the path of an item."""
    if not isinstance(given, list | tuple):
        return given
    items = cast(Sequence[Any], given)
    return tuple({"path": each} if isinstance(each, str) else each for each in items)


def _checked_prompt(prompt: str) -> str:
    """Refuse a system prompt without words, or with a token of chat templates."""
    if not prompt.strip():
        raise ValueError("a system prompt has words")
    if marker := marker_in(prompt):
        raise ValueError(f"{prompt!r} must not hold {marker}")
    return prompt


SystemPrompt = Annotated[str, AfterValidator(_checked_prompt)]


OptOutHeader = Literal["x-robots-tag", "tdm-reservation", "content-usage", "content-signal"]


class CrawlConfig(StageConfig):
    """The settings for fetching URLs."""

    MAX_FAILED = 0.8
    EFFORT_FIELDS = frozenset(
        {"concurrency", "timeout_s", "retries", "max_retry_after_s", "user_agent"}
        | {"max_per_host", "min_delay_s", "host_failures"}
    )

    concurrency: int = Field(default=64, ge=1, le=4096)  # parallel requests per shard
    timeout_s: float = Field(default=20.0, gt=0)  # per attempt: connect, redirects and body
    retries: int = Field(default=2, ge=0, le=20)  # after 429, 5xx and broken connections
    # Longest Retry-After to wait for; a host that asks for more gets no further request, and its
    # rows fail for now.
    max_retry_after_s: float = Field(default=30.0, ge=0)
    # Requests at once to one host, of each shard; 0 for no limit.
    max_per_host: int = Field(default=16, ge=0)
    min_delay_s: float = Field(default=0.0, ge=0)  # between two requests to one host, of each shard
    # Requests in a row without a connection, or without an answer in time, after which the other
    # rows of a host fail for now; 0 for never.
    host_failures: int = Field(default=10, ge=0)
    user_agent: str = "vargpt-corpus/0.1"  # as sent
    max_bytes: int = Field(default=20_000_000, gt=0)  # of a body
    max_redirects: int = Field(default=5, ge=0, le=50)  # per URL; a row with more fails
    # Loopback and private networks, but never link-local and metadata addresses.
    allow_private_addresses: bool = False
    # Headers whose opt-outs drop a row; each hop of a redirect is checked.
    opt_out_headers: tuple[OptOutHeader, ...] = get_args(OptOutHeader)
    # Directives of X-Robots-Tag that are opt-outs; `none` includes `noindex`.
    robots_directives: tuple[str, ...] = ("noai", "noimageai", "noindex", "noimageindex")
    # Lists of hashes: an image that is on one is dropped, and its bytes are never stored.
    known_hashes: tuple[KnownHashes, ...] = ()

    @field_validator("known_hashes", mode="before")
    @classmethod
    def _lists(cls, given: Any) -> Any:
        return _with_paths(given)

    def decides_known(self) -> list[Any]:
        """Return what decides which images are known: of a list with a known hash, not its path."""
        return [
            known.model_dump(mode="json", exclude={"path"} if known.sha256 else None)
            for known in self.known_hashes
        ]


class DecodeConfig(Section):
    """The settings for decoding images, in all stages."""

    EFFORT_FIELDS = frozenset({"timeout_s"})

    max_pixels: int = Field(default=100_000_000, gt=0)  # per image; a row with more fails
    # Colour under transparent pixels.
    background: str = Field(default="#ffffff", pattern=r"^#[0-9a-fA-F]{6}$")
    # Per image. The last resort, after limits on work that are the same on every machine.
    timeout_s: float = Field(default=30.0, gt=0, le=86_400)

    def decides(self) -> dict[str, Any]:
        """Return the settings that decide the pixels of an image."""
        return self.model_dump(mode="json", exclude={*self.EFFORT_FIELDS})


class MeasureConfig(StageConfig):
    """The signals to store."""

    MAX_FAILED = 0.2

    # Names of signals; all columns of a signal are stored.
    signals: tuple[str, ...] = (
        "size",
        "crop_loss",
        "blank",
        "sharpness",
        "phash",
        "colour_layout",
        "text_length",
        "text_boilerplate",
    )
    # Settings by signal, if not the defaults: `sharpness: {side: 512}`.
    settings: dict[str, dict[str, bool | int | float | str]] = Field(default={})


class SemanticConfig(Model):
    """Duplicates by the embeddings that a scorer stores."""

    scorer: Name = "clip"  # name of the scorer, with `embedding: true`
    # Rows are duplicates if the cosine of their embeddings is 1 - eps or more.
    eps: float = Field(default=0.05, ge=0, lt=1)


class EarlierCorpus(Model):
    """A corpus whose rows are not to come again; a recipe may give its path alone."""

    path: str  # folder of a finished build, any fsspec URL
    name: str = ""  # of the corpus; set by the build
    manifest_sha256: Sha256 = ""  # checked if given, otherwise set by the build


class DedupConfig(StageConfig):
    """The rules for rows with the same image."""

    MAX_FAILED = None

    same_bytes: bool = True  # whether rows with equal sha256 are duplicates
    phash_distance: int | None = Field(default=4, ge=0, le=16)  # bits of 64; null: not used
    colour_distance: int = Field(default=12, ge=0, le=255)  # levels, in any cell of a 4 x 4 grid
    semantic: SemanticConfig | None = None  # null: not used
    # Earlier corpora: a row that is a duplicate of one of their samples is dropped.
    against: tuple[EarlierCorpus, ...] = ()
    # Sets for evaluation: a row that has a prompt or an image of one is dropped.
    benchmarks: tuple[Benchmark, ...] = ()
    # A text has a prompt if it has so many words of it in a row, or all of a shorter one. Words of
    # templates, as in "a photo of", do not count.
    benchmark_words: int = Field(default=8, ge=3)
    fold_case: bool = True  # whether `A Fox` repeats `a fox`
    # If more rows have a text, all are dropped: it is boilerplate. null: no limit, as below.
    max_text_repeats: int | None = Field(default=None, ge=1)
    # Draws among the rows that are no duplicates, before the caps. null: not used.
    balance: BalanceConfig | None = None
    # Most rows of a text. Which ones are kept, a hash of their keys decides, as below.
    max_per_text: int | None = Field(default=None, ge=1)
    # Most rows of equal bytes; needs `same_bytes: false` and `phash_distance: null`.
    max_per_image: int | None = Field(default=None, ge=1)
    max_per_host: int | None = Field(default=None, ge=1)  # most rows whose URLs have one host
    max_per_author: int | None = Field(default=None, ge=1)  # most rows of one author; not of ''

    @field_validator("against", mode="before")
    @classmethod
    def _paths(cls, given: Any) -> Any:
        return _with_paths(given)

    @model_validator(mode="after")
    def _benchmark_names_differ(self) -> "DedupConfig":
        names = [benchmark.name for benchmark in self.benchmarks]
        shared = sorted({name for name in names if names.count(name) > 1})
        if shared:
            raise ValueError(f"more than one benchmark is named {', '.join(shared)}")
        return self

    def decides(self) -> dict[str, Any]:
        """Return what decides the verdicts: of a file or corpus with a known hash, not its path."""
        data: dict[str, Any] = _without_pinned_files(self.model_dump(mode="json"))
        for earlier in data["against"]:
            if earlier["manifest_sha256"]:
                del earlier["path"]
        return data


class BlurConfig(Model):
    """Blurs faces in all that is made of the images: codes, and JPEGs of the shards.

    Samples with blurred faces have their number in `signals`, as SCORER_blurred.
    """

    scorer: Name = "faces"  # name of the `faces` scorer that finds them
    # Added on each side of a face's box, as a share of its width or height: hair, chin and ears.
    margin: float = Field(default=0.25, ge=0, le=2)

    @property
    def counted_as(self) -> str:
        """The name of the number of blurred faces, among the signals of a sample."""
        return f"{self.scorer}_blurred"


class PairConfig(StageConfig):
    """The templates of instruction pairs."""

    MAX_FAILED = 0.2

    # Copy captions unchanged, as VARGPT-v1.1: "an image of A lion.". Otherwise a caption is fitted
    # into its sentence ("an image of a lion"), or quoted if it is a sentence itself.
    faithful: bool = False

    templates: str = "t2i-v1"  # t2i-v1, also v1_1-faithful; t2i-v2; or the path of a YAML file
    templates_sha256: Sha256 = ""  # of the file; checked if given, otherwise set by the build
    edit_forms: str = "edit-v1"  # forms of edits: a bundled name, or the path of a YAML file
    edit_forms_sha256: Sha256 = ""  # of the file; checked if given, otherwise set by the build
    understand_forms: str = "understand-v1"  # of questions that a caption answers, the same
    understand_forms_sha256: Sha256 = (
        ""  # of the file; checked if given, otherwise set by the build
    )
    # Least difference of the two images of an edit, and of a preference: of the cell of a 16 x 16
    # grid that differs most, in levels of 255. A sample below is dropped.
    min_change: float = Field(default=2.0, ge=0)
    # System prompts: each conversation without one begins with one, drawn by the sample's key.
    system: tuple[SystemPrompt, ...] = ()
    # Longest conversation, in tokens of all its messages by the bundled text tokenizer; images and
    # the chat template are not counted. A sample above is dropped as `too_long`. null: any length.
    max_tokens: int | None = Field(default=None, ge=1)

    @field_validator("system", mode="before")
    @classmethod
    def _prompts(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given


class _Tokenizer(Model):
    name: Name = "tokens"  # of its members: tokens256.npy
    checkpoint: str | None = None  # any fsspec URL; null: random, or the `bundled` weights
    checkpoint_sha256: Sha256 = ""  # of the file; checked if given, otherwise set by the build
    seed: int = 0  # of the random weights
    features: bool = False  # also store float16 features: 16 KB per image at 256 px, 64 KB at 512


class BsqTokenizer(_Tokenizer):
    """Infinity's BSQ-VAE, which VARGPT-v1.1 uses as d32: 521 codes of 32 bits at 256 px."""

    tokenizer: Literal["infinity_bsq"] = "infinity_bsq"
    preset: Literal["bundled", "d14_patchify", "d16", "d24", "d32", "d64"] = "bundled"  # size
    # px, of the square image of each pixel budget
    resolutions: tuple[Literal[128, 256, 512, 768, 1024], ...] = Field(default=(256,), min_length=1)


class VarTokenizer(_Tokenizer):
    """VAR's VQVAE, which VARGPT v1.0 uses: 680 codes of 4,096 at 256 px."""

    tokenizer: Literal["var_vqvae"]
    preset: Literal["bundled", "full", "small"] = "bundled"  # size
    resolutions: tuple[Literal[256, 512], ...] = Field(default=(256,), min_length=1)  # px


Tokenizer = Annotated[BsqTokenizer | VarTokenizer, Field(discriminator="tokenizer")]


class VqTokensConfig(StageConfig):
    """The tokenizers that turn images into multi-scale codes, and the crops that they read."""

    EFFORT_FIELDS = frozenset({"batch_size", "gpu"})

    # Each writes members with its own name; an image is decoded once for all.
    tokenizers: tuple[Tokenizer, ...] = Field(default=(BsqTokenizer(),), min_length=1)
    # square: the centre of every image; buckets: the nearest of Infinity's 15 shapes
    aspects: Literal["square", "buckets"] = "square"
    # crop: cut away what lies outside the shape; contain: shrink the image into the shape, on the
    # background of `decode`, so that nothing is lost
    fit: Literal["crop", "contain"] = "crop"
    views: int = Field(default=1, ge=1, le=64)  # crops per image: the centre, then random places
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"  # of the convolutions; tf32 needs CUDA
    # Decode the codes again and store PSNR and SSIM against the crop; it doubles the cost. With a
    # least value, images below are dropped: what a tokenizer cannot draw teaches noise.
    reconstruction: bool = False
    min_psnr: float | None = Field(default=None, gt=0)  # dB
    min_ssim: float | None = Field(default=None, gt=-1, le=1)  # 1 for equal images
    batch_size: int = Field(default=64, ge=1)  # crops prepared for the device at once
    gpu: Gpu | None = None  # requested from the runner for this stage only

    @model_validator(mode="after")
    def _members_differ(self) -> "VqTokensConfig":
        members = [m for t in self.tokenizers for r in t.resolutions for m in members_of(t, r)]
        shared = sorted({member for member in members if members.count(member) > 1})
        if shared:
            raise ValueError(
                f"more than one tokenizer writes {', '.join(shared)}; give them different names"
            )
        if self.fit == "contain" and self.views > 1:
            raise ValueError("fit: contain has one view, the whole image")
        bounded = self.min_psnr is not None or self.min_ssim is not None
        if bounded and not self.reconstruction:
            raise ValueError("min_psnr and min_ssim need reconstruction: true")
        square = [t.name for t in self.tokenizers if t.tokenizer == "var_vqvae"]
        if self.aspects == "buckets" and square:
            raise ValueError(f"{square[0]}: var_vqvae has square schedules only, not buckets")
        return self


def members_of(tokenizer: BsqTokenizer | VarTokenizer, resolution: int) -> list[str]:
    """Return the members of a sample that a tokenizer writes at a resolution, codes first."""
    codes = f"{tokenizer.name}{resolution}.npy"
    prefix = "" if tokenizer.name == "tokens" else f"{tokenizer.name}_"
    return [codes, f"{prefix}features{resolution}.npy"] if tokenizer.features else [codes]


class ShardConfig(StageConfig):
    """The settings of output shards."""

    MAX_FAILED = None

    samples: int = Field(default=5000, ge=1)  # per shard, on average
    short_side: int = Field(default=512, ge=16)  # px; larger images are shrunk, smaller ones kept
    jpeg_quality: int = Field(default=95, ge=1, le=100)  # of the images that are encoded
    # needed: a JPEG that is upright, sRGB and within `short_side` keeps its coded pixels, without
    # EXIF, comments and profiles; always: every image is encoded, at `jpeg_quality`.
    reencode: Literal["needed", "always"] = "needed"
    # Share of the samples that are written to shards of their own, such as t2i_held_out-000000.tar.
    # Samples of one image, of near images or of one prompt are held out together.
    held_out: float = Field(default=0.0, ge=0, le=0.5)
    # A word that draws anew which samples share an output shard, and which are held out.
    shuffle: str = Field(default="", pattern=r"^[A-Za-z0-9_-]*$")


class _Sections(Model):
    """The recipe without `max_failed_fraction`."""

    name: Name  # of the corpus; all builds in a folder have the same name
    description: str = ""  # copied into manifest and report
    sources: tuple[Source, ...] = Field(min_length=1)  # in the order of shards
    rows_per_shard: int = Field(default=2000, ge=1)  # unit of work, of retry and of durability
    crawl: CrawlConfig = CrawlConfig()
    decode: DecodeConfig = DecodeConfig()
    measure: MeasureConfig = MeasureConfig()
    score: ScoreConfig = ScoreConfig()
    # Rules by column, applied in this order, but those on scores last.
    select: Rules = Field(default={})
    dedup: DedupConfig = DedupConfig()
    caption: CaptionConfig = CaptionConfig()
    pair: PairConfig = PairConfig()
    blur: BlurConfig | None = None  # of faces; null: images stay as they are
    vq_tokens: VqTokensConfig = VqTokensConfig()
    shard: ShardConfig = ShardConfig()


def _largest_shares() -> dict[str, Any]:
    """Return the fields of MaxFailedFraction: ingest, which has no section, and the stages."""
    shares = {"ingest": 0.2}
    for name, field in _Sections.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, StageConfig) and section.MAX_FAILED:
            shares[name] = section.MAX_FAILED
    return {name: (Fraction, share) for name, share in shares.items()}


MaxFailedFraction = create_model(
    "MaxFailedFraction",
    __base__=Model,
    __doc__="Share of failed rows past which a stage stops the build.",
    **_largest_shares(),
)


class Recipe(_Sections):
    """The recipe of a corpus."""

    max_failed_fraction: MaxFailedFraction = MaxFailedFraction()  # pyright: ignore[reportInvalidTypeForm]

    @model_validator(mode="after")
    def _source_names_differ(self) -> "Recipe":
        names = [source.name for source in self.sources]
        shared = sorted({name for name in names if names.count(name) > 1})
        if shared:
            raise ValueError(f"sources: more than one source is named {', '.join(shared)}")
        return self

    def rules_by_source(self) -> dict[str, dict[str, Rule]]:
        """Return the rules that apply to each source, in order."""
        return {source.name: {**self.select, **source.select} for source in self.sources}

    def content(self) -> dict[str, Any]:
        """Return the settings that decide the corpus's bytes, given the bytes of its sources.

        A file of templates, weights or texts with a pinned hash is represented by the hash alone.
        """
        data = self.model_dump(mode="json", exclude={"max_failed_fraction"})
        for source in data["sources"]:
            for place in ("path", "base_url", "list"):
                source.pop(place, None)
                source.get("of", {}).pop(place, None)
        for name, section in self:
            for field in section.EFFORT_FIELDS if isinstance(section, Section) else ():
                del data[name][field]
        data["dedup"] = self.dedup.decides()
        data["caption"] = dict(self.caption.decides())
        data["crawl"]["known_hashes"] = self.crawl.decides_known()
        # As a list, because mappings are hashed in any order.
        data["select"] = decided(self.select)
        for source, fields in zip(self.sources, data["sources"], strict=True):
            fields["select"] = decided(source.select)
        return _without_pinned_files(data)

    def fingerprint(self) -> str:
        """Hash `content` to 32 hex digits; every sample contains it."""
        return fingerprint(self.content())


def _without_pinned_files(data: Any) -> Any:
    """Leave out each value `NAME` with a hash in `NAME_sha256`, at any depth."""
    if isinstance(data, list):
        return [_without_pinned_files(item) for item in cast(list[Any], data)]
    if not isinstance(data, dict):
        return data
    fields = cast(dict[str, Any], data)
    ends = {name for name, value in fields.items() if name.endswith("_sha256") and value}
    pinned = {name.removesuffix("_sha256") for name in ends}
    return {k: _without_pinned_files(v) for k, v in fields.items() if k not in pinned}
