"""Prompts for pairs, from a file or from a held-out part of a corpus.

A file is `.txt` with one prompt per line; or `.jsonl` or `.csv` with these columns. Only `prompt`
is required, and paths are relative to the file:

    prompt    description of the image
    image     path of an image that is preferred to the model's images
    input     path of an image to edit; the prompt is the instruction
    key       key of the prompt, 32 hex digits; default: a hash of prompt and input
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from model.data.manifest import DataError, Source, read_manifest, subset_of
from model.data.samples import Message
from model.data.shards import ShardIndex, read_index, read_ranges
from schemas.keys import sample_key, unit
from schemas.markers import marker_in
from schemas.store.retries import open_fs
from schemas.subsets import SUBSETS, Subset

MAX_CHARS: Final = 4000  # of a prompt
HELD_OUT_SALT: Final = "held out for preferences"
_KEY: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A range of bytes in a file."""

    file: str  # path or any fsspec URL
    offset: int = 0
    length: int = 0  # bytes; 0 for the whole file


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptRow:
    """One prompt with its images."""

    key: str
    text: str  # the text for scorers
    source: str  # name of the file, or of the corpus's source
    url: str = ""  # of the image, if a corpus has it
    licence: str = ""  # of the image
    messages: tuple[Message, ...] = ()  # from a corpus; (): to be written from templates
    aspect: float = 1.0  # height / width of the images
    given: Place | None = None  # image that is preferred to the model's images
    codes: Place | None = None  # codes of the given image, a member of a shard
    edited: Place | None = None  # image to edit


@dataclass(frozen=True, kw_only=True, slots=True)
class BadPrompt:
    """A line that is no valid prompt."""

    id: str
    reason: str  # stable class
    detail: str


def read_prompts(url: str) -> Iterator[PromptRow | BadPrompt]:
    """Yield the prompts of a file in order; a repeated key gives a BadPrompt.

    Raises:
        DataError: there is no such file, it has another format, or no column `prompt`.
    """
    seen: set[str] = set()
    name = PurePosixPath(url).name
    for number, row in enumerate(_rows(url), start=1):
        prompt = _prompt(row, f"{name}:{number}", name, url)
        if isinstance(prompt, PromptRow) and prompt.key in seen:
            detail = f"{prompt.text!r:.200}, key {prompt.key}, is a repetition"
            prompt = BadPrompt(id=f"{name}:{number}", reason="repeated_prompt", detail=detail)
        if isinstance(prompt, PromptRow):
            seen.add(prompt.key)
        yield prompt


def held_out(source: Source, member: str, share: float) -> Iterator[PromptRow]:
    """Yield the prompts of a part of a corpus; its images are preferred to the model's.

    Args:
        source: the corpus and its subset, one whose samples are answers to a prompt.
        member: of the codes.
        share: share of the samples, chosen by a hash of the key; a larger share contains the
            samples of every smaller one.

    Raises:
        DataError: no corpus, no such subset or codes, or shards do not fit the manifest.
    """
    giving = {name: each for name, each in SUBSETS.items() if each.gives_prompts}
    if source.subset not in giving:
        raise DataError(f"{source}: prompts are made of {' and '.join(giving)}")
    subset = giving[source.subset]
    manifest = read_manifest(source.url)
    members = ("json", *subset.images, member)
    for shard in subset_of(source, manifest).shards:
        index = read_index(source, shard, members)
        keys: list[Any] = index.keys.to_pylist()
        drawn = [row for row, key in enumerate(keys) if unit(key, HELD_OUT_SALT) < share]
        url = source.file(shard.path)
        places = [_places(index, row, members, url) for row in drawn]
        ranges = [(at["json"].offset, at["json"].offset + at["json"].length) for at in places]
        for at, body in zip(places, read_ranges(url, ranges), strict=True):
            yield _of_sample(_decoded(body, url), at, member, subset)


def _decoded(body: bytes, url: str) -> dict[str, Any]:
    try:
        return json.loads(body)
    except ValueError as error:
        raise DataError(f"{url}: the JSON of a sample is damaged: {error}") from error


def _of_sample(
    sample: dict[str, Any], at: Mapping[str, Place], member: str, subset: Subset
) -> PromptRow:
    return PromptRow(
        key=sample["key"],
        text=sample["caption"],
        source=sample["source"],
        url=sample["url"],
        licence=sample["licence"],
        messages=tuple(Message(each["role"], each["content"]) for each in sample["messages"]),
        aspect=sample["crop_aspect"],
        given=at[subset.of_images("jpg")[0]],
        codes=at[member],
        edited=at[subset.input_image] if subset.input_image else None,
    )


def _places(index: ShardIndex, row: int, members: tuple[str, ...], url: str) -> dict[str, Place]:
    offsets, lengths = index.offsets_nm[row].tolist(), index.lengths_nm[row].tolist()
    return {
        member: Place(file=url, offset=offset, length=length)
        for member, offset, length in zip(members, offsets, lengths, strict=True)
    }


def _rows(url: str) -> Iterator[Mapping[str, Any] | str]:
    """Yield the columns of each line, or the error of a line."""
    fs, path = open_fs(url)
    suffix = PurePosixPath(url).suffix
    if suffix not in (".txt", ".jsonl", ".csv"):
        raise DataError(f"{url}: expected prompts in .txt, .jsonl or .csv")
    try:
        text = fs.cat_file(path).decode()
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise DataError(f"{url}: expected a file of prompts in UTF-8: {error}") from error
    if suffix == ".csv":
        yield from _table(text, url)
        return
    for line in filter(str.strip, text.splitlines()):
        yield {"prompt": line} if suffix == ".txt" else _parsed(line)


def _table(text: str, url: str) -> Iterator[Mapping[str, Any]]:
    table = csv.DictReader(io.StringIO(text, newline=""))
    try:
        if "prompt" not in (table.fieldnames or ()):
            raise DataError(f"{url}: expected a column `prompt`, got {table.fieldnames}")
        yield from table
    except csv.Error as error:
        raise DataError(f"{url}: line {table.line_num + 1:,}: {error}") from error


def _parsed(line: str) -> Mapping[str, Any] | str:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"{line!r:.200}: {error}"
    return found if isinstance(found, dict) else f"{line!r:.200}: expected an object"


def _prompt(row: Mapping[str, Any] | str, id_: str, name: str, url: str) -> PromptRow | BadPrompt:
    if isinstance(row, str):
        return BadPrompt(id=id_, reason="not_json", detail=row)
    text, key = row.get("prompt"), row.get("key") or ""
    image, edited = row.get("image") or "", row.get("input") or ""
    fault = _fault(text, key, image, edited)
    if fault is not None:
        return BadPrompt(id=id_, reason=fault, detail=f"{dict(row)!r:.300}")
    assert isinstance(text, str)
    words = " ".join(text.split())
    return PromptRow(
        key=key or sample_key("prompt", f"{words}\n{edited}"),
        text=words,
        source=name,
        given=_beside(url, image),
        edited=_beside(url, edited),
    )


def _fault(text: Any, key: Any, image: Any, edited: Any) -> str | None:
    if not isinstance(text, str) or not text.strip():
        return "empty_prompt"
    if len(text) > MAX_CHARS:
        return "long_prompt"
    if marker_in(text):
        return "marker_in_prompt"
    if not isinstance(key, str) or (key and not _KEY.fullmatch(key)):
        return "bad_key"
    for path in (image, edited):
        # Only a crawl fetches from the web, because it guards against unsafe addresses.
        if not isinstance(path, str) or path.startswith(("http://", "https://")):
            return "bad_path"
    return None


def _beside(url: str, path: str) -> Place | None:
    """Return the place of a listed file: a URL, an absolute path, or one relative to the list."""
    if not path:
        return None
    folder = "" if "://" in path or path.startswith("/") else url.rpartition("/")[0]
    return Place(file=f"{folder}/{path}" if folder else path)
