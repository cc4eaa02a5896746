"""The sources of the recipe: where rows come from, and which columns mean what."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, cast

from pydantic import Field, model_validator

from schemas.rule_config import Rules
from schemas.sections import Model, Name
from schemas.subsets import (
    DEFAULT_SUBSET,
    EDIT,
    PREFERENCE,
    SUBSETS,
    T2I,
    UNDERSTAND,
    SourceSubset,
)

TextOf = Literal["first_line", "whole"]  # of a .txt; first_line: the first that is not blank


# A column: its name, a path into it (`caption[0].text`), or its number from 0, for a list without a
# header.
Column = str | Annotated[int, Field(strict=True, ge=0)]
# Columns with one value each, or one column with a list of values; () reads none.
ColumnList = tuple[Column, ...]


class Columns(Model):
    """The columns of a list; '' reads no column.

    A column that the recipe names must be in a file of the source. A default column may be missing
    and is then empty, but not both text and title: `text: ""` means that there is neither.

    `url`, or the column `image` of a dataset, is the image that a sample is about: the generated
    one, the edited one, the chosen one, or the one that a conversation is about.
    """

    url: Column = "url"  # URL, or the path of the image inside a folder
    text: Column = "text"  # alt text, prompt, description, instruction or question
    title: Column = "title"  # used instead of a text, or before it
    tags: Column = "tags"  # a list, or a string separated by commas
    licence: Column = "licence"  # replaces the source's licence
    author: Column = "author"  # copied into the samples
    # A list of strings as text: the first that is not blank, all joined, or an error of the row.
    lists: Literal["first", "join", "refuse"] = "first"

    # Of subset edit. A row with other than one input image is dropped.
    input: Column = ""  # the image to edit
    inverse: Column = ""  # instruction that turns the edited image back: a sample of its own
    edit_type: Column = ""  # such as `add` or `style`, copied into the samples
    # Of several edits in turn, each of the image before; they replace `text` and `url`.
    instructions: ColumnList = ()  # columns, or one that holds a list
    edited: ColumnList = ()  # the same, of the images after each

    # Of subset understand.
    turns: Column = ""  # a list of turns: {from, value}, {role, content} or {user, assistant}
    answer: Column = ""  # to the question in `text`, where there are no turns

    # Of subset preference.
    rejected: Column = ""  # the worse image
    # Or all images that answer a prompt, as columns or as one that holds a list. The best and the
    # worst of them are a pair; a tie is dropped.
    candidates: ColumnList = ()
    scores: ColumnList = ()  # a number of each candidate
    best: Literal["highest", "lowest"] = "highest"  # number; `lowest` for ranks

    keep: tuple[str, ...] = ()  # columns copied into the samples, as JSON in `listed`

    @model_validator(mode="after")
    def _names_or_numbers(self) -> "Columns":
        given = [column for column in self.explicit().values() if column != ""]
        if len({isinstance(column, int) for column in given}) > 1:
            raise ValueError(
                "numbers are for lists without a header: give numbers for all columns, or for none"
            )
        return self

    def explicit(self) -> dict[str, Column]:
        """Return {field: column} of the columns in the recipe, '' included.

        The columns of a list have names such as `edited.0`.
        """
        return {
            field: column
            for field, column in self._all()
            if field.partition(".")[0] in self.model_fields_set
        }

    def mapped(self) -> dict[str, Column]:
        """Return {field: column} of the columns to read; with numbers, names are not read."""
        named = not self.are_numbers
        return {
            field: column
            for field, column in self._all()
            if column != "" and (named or isinstance(column, int))
        }

    def column(self, field: str) -> Column:
        """Return the column of a field, as `mapped` names fields."""
        return dict(self._all())[field]

    def without_images(self) -> "Columns":
        """Return the columns that hold no image, for a dataset whose columns hold images."""
        none = {name: Columns.model_fields[name].default for name in IMAGE_ROLES}
        return self.model_copy(update=none)

    @property
    def expects_url(self) -> bool:
        """Whether each file has to have the column of the main image."""
        return not (self.edited or self.candidates)

    @property
    def expects_text(self) -> bool:
        """Whether rows are worth nothing without a text or a title."""
        return self.text != "" and not self.instructions and self.turns == ""

    @property
    def expands(self) -> bool:
        """Whether a row may be several samples."""
        return self.inverse != "" or bool(self.instructions)

    @property
    def are_numbers(self) -> bool:
        """Whether the lists have no header."""
        return any(isinstance(column, int) for _, column in self._all())

    def _all(self) -> Iterator[tuple[str, Column]]:
        for field in type(self).model_fields:
            if field in ("lists", "best"):
                continue
            value = getattr(self, field)
            if isinstance(value, tuple):
                columns = cast(tuple[Column, ...], value)
                yield from ((f"{field}.{number}", each) for number, each in enumerate(columns))
            else:
                yield field, value


# Fields of `Columns` whose columns may hold images, not only their URLs or paths.
IMAGE_ROLES = ("input", "edited", "rejected", "candidates")


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


# Roles of each subset: those that it may have, and the sets of which it needs one.
_ROLES: dict[str, tuple[frozenset[str], tuple[frozenset[str], ...]]] = {
    T2I.name: (frozenset(), (frozenset(),)),
    EDIT.name: (
        frozenset({"input", "inverse", "edit_type", "instructions", "edited"}),
        (frozenset({"input"}),),
    ),
    UNDERSTAND.name: (
        frozenset({"turns", "answer"}),
        (frozenset({"turns"}), frozenset({"answer"}), frozenset()),
    ),
    PREFERENCE.name: (
        frozenset({"rejected", "candidates", "scores", "best"}),
        (frozenset({"rejected"}), frozenset({"candidates", "scores"})),
    ),
}


class _Source(Model):
    # Keys that change neither which rows there are nor their bytes.
    OF_LATER_STAGES: ClassVar[frozenset[str]] = frozenset({"quota", "select"})

    name: Name  # in counts, in keys of rows, and for --set
    subset: SourceSubset = DEFAULT_SUBSET  # what its rows become
    licence: str = ""  # of rows without a licence in the list
    # Rows whose licence forbids commercial use or changes (NC, ND) are dropped otherwise.
    allow_non_commercial: bool = False
    quota: int | None = Field(default=None, gt=0)  # most images of this source in the corpus
    # Rules of this source alone, after those of the recipe; one of the same name takes its place.
    select: Rules = Field(default={})

    @model_validator(mode="after")
    def _roles_fit_the_subset(self) -> "_Source":
        if isinstance(self, EditsSource):
            return self
        columns: Columns = getattr(self, "columns")  # noqa: B009 - of every other kind of source
        every = {role for allowed, _ in _ROLES.values() for role in allowed}
        blank = {role: Columns.model_fields[role].default for role in every}
        given = {role for role in every if getattr(columns, role) != blank[role]}
        allowed, needed = _ROLES[self.subset]
        if extra := sorted(given - allowed):
            raise ValueError(
                f"columns.{extra[0]} is not of subset {self.subset}; "
                f"expected {', '.join(sorted(allowed)) or 'none of its kind'}"
            )
        if not any(some <= given for some in needed):
            kinds = " or ".join(" and ".join(sorted(some)) for some in needed)
            raise ValueError(f"subset {self.subset} needs columns: {kinds}")
        if len({bool(columns.instructions), bool(columns.edited)}) > 1:
            raise ValueError("columns.instructions and columns.edited belong together")
        return self


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

    @model_validator(mode="after")
    def _pairs_have_a_list(self) -> "FolderSource":
        if SUBSETS[self.subset].further and not self.list:
            raise ValueError(f"subset {self.subset} of a folder needs a list: a row a sample")
        return self


class TarSource(_Source):
    """WebDataset tars, also img2dataset's; bytes are referenced in their place.

    The bytes in a compressed tar (gz, bz2, xz, zst) are copied.
    """

    kind: Literal["webdataset"]
    path: str  # tar, glob or {00000..00099}
    columns: TarColumns = TarColumns()  # a .txt member replaces the text
    text: TextOf = "whole"  # of a .txt; img2dataset writes one caption per .txt, as listed
    links: Links = "inside"  # of tars that a wildcard matches; members link only inside their tar

    @model_validator(mode="after")
    def _has_one_image_a_sample(self) -> "TarSource":
        if SUBSETS[self.subset].further:
            raise ValueError(
                f"a sample of a tar has one image, subset {self.subset} needs two: unpack the tars "
                "and name the files in the list of a folder"
            )
        return self


class HuggingFaceSource(_Source):
    """A dataset on this machine or on the Hub, read through `datasets` streaming."""

    kind: Literal["huggingface"]
    path: str  # local folder, file or glob if it exists, else a Hub name
    config: str | None = None  # the dataset's name of it; null if it has only one
    split: str = "train"  # the dataset's name of it
    # Column of images; '' to crawl the url column instead. Other columns of images, such as
    # `columns.input`, hold images where this one does, and URLs otherwise.
    image: str = "image"
    columns: Columns = Columns()


class EditsSource(_Source):
    """Edits that are made of another source's images: exact, drawn by their keys, with words.

    The images before and after are written into the corpus. See docs/concepts/edits.md for types.
    """

    kind: Literal["edits"]
    # A source of images; tars may be those of a finished corpus.
    of: Annotated[FolderSource | TarSource | HuggingFaceSource, Field(discriminator="kind")]
    subset: SourceSubset = "edit"  # what its rows become
    share: float = Field(default=1.0, gt=0, le=1)  # of the images, drawn by their keys
    types: tuple[str, ...] = ()  # of edits, drawn from evenly; () for all
    inverse: bool = True  # whether the way back is a sample too, where somebody could ask for it
    side: int = Field(default=512, ge=64)  # px, longer side of what edits are made of

    @property
    def columns(self) -> Columns:
        """The columns of the images' source."""
        return self.of.columns

    @property
    def path(self) -> str:
        """The place of the images' source."""
        return self.of.path

    @model_validator(mode="after")
    def _is_of_images(self) -> "EditsSource":
        if self.subset != EDIT.name:
            raise ValueError(f"subset is {self.subset}, edits are of subset {EDIT.name}")
        if self.of.subset != DEFAULT_SUBSET:
            raise ValueError(f"of.subset is {self.of.subset}, edits are made of {DEFAULT_SUBSET}")
        if self.of.kind == "huggingface" and not self.of.image:
            raise ValueError("of.image is '': images that are crawled cannot be edited; build them")
        return self


Source = Annotated[
    ListSource | FolderSource | TarSource | HuggingFaceSource | EditsSource,
    Field(discriminator="kind"),
]
