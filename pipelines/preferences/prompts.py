"""Writer of prompts: sort them by key and cut them into side-cars of `prompts/`."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from model.data.samples import Message
from model.preferences.prompts import BadPrompt, Place, PromptRow
from pipelines.report.funnel import in_words
from pipelines.runtime.ownership import is_own_letters, own_sidecar
from pipelines.runtime.sidecar import (
    Counts,
    Reject,
    count,
    dead_letters_path,
    make_origin,
    sidecar_path,
    write_dead_letters,
    write_sidecar,
)
from pipelines.templates.pair_files import load_t2i, write_t2i
from schemas.fingerprint import fingerprint
from schemas.markers import IMAGE, IMAGE_GEN, MARKS, marker_in
from schemas.store.storage import CorpusError, Storage, absolute
from schemas.subsets import PREFERENCE, PREFERENCE_EDIT, Subset
from schemas.tables import PROMPTS

STAGE = "prompts"
FOLDER = "prompts"
COMPARISON = "comparison.json"  # lies beside prompts that `compare` wrote
VERSION = 2
EDIT_ANSWER = f"The output image is: {IMAGE_GEN}"  # from VARGPT-v1.1's editing data


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenPrompts:
    """The prompts in `prompts/`."""

    shards: int
    counts: Counts
    subset: Subset  # of the pairs made from them


def write_prompts(
    found: Iterable[PromptRow | BadPrompt],
    store: Storage,
    *,
    per_shard: int,
    need_given: bool,
    templates: str = "t2i-v1",
) -> WrittenPrompts:
    """Write prompts to side-cars, and unusable ones to the dead letters.

    Args:
        found: prompts and errors, as `model.preferences.prompts` yields them.
        store: the folder to write to.
        per_shard: prompts a shard.
        need_given: whether a prompt without an image of its own fails.
        templates: templates for the prompts of a file; prompts of a corpus have messages.

    Raises:
        CorpusError: no prompt is usable, or some edit an image and some do not, which are two
            subsets.
    """
    words = load_t2i(templates)
    rows: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    for each in found:
        if isinstance(each, PromptRow) and need_given and each.given is None:
            each = BadPrompt(id=each.key, reason="no_given_image", detail=f"{each.text!r:.200}")
        if isinstance(each, PromptRow):
            messages = each.messages or tuple(_messages(each, words))
            each = _marker_fault(each, messages) or each
        if isinstance(each, BadPrompt):
            rejects.append(Reject(id=each.id, reason=each.reason, detail=each.detail))
        else:
            rows.append(_row(each, messages))
    counts = count(len(rows) + len(rejects), len(rows), rejects)
    write_dead_letters(store, STAGE, 0, rejects)
    if not rows:
        if not counts.rows_in:
            raise CorpusError("there is no prompt; of a small corpus, raise --held-out")
        place = f"{store.root.rstrip('/')}/{dead_letters_path(STAGE, 0)}"
        raise CorpusError(f"{in_words([(STAGE, counts)])}; see {place}")
    edits = {bool(row["edited"]["file"]) for row in rows}
    if len(edits) > 1:
        raise CorpusError(
            "some prompts edit an image and some do not; make their pairs in two runs"
        )
    rows.sort(key=lambda row: row["key"])
    starts = range(0, len(rows), per_shard)
    for number, start in enumerate(starts):
        _write_shard(
            store,
            number,
            rows[start : start + per_shard],
            rejects if number == 0 else [],
        )
    return WrittenPrompts(shards=len(starts), counts=counts, subset=pairs_subset(edits=edits.pop()))


def pairs_subset(*, edits: bool) -> Subset:
    """Return the subset of pairs whose prompts edit an image, or do not."""
    return PREFERENCE_EDIT if edits else PREFERENCE


def holds_prompts(store: Storage) -> bool:
    """Return whether `write_prompts` wrote to a folder."""
    sidecars = (own_sidecar(store, FOLDER, name) for name in store.listing(FOLDER))
    return any(sidecars) or is_own_letters(store, STAGE, 0)


def _write_shard(
    store: Storage, number: int, rows: Sequence[dict[str, Any]], rejects: Sequence[Reject]
) -> None:
    table = pa.Table.from_pylist(list(rows), schema=PROMPTS)
    counts = count(len(rows) + len(rejects), len(rows), rejects)
    origin = make_origin(STAGE, fingerprint(STAGE, VERSION), table, counts)
    write_sidecar(store, sidecar_path(FOLDER, number), table, origin)


def _messages(prompt: PromptRow, words: Any) -> Iterator[Message]:
    if prompt.edited is not None:
        yield Message("user", f"{IMAGE} {prompt.text}")
        yield Message("assistant", EDIT_ANSWER)
        return
    pair = write_t2i(words, prompt.key, prompt.text)
    yield Message("user", pair.user)
    yield Message("assistant", pair.assistant)


def _marker_fault(prompt: PromptRow, messages: Sequence[Message]) -> BadPrompt | None:
    """Return an error if messages spell a special token, or have too few or too many image marks.

    A corpus of an earlier release may have such messages.
    """
    for message in messages:
        if marker := marker_in(message.content, allowed=MARKS):
            detail = f"{message.content!r:.200} spells {marker!r}, a token of chat templates"
            return BadPrompt(id=prompt.key, reason="marker_in_prompt", detail=detail)
    text = "\n".join(message.content for message in messages)
    for mark, expected in pairs_subset(edits=prompt.edited is not None).marks.items():
        if (found := text.count(mark)) != expected:
            detail = f"{text!r:.200} has {found} {mark}, expected {expected}"
            return BadPrompt(id=prompt.key, reason="marker_in_prompt", detail=detail)
    return None


def _row(prompt: PromptRow, messages: Sequence[Message]) -> dict[str, Any]:
    return {
        "key": prompt.key,
        "text": prompt.text,
        "messages": [message._asdict() for message in messages],
        "source": prompt.source,
        "url": prompt.url,
        "licence": prompt.licence,
        "aspect": prompt.aspect,
        **{name: _place(getattr(prompt, name)) for name in ("given", "codes", "edited")},
    }


def _place(place: Place | None) -> dict[str, Any]:
    if place is None:
        return {"file": "", "offset": 0, "length": 0}
    # A relative path would be resolved below the corpus.
    return {"file": absolute(place.file), "offset": place.offset, "length": place.length}
