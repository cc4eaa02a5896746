"""What the authors trained a stage on, as far as they say."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator

from schemas.subsets import SubsetName


class PublishedCorpus(BaseModel):
    """A corpus that the paper names, with its size."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  # as the paper writes it
    subset: SubsetName  # of its samples
    # One number, or two where the paper gives two; the first decides the shares of a mixture.
    samples: tuple[PositiveInt, ...] = Field(min_length=1)
    where: str  # section or figure of the paper that has the number
    build: str = ""  # recipe in pipelines/recipes that builds such a corpus

    @field_validator("samples", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value


class Published(BaseModel):
    """The corpora of a stage. A training does not read them; `mix` prints them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpora: tuple[PublishedCorpus, ...] = ()  # that the paper names
    note: str = ""  # what the numbers do not tell, such as contradictions
