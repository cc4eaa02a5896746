"""The part of a corpus's manifest that training reads: shards and tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from model.tokenizers.protocol import Schedule, check_schedule, read_schedule
from schemas.sample import CONTRACT_VERSION
from schemas.store.errors import UserError
from schemas.store.retries import open_fs
from schemas.subsets import T2I

MANIFEST = "manifest.json"


class DataError(UserError, ValueError):
    """Missing or damaged data, or data that do not fit; the message shows both sides."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ShardFile(_Model):
    """One output shard."""

    path: str  # of the tar, relative to the corpus
    bytes: int
    sha256: str
    samples: int


class SubsetShards(_Model):
    """The shards of one subset."""

    samples: int
    shards: tuple[ShardFile, ...]


class TokenMember(_Model):
    """An array that every sample has, and the tokenizer that made it."""

    member: str
    kind: str  # codes or features
    of: str = ""  # of features: the member of their codes
    name: str  # of the tokenizer
    checkpoint: str
    checkpoint_sha256: str  # "" for random weights
    codes_dtype: str
    codes_limit: int  # exclusive upper bound of a stored integer
    code_words: int
    bits: int = 0
    patchify: int = 0
    views: int = 1
    schedules: Mapping[str, str]  # of the tokenizer's own grid, by aspect

    def schedule(self, aspect: float) -> Schedule:
        """Return the scales of images with an aspect (height / width).

        Raises:
            DataError: the manifest does not list the aspect.
        """
        if str(aspect) not in self.schedules:
            known = ", ".join(self.schedules)
            raise DataError(f"{self.member}: no schedule of aspect {aspect}, only of {known}")
        return parse_schedule(self.schedules[str(aspect)])


class Manifest(_Model):
    """The fields of `manifest.json` that training reads."""

    contract: int
    tokens: tuple[TokenMember, ...]
    subsets: Mapping[str, SubsetShards]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Samples to train on: a subset of a corpus, and its share of the mixture."""

    url: str  # folder that holds manifest.json: a path or any fsspec URL
    subset: str = T2I.name
    weight: float = 1.0  # of the samples drawn, relative to the other sources'

    def __str__(self) -> str:
        return f"{self.url} {self.subset}"

    def file(self, path: str) -> str:
        """Return the URL of a file of the corpus."""
        return f"{self.url.rstrip('/')}/{path}"


def read_manifest(url: str) -> Manifest:
    """Read the manifest of a corpus.

    Raises:
        DataError: the file is missing, is no manifest, or has another contract version.
        StoreError: the store cannot be reached.
    """
    fs, path = open_fs(f"{url.rstrip('/')}/{MANIFEST}")
    try:
        manifest = Manifest.model_validate_json(fs.cat_file(path))
    except FileNotFoundError as error:
        raise DataError(f"{url}: no {MANIFEST}; expected the folder of a built corpus") from error
    except ValidationError as error:
        raise DataError(f"{url}/{MANIFEST}: {error}") from error
    if manifest.contract != CONTRACT_VERSION:
        raise DataError(
            f"{url}: shards of contract {manifest.contract}, expected {CONTRACT_VERSION}"
        )
    return manifest


def subset_of(source: Source, manifest: Manifest) -> SubsetShards:
    """Return the source's subset.

    Raises:
        DataError: the corpus has no such subset, or it is empty.
    """
    subset = manifest.subsets.get(source.subset)
    if subset is None or not subset.samples:
        known = ", ".join(name for name, found in manifest.subsets.items() if found.samples)
        raise DataError(f"{source.url}: no samples of {source.subset!r}; it has: {known}")
    return subset


def content_of(subset: SubsetShards) -> str:
    """Hash what a subset's order hangs on: the shards' content and sizes, not where they lie."""
    listed = "\n".join(f"{shard.sha256} {shard.samples}" for shard in subset.shards)
    return blake2b(listed.encode(), digest_size=8).hexdigest()


def token_members(source: Source, manifest: Manifest, member: str) -> tuple[TokenMember, Any]:
    """Return the codes of a member name and their features; None if it has no features.

    Raises:
        DataError: the corpus has no such codes.
    """
    codes = [found for found in manifest.tokens if found.kind == "codes"]
    wanted = next((found for found in codes if found.member == member), None)
    if wanted is None:
        known = ", ".join(found.member for found in codes) or "none"
        raise DataError(f"{source.url}: no codes {member!r}, only: {known}")
    features = (found for found in manifest.tokens if found.of == member)
    return wanted, next(features, None)


@cache
def parse_schedule(text: str) -> Schedule:
    """Parse a schedule of a manifest.

    Raises:
        DataError: the text is no schedule.

    >>> parse_schedule("1x1 2x3")
    ((1, 1), (2, 3))
    """
    try:
        schedule = read_schedule(text)
        check_schedule(schedule)
    except ValueError as error:
        raise DataError(f"schedule {text!r}: {error}") from error
    return schedule
