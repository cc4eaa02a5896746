"""The sources of the recipe: where rows come from, and which columns mean what."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from schemas.rule_config import Rules
from schemas.sections import Model, Name

TextOf = Literal["first_line", "whole"]  # of a .txt; first_line: the first that is not blank


# A column: its name, a path into it (`caption[0].text`), or its number from 0, for a list without a
# header.
Column = str | Annotated[int, Field(strict=True, ge=0)]


class Columns(Model):
    """The columns of a list; '' reads no column.

    A column that the recipe names must be in a file of the source. A default column may be missing
    and is then empty, but not both text and title: `text: ""` means that there is neither.
    """

    url: Column = "url"  # URL, or the path of the image inside a folder
    text: Column = "text"  # alt text, prompt or description
    title: Column = "title"  # used instead of a text, or before it
    tags: Column = "tags"  # a list, or a string separated by commas
    licence: Column = "licence"  # replaces the source's licence
    author: Column = "author"  # copied into the samples
    # A list of strings as text: the first that is not blank, all joined, or an error of the row.
    lists: Literal["first", "join", "refuse"] = "first"

    @model_validator(mode="after")
    def _names_or_numbers(self) -> "Columns":
        given = [column for column in self.explicit().values() if column != ""]
        if len({isinstance(column, int) for column in given}) > 1:
            raise ValueError(
                "numbers are for lists without a header: give numbers for all columns, or for none"
            )
        return self

    def explicit(self) -> dict[str, Column]:
        """Return {field: column} of the columns in the recipe, '' included."""
        return {field: column for field, column in self._all() if field in self.model_fields_set}

    def mapped(self) -> dict[str, Column]:
        """Return {field: column} of the columns to read; with numbers, names are not read."""
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


class _Source(Model):
    # Keys that change neither which rows there are nor their bytes.
    OF_LATER_STAGES: ClassVar[frozenset[str]] = frozenset({"quota", "select"})

    name: Name  # in counts, in keys of rows, and for --set
    licence: str = ""  # of rows without a licence in the list
    quota: int | None = Field(default=None, gt=0)  # most images of this source in the corpus
    # Rules of this source alone, after those of the recipe; one of the same name takes its place.
    select: Rules = Field(default={})


# Symbolic links of a source that are read: those with a target inside its folder, all, or none.
Links = Literal["inside", "follow", "never"]

# Quotes in CSV and TSV: `quotes`: they wrap cells, as in RFC 4180; `none`: they are ordinary
# characters; `auto`: quotes in CSV, none in TSV.
Quoting = Literal["auto", "quotes", "none"]


class ListSource(_Source):
    """Lists of URLs to crawl: CSV, TSV, JSONL, Parquet and more, by their suffix."""

    kind: Literal["list"]
    path: str  # file or glob, any fsspec URL
    columns: Columns = Columns()
    quoting: Quoting = "auto"  # of CSV and TSV; auto: quotes in CSV, none in TSV
    links: Links = "inside"  # of lists that a wildcard matches
    base_url: str = ""  # joined to relative URLs


class FolderSource(_Source):
    """A folder of images, read in place.

    Texts come from a list (`list`, with paths relative to `path` in the url column), or from a file
    with the same name beside each image: `.txt`, or `.json` with the columns' keys.
    """

    kind: Literal["folder"]
    path: str  # folder, any fsspec URL
    list: str = ""  # a list in a format of `kind: list`
    # Of a .txt. Trainers with such folders use the first line: other lines are other captions,
    # perhaps in other languages.
    text: TextOf = "first_line"
    columns: FolderColumns = FolderColumns()
    links: Links = "inside"  # of images and of folders
    quoting: Quoting = "auto"  # of the list


class TarSource(_Source):
    """WebDataset tars, also img2dataset's; bytes are referenced in their place.

    The bytes in a compressed tar (gz, bz2, xz, zst) are copied.
    """

    kind: Literal["webdataset"]
    path: str  # tar, glob or {00000..00099}
    columns: TarColumns = TarColumns()  # a .txt member replaces the text
    text: TextOf = "whole"  # of a .txt; img2dataset writes one caption per .txt, as listed
    links: Links = "inside"  # of tars that a wildcard matches; members link only inside their tar


class HuggingFaceSource(_Source):
    """A dataset on this machine or on the Hub, read through `datasets` streaming."""

    kind: Literal["huggingface"]
    path: str  # local folder, file or glob if it exists, else a Hub name
    config: str | None = None  # the dataset's name of it; null if it has only one
    split: str = "train"  # the dataset's name of it
    image: str = "image"  # column of images; '' to crawl the url column instead
    columns: Columns = Columns()


Source = Annotated[
    ListSource | FolderSource | TarSource | HuggingFaceSource, Field(discriminator="kind")
]
