"""YAML whose aliases stand for more than a machine holds."""

import pytest
import yaml

from schemas.strict_yaml import load_yaml

DEEP = 30


def bomb(level: str) -> str:
    """Give each level twice what the one before has."""
    lines = ["x0: &x0 {k: 1}"]
    lines += [f"x{n}: &x{n} {level.format(*2 * [f'*x{n - 1}'])}" for n in range(1, DEEP)]
    return "\n".join(lines)


@pytest.mark.parametrize("level", ["{{<<: [{}, {}]}}", "[{}, {}]", "{{a: {}, b: {}}}"])
def test_aliases_that_double_are_refused(level: str) -> None:
    with pytest.raises(yaml.YAMLError, match=r"aliases .* over 100,000; write the values"):
        load_yaml(bomb(level))


def test_an_alias_of_what_it_is_part_of_is_refused() -> None:
    with pytest.raises(yaml.YAMLError, match="contains itself"):
        load_yaml("a: &a [1, *a]")


def test_aliases_and_merges_are_read() -> None:
    assert load_yaml("a: &a {k: 1, l: 2}\nb: {<<: *a, k: 3}\nc: [*a, *a]")["b"] == {"k": 3, "l": 2}
    written = "\n".join(f"- {n}" for n in range(120))
    assert load_yaml(written, most_by_aliases=100)[-1] == 119
