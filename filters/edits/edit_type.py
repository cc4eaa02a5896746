"""What an edit is: a type, drawn parameters, two images and the words for both directions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, Protocol, Self, TypeAlias

from PIL import Image

from filters.edits.measures import Measure
from schemas.keys import draw

JsonValue: TypeAlias = str | int | float | bool | list[int] | list[str]
Parameters: TypeAlias = Mapping[str, JsonValue]
Strength: TypeAlias = Literal["slight", "plain", "strong"]
STRENGTHS: tuple[Strength, ...] = ("slight", "plain", "strong")

# Whether the target alone decides the way back, or only the kept source does.
Inverse: TypeAlias = Literal["computed", "kept"]
Needs: TypeAlias = Literal["alpha", "picture", "object", "two objects"]


class NotFitting(ValueError):
    """An edit cannot be made of an image; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Other:
    """Another image, which can be put in or behind."""

    index: int  # in the list that was given
    image: Image.Image  # RGBA or RGB
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What an edit is made of."""

    image: Image.Image  # RGBA or RGB
    flat: Image.Image  # RGB: `image` on white
    others: tuple[Other, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """Two images of the same scene, RGB."""

    source: Image.Image
    target: Image.Image


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """The forms that say one direction of an edit, and the values of their placeholders."""

    group: str  # of the type, in words.yaml
    values: Mapping[str, str]
    strength: Strength = "plain"


@dataclass(frozen=True, slots=True)
class Draws:
    """Draws that depend on the key of a sample and the name of an edit alone."""

    key: str
    name: str

    def pick(self, what: str, options: Sequence[Any]) -> Any:
        """Draw one of several options."""
        return options[draw(self.key, f"edit {self.name} {what}", len(options))]

    def shuffled(self, what: str, options: Sequence[Any]) -> list[Any]:
        """Return all options in a drawn order."""
        left, found = list(options), list[Any]()
        while left:
            salt = f"edit {self.name} {what} {len(found)}"
            found.append(left.pop(draw(self.key, salt, len(left))))
        return found


class Edit(Protocol):
    """An edit with its parameters: a frozen dataclass whose fields are JSON values."""

    name: ClassVar[str]
    measure: ClassVar[Measure]
    inverse: ClassVar[Inverse]
    needs: ClassVar[tuple[Needs, ...]]

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw parameters that fit an image.

        Raises:
            NotFitting: there are none.
        """
        ...

    @property
    def sign(self) -> int:
        """The sign that the measure must have: 1, -1, or 0 for any."""
        ...

    def make(self, given: Given) -> Made:
        """Make both images. Equal inputs give equal bytes."""
        ...

    def words(self) -> tuple[Wording, Wording | None]:
        """Return what turns the source into the target, then what turns it back.

        None is for a way back that nobody could ask for, as too little is left in the target.
        """
        ...


class EditBase:
    """What most types share."""

    inverse: ClassVar[Inverse] = "kept"
    needs: ClassVar[tuple[Needs, ...]] = ()

    @property
    def sign(self) -> int:
        """Any sign."""
        return 0


EditType: TypeAlias = type[Edit]


def parameters_of(edit: Any) -> dict[str, JsonValue]:
    """Return the fields of an edit as JSON values."""
    return asdict(edit)
