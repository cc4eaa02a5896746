"""Known images: their hashes are on a list of the recipe, so their bytes are never stored."""

import posixpath
import re
from dataclasses import dataclass, field

from filters.decode import DecodeError
from filters.known_hashes import HashList, list_sha256, read_hashes
from filters.pdq import MISSING, has_pdq, pdq
from pipelines.runtime.active_images import active_images
from pipelines.runtime.images import decode_image
from schemas.list_config import KnownHashes
from schemas.recipe import CrawlConfig, DecodeConfig
from schemas.recipe_file import RecipeError
from schemas.store.storage import absolute

KNOWN_HASH = "known_hash"  # reason, before the name of a list

Verdict = tuple[str, str]  # reason and detail of a dropped row


def reason_of(known: KnownHashes) -> str:
    """Return the reason of the rows whose image is on a list."""
    return f"{KNOWN_HASH}:{known.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownImages:
    """The lists of a recipe, with their hashes pinned. Safe to use from many threads."""

    lists: tuple[KnownHashes, ...] = ()
    decode: DecodeConfig = field(default_factory=DecodeConfig)

    @property
    def looks(self) -> tuple[KnownHashes, ...]:
        """The lists of perceptual hashes, for which images are decoded."""
        return tuple(known for known in self.lists if known.kind == "pdq")

    def find(self, key: str, body: bytes) -> Verdict | None:
        """Return the verdict on an image that is known by its bytes or its look."""
        return self.by_bytes(body) or self.by_look(key, body)

    def by_bytes(self, body: bytes) -> Verdict | None:
        """Return the verdict on an image whose bytes are known."""
        for known in self.lists:
            if known.kind == "bytes" and (found := _read(known).find_bytes(body)):
                return reason_of(known), f"{found} is on the list {known.name}"
        return None

    def by_look(self, key: str, body: bytes) -> Verdict | None:
        """Return the verdict on an image that looks like a known one.

        One that cannot be decoded is not known by its look; `measure` says why it fails.
        """
        if not self.looks:
            return None
        try:
            with active_images(key):
                hashed = pdq(decode_image(body, self.decode))
        except DecodeError:
            return None
        for known in self.looks:
            if found := _read(known).find_pdq(hashed, known.distance):
                said = f"within {known.distance} bits of {found}, on the list {known.name}"
                return reason_of(known), f"pdq {hashed} is {said}"
        return None


def _read(known: KnownHashes) -> HashList:
    return read_hashes(known.path, known.kind, known.sha256)


def pinned_lists(config: CrawlConfig) -> tuple[KnownHashes, ...]:
    """Fill in names and hashes of lists of known images, or check those given.

    Raises:
        RecipeError: two lists have the same name, or a package is missing.
        CorpusError: a list is missing, is none, or is not the one that was pinned.
    """
    lists = tuple(_pinned(known) for known in config.known_hashes)
    if faults := [*known_faults(lists)]:
        raise RecipeError("\n".join(faults))
    return lists


def _pinned(known: KnownHashes) -> KnownHashes:
    path = absolute(known.path)
    read_hashes(path, known.kind, known.sha256)
    update = {"path": path, "sha256": list_sha256(path, known.kind), "name": _name(known)}
    return known.model_copy(update=update)


def _name(known: KnownHashes) -> str:
    stem = posixpath.splitext(posixpath.basename(known.path))[0]
    return known.name or re.sub(r"[^A-Za-z0-9_-]", "-", stem)[:64]


def known_faults(lists: tuple[KnownHashes, ...]) -> list[str]:
    """Return what keeps lists from being used, a line a fault."""
    names = [_name(known) for known in lists]
    shared = sorted({name for name in names if names.count(name) > 1})
    faults = [f"crawl.known_hashes: more than one list is named {name}" for name in shared]
    needs_pdq = any(known.kind == "pdq" for known in lists)
    return [*faults, *([f"crawl.known_hashes: {MISSING}"] if needs_pdq and not has_pdq() else [])]
