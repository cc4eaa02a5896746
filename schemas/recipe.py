"""The recipe: one YAML file that decides every byte of a corpus.

Every model rejects unknown keys. `content` leaves out what decides only where the input lies and
how hard we try to get it, so that a moved list or a longer time-out rebuilds nothing.
"""

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from schemas.fingerprint import fingerprint

Fraction = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=64)]
TextOf = Literal["first_line", "whole"]  # of a .txt; the first line that holds more than blanks
Boilerplate = Literal["hash", "eps", "filename", "credit", "placeholder", "punctuation"]


class _Model(BaseModel):
    # YAML's .inf and .nan have no JSON, and so no fingerprint.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Section(_Model):
    """A section of the recipe."""

    # What decides how hard we try, and no byte of what comes out.
    EFFORT_FIELDS: ClassVar[frozenset[str]] = frozenset()


class StageConfig(Section):
    """The section of a stage, which has the stage's name."""

    # Share of failed rows past which the stage stops the build, unless `max_failed_fraction` says
    # another; None where no row can fail.
    MAX_FAILED: ClassVar[float | None] = 0.05


# Which column: its name, a path into it (`caption[0].text`), or the number of a column of a list
# that has no header, from 0.
Column = str | Annotated[int, Field(strict=True, ge=0)]


class Columns(_Model):
    """Which columns of a list hold what; '' reads none.

    A column that the recipe names must be in a file of the source. One of the defaults may be
    absent, and reads as '', but not both text and title: `text: ""` says that there is neither.
    """

    url: Column = "url"  # URL, or the path of the image inside a folder
    text: Column = "text"  # alt text, prompt or description
    title: Column = "title"  # in place of a text, or before it
    tags: Column = "tags"  # a list, or a string separated by commas
    licence: Column = "licence"  # in place of the source's
    author: Column = "author"  # copied into the samples
    # What a list of strings is as a text: its first that is not blank, all of them, or malformed.
    lists: Literal["first", "join", "refuse"] = "first"

    @model_validator(mode="after")
    def _names_or_numbers(self) -> "Columns":
        given = [column for column in self.explicit().values() if column != ""]
        if len({isinstance(column, int) for column in given}) > 1:
            raise ValueError("numbers are for lists without a header: give all columns so, or none")
        return self

    def explicit(self) -> dict[str, Column]:
        """Return {field: column} of what the recipe says, '' included."""
        return {field: column for field, column in self._all() if field in self.model_fields_set}

    def mapped(self) -> dict[str, Column]:
        """Return {field: column} of what is read; where a number is given, nothing is by name."""
        named = not self.are_numbers
        return {
            field: column
            for field, column in self._all()
            if column != "" and (named or isinstance(column, int))
        }

    @property
    def are_numbers(self) -> bool:
        """Whether the lists have no header."""
        return any(isinstance(column, int) for _, column in self._all())

    def _all(self) -> list[tuple[str, Column]]:
        fields = (field for field in Columns.model_fields if field != "lists")
        return [(field, getattr(self, field)) for field in fields]


class FolderColumns(Columns):
    """The columns of a list of files."""

    url: Column = "path"


class TarColumns(Columns):
    """The keys of a .json member."""

    text: Column = "caption"

    @model_validator(mode="after")
    def _are_names(self) -> "TarColumns":
        if self.are_numbers:
            raise ValueError("numbers are for lists without a header, expected keys of JSON")
        return self


class _Source(_Model):
    name: Name  # in counts, in keys of rows, and for --set
    licence: str = ""  # of rows whose list names none
    quota: int | None = Field(default=None, gt=0)  # most images of this source in the corpus


# Which symbolic links of a source are read: those whose target lies inside its folder, all, none.
Links = Literal["inside", "follow", "never"]

# What a quote is in CSV and TSV: `quotes` wrap cells, as RFC 4180 says; `none`: a character like
# any other; `auto`: quotes in CSV, none in TSV.
Quoting = Literal["auto", "quotes", "none"]


class ListSource(_Source):
    """Lists of URLs to crawl: CSV, TSV, JSONL, Parquet and more, told apart by their suffix."""

    kind: Literal["list"]
    path: str  # file or glob, any fsspec URL
    columns: Columns = Columns()
    quoting: Quoting = "auto"  # of CSV and TSV; auto: quotes in CSV, none in TSV
    links: Links = "inside"  # of lists that a wildcard finds
    base_url: str = ""  # joined to relative URLs


class FolderSource(_Source):
    """A folder of images, read in place.

    Texts come from a list (`list`, whose url column holds paths relative to `path`), or from
    a file of the same name beside each image: `.txt`, or `.json` with the columns' keys.
    """

    kind: Literal["folder"]
    path: str  # folder, any fsspec URL
    list: str = ""  # of a format that `kind: list` reads
    # Of a .txt. Trainers of such folders take the first line: other lines are other captions,
    # perhaps in other languages.
    text: TextOf = "first_line"
    columns: FolderColumns = FolderColumns()
    links: Links = "inside"  # of images and of folders
    quoting: Quoting = "auto"  # of the list


class TarSource(_Source):
    """WebDataset tars, img2dataset's among them: bytes are referenced where they lie.

    Those of a compressed tar (gz, bz2, xz, zst) are copied.
    """

    kind: Literal["webdataset"]
    path: str  # tar, glob or {00000..00099}
    columns: TarColumns = TarColumns()  # a .txt member wins over the text
    text: TextOf = "whole"  # of a .txt, which img2dataset writes one caption to, as it was listed
    links: Links = "inside"  # of tars that a wildcard finds, and of members: to others of their tar


class HuggingFaceSource(_Source):
    """A dataset on this machine or on the Hub, read through `datasets` streaming."""

    kind: Literal["huggingface"]
    path: str  # local folder, file or glob if there is one of that name, else a Hub name
    config: str | None = None  # as the dataset names it; null for its only one
    split: str = "train"  # as the dataset names it
    image: str = "image"  # column of images; '' to crawl the url column instead
    columns: Columns = Columns()


Source = Annotated[
    ListSource | FolderSource | TarSource | HuggingFaceSource, Field(discriminator="kind")
]


class CrawlConfig(StageConfig):
    """How URLs are fetched."""

    MAX_FAILED = 0.8
    EFFORT_FIELDS = frozenset(
        {"concurrency", "timeout_s", "retries", "max_retry_after_s", "user_agent"}
    )

    concurrency: int = Field(default=64, ge=1, le=4096)  # requests in flight a shard
    timeout_s: float = Field(default=20.0, gt=0)  # one attempt: connect, redirects and body
    retries: int = Field(default=2, ge=0, le=20)  # on 429, 5xx and broken connections
    max_retry_after_s: float = Field(default=30.0, ge=0)  # longest Retry-After that is waited for
    user_agent: str = "vargpt-corpus/0.1"  # as sent
    max_bytes: int = Field(default=20_000_000, gt=0)  # of a body
    max_redirects: int = Field(default=5, ge=0, le=50)  # of one URL; more is a failed row
    # Loopback and private networks, but never link-local and metadata addresses.
    allow_private_addresses: bool = False
    robots_directives: tuple[str, ...] = ("noai", "noimageai", "noindex")  # X-Robots-Tag


class DecodeConfig(Section):
    """How bytes become pixels, wherever an image is decoded."""

    EFFORT_FIELDS = frozenset({"timeout_s"})

    max_pixels: int = Field(default=100_000_000, gt=0)  # of one image; more is a failed row
    # Under transparent pixels.
    background: str = Field(default="#ffffff", pattern=r"^#[0-9a-fA-F]{6}$")
    # For one image: the last resort, after limits on work that are the same on every machine.
    timeout_s: float = Field(default=30.0, gt=0, le=86_400)

    def decides(self) -> dict[str, Any]:
        """Return what decides the pixels of an image that can be decoded."""
        return self.model_dump(mode="json", exclude={*self.EFFORT_FIELDS})


class MeasureConfig(StageConfig):
    """Which signals are stored."""

    MAX_FAILED = 0.2

    # Names of signals, all of whose columns are stored.
    signals: tuple[str, ...] = (
        "size",
        "blank",
        "sharpness",
        "phash",
        "colour_layout",
        "text_length",
        "text_boilerplate",
    )
    # Signal -> its settings, where they are not the defaults: `sharpness: {side: 512}`.
    settings: dict[str, dict[str, bool | int | float | str]] = {}


class DedupConfig(StageConfig):
    """Which rows are the same image."""

    MAX_FAILED = None

    same_bytes: bool = True  # whether equal sha256 is a duplicate
    phash_distance: int | None = Field(default=4, ge=0, le=16)  # bits of 64; null turns it off
    colour_distance: int = Field(default=12, ge=0, le=255)  # levels, in any cell of a 4 x 4 grid
    fold_case: bool = True  # whether `A Fox` repeats `a fox`, in the signal text_repeats


class Rule(_Model):
    """Bounds of one signal, both inclusive; `forbid` drops rows whose flag is set.

    `cap` is for `text_repeats`: of a text that more rows have, about that many stay. Each stays
    with probability cap / rows, drawn by the hash of its key (MetaCLIP balances so,
    arXiv 2309.16671 section 3).
    """

    min: float | None = None  # least value that stays
    max: float | None = None  # largest value that stays
    forbid: bool = False  # whether a row whose flag is set goes
    cap: int | None = Field(default=None, ge=1)  # rows of a text that stay, about; for text_repeats

    @model_validator(mode="after")
    def _says_something(self) -> "Rule":
        if self.min is None and self.max is None and self.cap is None and not self.forbid:
            raise ValueError("a rule needs min, max or forbid: true")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is over max, so no image passes")
        return self


class CaptionConfig(StageConfig):
    """Which engine writes captions.

    A row is dropped only where cleaning leaves nothing of its text and title, or they break a rule
    named here; how long they must be, `select` says (text_words, text_chars).
    """

    engine: Literal["source"] = "source"  # the source's own words
    max_chars: int = Field(default=512, ge=16)  # of a caption; longer texts are cut
    # What is no caption; [] keeps all. hash: a printed Perl reference; eps: "EPS converted from";
    # filename: of an image, or a camera's number; credit: "public domain", "made with Inkscape";
    # placeholder: nothing but "null", "none", "untitled"; punctuation: no letter, digit or emoji.
    boilerplate: tuple[Boilerplate, ...] = get_args(Boilerplate)
    # A text of fewer words yields to a sentence of title and tags, where there is a title.
    title_below_words: int = Field(default=0, ge=0)


class PairConfig(StageConfig):
    """Which templates make instruction pairs."""

    MAX_FAILED = 0.2

    # Copy captions letter by letter, as VARGPT-v1.1 did: "an image of A lion.". Else a caption is
    # fitted into its sentence ("an image of a lion"), or quoted where it is one or more itself.
    faithful: bool = False

    templates: str = "t2i-v1"  # a bundled name, or the path of a YAML file
    templates_sha256: Sha256 = ""  # of the file; filled in by the build, checked where given


class _Tokenizer(_Model):
    name: Name = "tokens"  # of its members: tokens256.npy
    checkpoint: str | None = None  # any fsspec URL; null for random weights, but `bundled`'s own
    checkpoint_sha256: Sha256 = ""  # of the file; filled in by the build, checked where given
    seed: int = 0  # of the random weights
    features: bool = False  # also float16 features: 16 KB an image at 256 px, 64 KB at 512


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


class Gpu(_Model):
    """What a worker of the tokens needs, for runners that choose machines by resource hints."""

    type: str = Field(pattern=r"^[a-z0-9-]+$")  # as the cloud names it, e.g. nvidia-l4
    count: int = Field(default=1, ge=1)  # of a worker
    # Of the worker, where the cloud ties it to the GPU as Google does for the L4: g2-standard-8.
    machine_type: str = Field(default="", pattern=r"^[a-z0-9-]*$")
    min_ram: str = Field(default="16GB", pattern=r"^[0-9.]+ ?[KMGT]i?B$")  # of a worker

    def hints(self) -> dict[str, str]:
        """Return Beam's resource hints that ask for it."""
        parts = [f"type:{self.type}", f"count:{self.count}"]
        parts += [f"machine_type:{self.machine_type}"] if self.machine_type else []
        # Of the newer drivers that Dataflow has: torch's CUDA does not run on its oldest.
        accelerator = ";".join([*parts, "install-nvidia-driver:5xx"])
        return {"accelerator": accelerator, "min_ram": self.min_ram}


class VqTokensConfig(StageConfig):
    """Which tokenizers turn images into multi-scale codes, and which pixels they see."""

    EFFORT_FIELDS = frozenset({"batch_size", "gpu"})

    # Each writes members of its own name; all see one decoding.
    tokenizers: tuple[Tokenizer, ...] = Field(default=(BsqTokenizer(),), min_length=1)
    # square: the centre of every image; buckets: the nearest of Infinity's 15 shapes
    aspects: Literal["square", "buckets"] = "square"
    views: int = Field(default=1, ge=1, le=64)  # crops of each image: the centre, then drawn ones
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"  # of the convolutions; tf32 needs CUDA
    batch_size: int = Field(default=64, ge=1)  # crops prepared for the device at once
    gpu: Gpu | None = None  # asked of the runner for this stage alone

    @model_validator(mode="after")
    def _members_differ(self) -> "VqTokensConfig":
        members = [m for t in self.tokenizers for r in t.resolutions for m in members_of(t, r)]
        shared = sorted({member for member in members if members.count(member) > 1})
        if shared:
            raise ValueError(f"more than one tokenizer writes {', '.join(shared)}; name them apart")
        square = [t.name for t in self.tokenizers if t.tokenizer == "var_vqvae"]
        if self.aspects == "buckets" and square:
            raise ValueError(f"{square[0]}: var_vqvae has square schedules only, not buckets")
        return self


def members_of(tokenizer: BsqTokenizer | VarTokenizer, resolution: int) -> list[str]:
    """Name the members of a sample that a tokenizer writes at a resolution, codes first."""
    codes = f"{tokenizer.name}{resolution}.npy"
    prefix = "" if tokenizer.name == "tokens" else f"{tokenizer.name}_"
    return [codes, f"{prefix}features{resolution}.npy"] if tokenizer.features else [codes]


class ShardConfig(StageConfig):
    """What the output shards look like."""

    MAX_FAILED = None

    samples: int = Field(default=5000, ge=1)  # in a shard, on average
    short_side: int = Field(default=512, ge=16)  # px; larger images are shrunk, smaller ones kept
    jpeg_quality: int = Field(default=95, ge=1, le=100)  # of the images in the shard


class _Sections(_Model):
    """A whole corpus, but for how much of it may fail."""

    name: Name  # of the corpus; a folder holds builds of one name
    description: str = ""  # copied into manifest and report
    sources: tuple[Source, ...] = Field(min_length=1)  # in the order of shards
    rows_per_shard: int = Field(default=2000, ge=1)  # unit of work, of retry and of durability
    crawl: CrawlConfig = CrawlConfig()
    decode: DecodeConfig = DecodeConfig()
    measure: MeasureConfig = MeasureConfig()
    dedup: DedupConfig = DedupConfig()
    # signal -> bounds, applied in this order. `text_repeats: {max: 50}` drops all rows of a text
    # that over 50 rows have, as boilerplate; `text_repeats: {cap: 50}` keeps about 50 of them.
    select: dict[str, Rule] = {}
    caption: CaptionConfig = CaptionConfig()
    pair: PairConfig = PairConfig()
    vq_tokens: VqTokensConfig = VqTokensConfig()
    shard: ShardConfig = ShardConfig()


def _largest_shares() -> dict[str, Any]:
    """Return the fields of MaxFailedFraction: of ingest, which has no section, and of stages."""
    shares = {"ingest": 0.2}
    for name, field in _Sections.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, StageConfig) and section.MAX_FAILED:
            shares[name] = section.MAX_FAILED
    return {name: (Fraction, share) for name, share in shares.items()}


MaxFailedFraction = create_model(
    "MaxFailedFraction",
    __base__=_Model,
    __doc__="Share of failed rows past which a stage stops the build.",
    **_largest_shares(),
)


class Recipe(_Sections):
    """A whole corpus."""

    max_failed_fraction: MaxFailedFraction = MaxFailedFraction()  # pyright: ignore[reportInvalidTypeForm]

    @model_validator(mode="after")
    def _source_names_differ(self) -> "Recipe":
        names = [source.name for source in self.sources]
        shared = sorted({name for name in names if names.count(name) > 1})
        if shared:
            raise ValueError(f"sources: more than one is named {', '.join(shared)}")
        return self

    def content(self) -> dict[str, Any]:
        """Return what decides the corpus's bytes, given the bytes of its sources.

        A template file and a checkpoint are named by their hash once that is pinned.
        """
        data = self.model_dump(mode="json", exclude={"max_failed_fraction"})
        for source in data["sources"]:
            for place in ("path", "base_url", "list"):
                source.pop(place, None)
        for name, section in self:
            for field in section.EFFORT_FIELDS if isinstance(section, Section) else ():
                del data[name][field]
        for tokenizer in data["vq_tokens"]["tokenizers"]:
            if tokenizer["checkpoint_sha256"]:
                del tokenizer["checkpoint"]
        if self.pair.templates_sha256:
            del data["pair"]["templates"]
        data["select"] = list(data["select"].items())  # mappings are hashed in any order
        return data

    def fingerprint(self) -> str:
        """Hash `content` to 32 hex digits; stands in every sample."""
        return fingerprint(self.content())
