"""The answers of models, kept: what was answered once is never asked, nor paid for, again.

Answers are input, like fetched bytes. `answers/NNNNN/HASH.parquet` has some answers of a shard. An
answer is written after `FLUSH_S` at most, so a killed worker loses those of its last seconds. A
folder shared by corpora has an object an answer, named by the request's digest.
"""

import io
import json
import re
import threading
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from filters.captioner import Answer
from schemas.keys import shard_name
from schemas.store.storage import CorpusError, Storage

FOLDER: Final = "answers"
FLUSH_ANSWERS: Final = 256  # that wait to be written, at most
FLUSH_S: Final = 5.0  # that an answer waits to be written, at most
MOST_TOKENS: Final = 2**31 - 1
SHARED_AT_ONCE: Final = 32  # objects read or written

SCHEMA: Final = pa.schema(
    [
        ("digest", pa.string()),  # of the request: engine, settings, prompt, seed, image
        ("status", pa.string()),
        ("text", pa.string()),  # as the model wrote it
        ("finish_reason", pa.string()),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("model", pa.string()),
        ("detail", pa.string()),
    ]
)
"""A file of answers: the fields of `Answer`."""

_ANSWER = TypeAdapter(Answer)
_OWN = re.compile(rf"{FOLDER}/\d{{5,}}/[0-9a-f]{{32}}\.parquet")


def is_own(path: str) -> bool:
    """Return whether a path of a corpus is one of a file of answers.

    >>> is_own("answers/00003/0123456789abcdef0123456789abcdef.parquet"), is_own("answers/a.txt")
    (True, False)
    """
    return _OWN.fullmatch(path) is not None


@dataclass(kw_only=True)
class Answers:
    """The answers to the requests of one shard.

    Args:
        store: the corpus.
        shard: number of the shard.
        shared: a folder that other corpora use too; None for none.
        flush_s: how long an answer waits to be written, at most; None for until `flush`.
    """

    store: Storage
    shard: int
    shared: Storage | None = None
    flush_s: float | None = FLUSH_S
    _known: dict[str, Answer] | None = None
    _waiting: list[Answer] = field(default_factory=list)
    _to_share: set[str] = field(default_factory=set)  # digests, if they are not shared yet
    _timer: threading.Timer | None = None
    _is_late: bool = False  # the timer could not write
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def find(self, digests: Collection[str]) -> dict[str, Answer]:
        """Return the answers that are kept, by digest of the request."""
        with self._lock:
            if self._known is None:
                self._known = dict(self._read())
            found = {digest: self._known[digest] for digest in digests if digest in self._known}
            missing = [digest for digest in digests if digest not in found]
            for answer in self._read_shared(missing):
                self._keep(answer)
                found[answer.digest] = answer
            self._to_share |= found.keys() - {*missing}
            return found

    def add(self, answer: Answer) -> None:
        """Keep an answer. It is written with others, by a timer if no other comes."""
        with self._lock:
            if self._known is not None and answer.digest in self._known:
                return
            self._keep(answer)
            self._to_share.add(answer.digest)
            if len(self._waiting) >= FLUSH_ANSWERS or self._is_late:
                self.flush()
            elif self._timer is None and self.flush_s is not None:
                self._timer = threading.Timer(self.flush_s, self._flush_by_timer)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Write the answers that wait."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._share_new()
            if self._waiting:
                rows = sorted(map(asdict, self._waiting), key=lambda row: row["digest"])
                body = _parquet(pa.Table.from_pylist(rows, schema=SCHEMA))
                name = blake2b(body, digest_size=16).hexdigest()
                self.store.commit_bytes(f"{FOLDER}/{shard_name(self.shard)}/{name}.parquet", body)
            self._waiting = []
            self._is_late = False

    def _flush_by_timer(self) -> None:
        try:
            self.flush()
        except Exception:  # the stage's own thread writes again, and raises what is wrong
            self._is_late = True

    def _share_new(self) -> None:
        """Put answers into the shared folder that are not there; no other is replaced."""
        known, digests = self._known or {}, sorted(self._to_share)
        if self.shared is not None and digests:
            with ThreadPoolExecutor(SHARED_AT_ONCE) as threads:
                list(threads.map(self._share, [known[digest] for digest in digests]))
        self._to_share = set()

    def _keep(self, answer: Answer) -> None:
        assert self._known is not None, "find comes first"
        self._known[answer.digest] = answer
        self._waiting.append(answer)

    def _read(self) -> Iterable[tuple[str, Answer]]:
        """Yield the answers of the shard's files; of two to one request the first by name stays."""
        folder = f"{FOLDER}/{shard_name(self.shard)}"
        for name in sorted(self.store.listing(folder), reverse=True):
            path = f"{folder}/{name}"
            if is_own(path):
                for answer in read_answers(self.store, path):
                    yield answer.digest, answer

    def _read_shared(self, digests: Collection[str]) -> list[Answer]:
        if self.shared is None or not digests:
            return []
        with ThreadPoolExecutor(SHARED_AT_ONCE) as threads:
            return [answer for answer in threads.map(self._shared_answer, digests) if answer]

    def _shared_answer(self, digest: str) -> Answer | None:
        assert self.shared is not None
        path = shared_path(digest)
        if not self.shared.exists(path):
            return None
        where = f"{self.shared.locate(path)[1]}"
        try:
            row = json.loads(self.shared.read(path))
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{where}: holds no answer: {error}; remove it") from error
        answer = answer_of(row, where)
        if answer.digest != digest:
            raise CorpusError(f"{where}: has the answer to {answer.digest}")
        return answer

    def _share(self, answer: Answer) -> None:
        assert self.shared is not None
        if self.shared.exists(shared_path(answer.digest)):
            return
        body = json.dumps(asdict(answer), sort_keys=True, ensure_ascii=False).encode()
        self.shared.commit_bytes(shared_path(answer.digest), body)


def shared_path(digest: str) -> str:
    """Return the path of an answer in a shared folder.

    >>> shared_path("0123456789abcdef")
    '01/0123456789abcdef.json'
    """
    return f"{digest[:2]}/{digest}.json"


def read_answers(store: Storage, path: str) -> list[Answer]:
    """Read a file of answers.

    Raises:
        CorpusError: it is damaged, or holds something else.
    """
    try:
        table = pq.read_table(io.BytesIO(store.read(path)))
    except pa.ArrowException as error:
        raise CorpusError(f"{path}: {error}; remove it, its answers are asked for again") from error
    if not table.schema.equals(SCHEMA, check_metadata=False):
        raise CorpusError(f"{path}: holds no answers; remove it, they are asked for again")
    return [answer_of(row, path) for row in table.to_pylist()]


def answer_of(row: Any, path: str) -> Answer:
    """Return the answer of a stored row.

    Raises:
        CorpusError: the row has other fields, or values of other types.
    """
    try:
        return _ANSWER.validate_python(row)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, wrong["loc"]))
        raise CorpusError(
            f"{path}: holds no answer: {where}: {wrong['msg']}; remove it, it is asked for again"
        ) from error


def storable(answer: Answer) -> Answer:
    """Return an answer as it can be stored: counts of 32 bits, and text without lone surrogates."""
    return replace(
        answer,
        **{name: _plain(getattr(answer, name)) for name in ("text", "model", "detail")},
        prompt_tokens=min(max(answer.prompt_tokens, 0), MOST_TOKENS),
        completion_tokens=min(max(answer.completion_tokens, 0), MOST_TOKENS),
    )


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _parquet(table: pa.Table) -> bytes:
    body = io.BytesIO()
    pq.write_table(table, body, compression="zstd")
    return body.getvalue()
