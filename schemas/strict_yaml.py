"""YAML that refuses repeated keys in a mapping (YAML 1.2, section 3.2.1.3).

PyYAML keeps the last of several keys without a warning.
"""

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Any, cast

import yaml

MOST_BY_ALIASES = 100_000  # values that aliases add to the written ones


class RepeatedKeyError(yaml.YAMLError):
    """Repeated keys, one line of text per key, with its path and line numbers."""


def load_yaml(text: str | bytes, *, most_by_aliases: int = MOST_BY_ALIASES) -> Any:
    """Read one YAML document of plain values.

    Merge keys (`<<`) work as usual: keys beside one have precedence over the merged keys.

    Args:
        text: the document.
        most_by_aliases: how many values aliases may stand for, beside those that are written.

    Raises:
        yaml.YAMLError: the text is not YAML, is nested too deeply, repeats a key, or has aliases
            for too many values.
        ValueError: a value looks like a date but is invalid.
    """
    loader: Any = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node, most_by_aliases)
        if faults := sorted(_repeated(node, loader)):
            raise RepeatedKeyError("\n".join(message for _, message in faults))
        return loader.construct_document(node)
    except RecursionError as error:
        raise yaml.YAMLError("nested too deeply") from error
    finally:
        loader.dispose()


def _check_size(root: yaml.Node, most: int) -> None:
    """Refuse a document that is far too long, or endless, with its aliases written out."""
    sizes: dict[int, int] = {}
    if (more := _size(root, sizes) - len(sizes)) > most:
        shown = f"{more:,}" if more < 1e12 else "far too many"
        raise yaml.YAMLError(
            f"its aliases (*name) stand for {shown} further values, over {most:,}; "
            "write the values without aliases"
        )


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Count the nodes of a part of a document, with aliases written out; visit each node once."""
    if (known := sizes.get(id(node))) is not None:
        if not known:
            raise yaml.YAMLError("an alias (*name) contains itself")
        return known
    sizes[id(node)] = 0
    size = 1
    if isinstance(node, yaml.SequenceNode):
        size += sum(_size(item, sizes) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        pairs = cast(list[tuple[yaml.Node, yaml.Node]], node.value)
        size += sum(_size(part, sizes) for pair in pairs for part in pair)
    sizes[id(node)] = size
    return size


def _repeated(root: yaml.Node, loader: Any) -> Iterator[tuple[int, str]]:
    """Yield the line and the message of each repeated key; visit each node once."""
    waiting: deque[tuple[str, yaml.Node]] = deque([("", root)])
    met: set[int] = set()
    while waiting:
        path, node = waiting.popleft()
        if id(node) in met:
            continue
        met.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += [(f"{path}{n}.", item) for n, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            lines: dict[Hashable, list[int]] = {}
            for key, value in cast(list[tuple[yaml.Node, yaml.Node]], node.value):
                lines.setdefault(_key(key, loader), []).append(key.start_mark.line + 1)
                waiting += [(f"{path}{key.value}.", value), (f"{path}?.", key)]
            for name, found in lines.items():
                if len(found) > 1:
                    yield found[0], _message(f"{path}{name}", found)


def _key(node: yaml.Node, loader: Any) -> Hashable:
    """Return the value of a key for comparison, so that `1` equals `0x1` and `a` equals `"a"`."""
    if not isinstance(node, yaml.ScalarNode):
        return id(node)
    if node.tag == "tag:yaml.org,2002:merge":
        return "<<"
    return cast(Hashable, loader.construct_object(node))


def _message(path: str, lines: list[int]) -> str:
    times = "twice" if len(lines) == 2 else f"{len(lines)} times"
    *first, last = sorted({*lines})
    where = f"lines {', '.join(map(str, first))} and {last}" if first else f"line {last}"
    return f"{path} is given {times}, in {where}; keep one of them"
