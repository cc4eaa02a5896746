"""The lists that rows are compared with: benchmarks, known hashes, entries of a balance."""

from pydantic import model_validator

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
