"""The lists that rows are compared with: benchmarks, known hashes, entries of a balance."""

from typing import Literal

from pydantic import Field, model_validator

from schemas.sections import Model, Name, Sha256


class Benchmark(Model):
    """A set for evaluation: a row that has one of its prompts or images is dropped."""

    name: Name  # in the reason of a dropped row: contaminated:NAME
    # Of prompts: a file (.txt, .json, .jsonl, .csv, .tsv, .parquet), or a folder of them.
    prompts: str = ""
    column: str = ""  # of the prompts; '' for `prompt`, or `text` where there is none
    prompts_sha256: Sha256 = ""  # checked if given, otherwise set by the build
    images: str = ""  # a folder of images, or of a finished build
    # Of the manifest, or of a folder's images and their names; checked if given, otherwise set by
    # the build.
    images_sha256: Sha256 = ""

    @model_validator(mode="after")
    def _has_something(self) -> "Benchmark":
        if not (self.prompts or self.images):
            raise ValueError(f"{self.name}: a benchmark needs prompts or images")
        return self


class KnownHashes(Model):
    """A list of hashes of images to drop and never store; a recipe may give its path alone."""

    path: str  # a hash a line, any fsspec URL; fields beside it may stand before or after
    # In the reason of a dropped row; '' for the name of the file.
    name: str = Field(default="", pattern=r"^[A-Za-z0-9_-]*$", max_length=64)
    # bytes: MD5, SHA-1 or SHA-256 of the file, by their length. pdq: a perceptual hash, which finds
    # changed copies; every image is decoded for it.
    kind: Literal["bytes", "pdq"] = "bytes"
    distance: int = Field(default=31, ge=0, le=128)  # bits of 256, of pdq
    sha256: Sha256 = ""  # of the list; checked if given, otherwise set by the build


class BalanceConfig(Model):
    """MetaCLIP's balance: of rows with a common entry in their text, a share stays."""

    entries: str  # file with an entry a line, any fsspec URL
    entries_sha256: Sha256 = ""  # checked if given, otherwise set by the build
    per_entry: int = Field(default=20_000, ge=1)  # rows of an entry that stay, about
    unmatched: Literal["drop", "keep"] = "drop"  # rows without an entry
