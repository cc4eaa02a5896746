"""JSON in an answer: found, read strictly, and compared with a schema."""

import json
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NoReturn, cast

from filters.captioner import EngineError
from filters.captions.unwrapping import after_thought, fenced

_OPENING = re.compile(r"[\[{]")
_MOST_DEPTH = 32  # of arrays and objects in each other


class AnswerError(ValueError):
    """An answer that has not the form that was asked for."""


def json_in(answer: str) -> Any:
    r"""Return the first array or object of an answer; thoughts, fences, words around it are left.

    >>> json_in("Here you are:\n```json\n{\"a\": true}\n```")
    {'a': True}

    Raises:
        AnswerError: there is none, it is cut off, is nested too deeply, repeats a key, or holds
            a number that JSON does not have.
    """
    text = fenced(after_thought(answer))
    opening = _OPENING.search(text)
    if not opening:
        raise AnswerError(f"expected JSON, found {text!r:.80}")
    try:
        found = _DECODER.raw_decode(text, opening.start())[0]
        _check_depth(found)
    except RecursionError as error:
        raise AnswerError("JSON that is nested too deeply") from error
    except ValueError as error:
        raise AnswerError(f"no valid JSON: {error}") from error
    return found


def parts_of(value: Any) -> list[Any]:
    """Return the values inside an object or array; [] for another value."""
    if isinstance(value, dict):
        return [*cast(dict[str, Any], value).values()]
    return cast(list[Any], value) if isinstance(value, list) else []


def written(value: Any) -> str:
    """Return a value as JSON on one line, in the order that it has."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def check_schema(value: Any, schema: Mapping[str, Any]) -> None:
    """Check a value against a JSON schema; no schema of another address is fetched.

    Raises:
        AnswerError: the value does not follow the schema.
        EngineError: the schema refers to another one, or the extra is not installed.
    """
    with _packages():
        from jsonschema.exceptions import ValidationError
        from jsonschema.validators import validator_for
        from referencing import Registry
        from referencing.exceptions import Unresolvable

    made: Any = validator_for(schema)
    known: Registry[Any] = Registry()
    try:
        faults = made(schema, registry=known).iter_errors(value)
        found: ValidationError | None = next(faults, None)
    except Unresolvable as error:
        raise EngineError(f"json_schema refers to {error.ref}, which is not in it") from error
    if found is not None:
        raise AnswerError(f"{found.json_path}: {found.message:.200}")


def check_recipe_schema(schema: Mapping[str, Any]) -> None:
    """Check that a schema of a recipe is a JSON schema.

    Raises:
        EngineError: it is none, or the extra `captions` is not installed.
    """
    _check_written(written(schema))


@lru_cache
def _check_written(schema: str) -> None:
    with _packages():
        from jsonschema.exceptions import SchemaError
        from jsonschema.validators import validator_for

    try:
        made: Any = validator_for(json.loads(schema))
        made.check_schema(json.loads(schema))
    except SchemaError as error:
        raise EngineError(f"json_schema, {error.json_path}: {error.message:.200}") from error


@contextmanager
def _packages() -> Generator[None, None, None]:
    try:
        yield
    except ImportError as error:
        raise EngineError(f"{error}; pip install 'vargpt-corpus[captions]'") from error


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(_MOST_DEPTH + 1):
        level = [part for each in level for part in parts_of(each)]
    if level:
        raise RecursionError


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is repeated")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_mapping, parse_constant=_no_constant)
