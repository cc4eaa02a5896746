"""The rules of the recipe: what the values of a row must be for it to be kept."""

from collections.abc import Mapping
from typing import Annotated, Any, cast

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from schemas.sections import Model, Sha256


def _texts(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Replace the errors of each part of the union by one."""
    try:
        if found := validate(value):
            return found
    except ValidationError:
        pass
    raise ValueError("expected a list of texts, or the path of a file with one text a line")


# A list of texts, or the path of a file with one text a line, any fsspec URL.
Texts = Annotated[tuple[str, ...] | str, WrapValidator(_texts)]


class Rule(Model):
    """What a column's value must be. All that is given must hold; bounds are inclusive.

    `min` and `max` are for numbers, `forbid` for flags, `in`, `not_in` and `matches` for texts.
    A rule with `any_of` is named freely. It keeps a row that passes all rules of one of its groups.
    """

    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)

    min: float | None = None  # least value that is kept
    max: float | None = None  # largest value that is kept
    forbid: bool = False  # whether a row with a set flag is dropped
    # Texts that are kept, compared letter by letter. A host also matches its parent domains:
    # images.example.org is in [example.org].
    in_: Texts | None = Field(default=None, alias="in")
    not_in: Texts | None = None  # texts that are dropped
    matches: str | None = None  # a regular expression (RE2) that is found somewhere in the text
    texts_sha256: Sha256 = ""  # of the file of texts; checked if given, otherwise set by the build
    any_of: tuple[dict[str, "Rule"], ...] = ()  # groups of rules by column; see above

    @property
    def texts_file(self) -> str:
        """Return the path of its file of texts, '' if it has none."""
        return next((t for t in (self.in_, self.not_in) if isinstance(t, str)), "")

    @model_validator(mode="after")
    def _says_something(self) -> "Rule":
        given = [self.min, self.max, self.in_, self.not_in, self.matches]
        says = self.forbid or any(value is not None for value in given)
        if self.any_of and says:
            raise ValueError("any_of stands alone; put the other bounds into a rule of their own")
        if not (says or self.any_of):
            raise ValueError("a rule needs min, max, forbid: true, in, not_in, matches or any_of")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is over max, so no image passes")
        if isinstance(self.in_, str) and isinstance(self.not_in, str):
            raise ValueError("in and not_in name a file each; make them two rules")
        if not all(self.any_of):
            raise ValueError("a group of any_of is empty, so every row passes")
        return self

    def decides(self) -> dict[str, Any]:
        """Return what decides the verdict: of a file of texts with a known hash, the hash alone."""
        data = self.model_dump(mode="json", exclude_defaults=True, exclude={"any_of"})
        if self.texts_sha256:
            data = {name: "" if value == self.texts_file else value for name, value in data.items()}
        return data | {"any_of": [decided(group) for group in self.any_of]}


def _without_removed(given: Any) -> Any:
    """Leave out rules that are null: so an override takes a rule away."""
    if not isinstance(given, Mapping):
        return given
    rules = cast(Mapping[str, Any], given)
    if isinstance(rules.get("any_of"), list):
        raise ValueError("any_of needs a rule's name above it: `NAME: {any_of: [...]}`")
    return {name: rule for name, rule in rules.items() if rule is not None}


Rules = Annotated[dict[str, Rule], BeforeValidator(_without_removed)]
"""Rules by column, or by name for those of groups; null takes away a rule of that name."""


def decided(rules: Mapping[str, Rule]) -> list[Any]:
    """Return what decides the verdicts of rules, in order, as JSON values."""
    return [[name, rule.decides()] for name, rule in rules.items()]
