"""The samples of one shard, checked, as all formats read them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

from model.data.manifest import DataError, ShardFile, Source, TokenMember
from model.data.shards import ShardReader
from schemas.conversation import message_faults
from schemas.keys import KEY_HEX_DIGITS
from schemas.store.retries import open_fs
from schemas.subsets import Subset

READ_SAMPLES: Final = 64  # at once
_KEY: Final = re.compile(f"[0-9a-f]{{{KEY_HEX_DIGITS}}}")


class Sample(NamedTuple):
    """A sample as it lies in a shard."""

    key: str  # 32 hex digits
    fields: Mapping[str, Any]  # of KEY.json, their messages checked
    members: Mapping[str, bytes]  # that were asked for, by extension: jpg, tokens256.npy


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """A shard of a corpus."""

    url: str  # of the corpus
    subset: Subset
    file: ShardFile
    tokens: tuple[TokenMember, ...]  # arrays that each generated image has

    @property
    def name(self) -> str:
        """Name of the tar without its suffix, as edit-000000."""
        return PurePosixPath(self.file.path).stem

    def samples(self, members: Sequence[str]) -> Iterator[Sample]:
        """Yield the samples in the order of the tar, with the JSON and some members of each.

        At most `READ_SAMPLES` are in memory.

        Raises:
            DataError: the shard or its index is missing, cut short or damaged, or the messages of
                a sample break a rule.
            StoreError: the store cannot be reached.
        """
        source = Source(url=self.url, subset=self.subset.name)
        _check_size(source.file(self.file.path), self.file.bytes)
        reader = ShardReader(source, [self.file], ("json", *members), keep=1)
        for start in range(0, self.file.samples, READ_SAMPLES):
            rows = range(start, min(start + READ_SAMPLES, self.file.samples))
            for key, found in reader.read(0, rows):
                if not _KEY.fullmatch(key):  # it becomes a part of file names
                    raise DataError(f"{self.file.path}: key {key!r:.80}; expected 32 hex digits")
                yield Sample(key, self._fields(key, found.pop("json")), found)

    def _fields(self, key: str, data: bytes) -> dict[str, Any]:
        where = f"{self.file.path}: {key}.json"
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: damaged: {error}; restore the shard") from error
        if not isinstance(fields, dict):
            raise DataError(f"{where}: {fields!r:.80}, expected an object; restore the shard")
        if unknown := fields.keys() - self.subset.fields:
            raise DataError(
                f"{where}: fields {', '.join(sorted(unknown))} are not in the contract; export "
                "with the release that built the corpus"
            )
        for fault in message_faults(fields.get("messages"), self.subset):
            raise DataError(f"{where}: {fault.detail}; build the corpus again")
        return fields


def _check_size(url: str, expected: int) -> None:
    """Check that a shard is not cut short; otherwise its last images would be cut."""
    fs, path = open_fs(url)
    try:
        found = fs.size(path)
    except FileNotFoundError as error:
        raise DataError(f"{url}: a shard that the manifest lists is missing") from error
    if found != expected:
        raise DataError(f"{url}: {found:,} bytes, expected {expected:,} by the manifest")
