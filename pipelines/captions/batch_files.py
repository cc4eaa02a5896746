"""Files of requests that vLLM's `run-batch` and OpenAI's batch API answer, and files of answers.

A line of a file of requests is {custom_id, method, url, body}; of answers, {custom_id, response:
{status_code, body}, error}. Requests are told apart by their digest alone.
https://platform.openai.com/docs/guides/batch
"""

import json
import math
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ValidationError

from filters.captioner import Answer, Asked, Unanswered
from pipelines.captions.chat import (
    PATH,
    REFUSES,
    Sampling,
    read_reply,
    refused,
    request_body,
    said,
)
from pipelines.captions.refusals import Refusals
from pipelines.captions.server_errors import BadReplyError

MOST_LINES: Final = 50_000  # of a file, by OpenAI's limits
MOST_BYTES: Final = 200_000_000

_NO_ANSWER: Final = "no answer in the files"


def write_requests(
    requests: Iterable[Asked],
    sampling: Sampling,
    folder: Path,
    *,
    most_lines: int = MOST_LINES,
    most_bytes: int = MOST_BYTES,
) -> list[Path]:
    """Write requests to `requests-NNNNN.jsonl` in a folder; return the files.

    A file appears when it is whole. Memory holds one request at a time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = (_request_line(asked, sampling) for asked in requests)
    files = []
    line = next(lines, None)
    while line is not None:
        path = folder / f"requests-{len(files):05d}.jsonl"
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            count = 0
            while line is not None and count < most_lines:
                if count and file.tell() + len(line) > most_bytes:
                    break
                file.write(line)
                count, line = count + 1, next(lines, None)
        os.replace(part, path)
        files.append(path)
    return files


def _request_line(asked: Asked, sampling: Sampling) -> bytes:
    request = {
        "custom_id": asked.digest,
        "method": "POST",
        "url": f"/v1{PATH}",
        "body": request_body(asked, sampling),
    }
    return json.dumps(request, separators=(",", ":")).encode() + b"\n"


class _Response(BaseModel):
    status_code: int
    body: Any = None


class _Line(BaseModel):
    custom_id: str
    response: _Response | None = None
    error: Any = None


class Failures(NamedTuple):
    """Lines that answer nothing, for one reason."""

    lines: int
    first: str  # where, and what it says


@dataclass(kw_only=True)
class AnswerFiles:
    """Reads files of answers, and counts what else is in them.

    Args:
        expected: digests of the requests.
    """

    expected: Collection[str]
    foreign: int = 0  # answers to requests of others
    repeated: int = 0  # further answers to a request
    broken: int = 0  # lines that are no answers, as the last of a file that was cut
    first_broken: str = ""  # where, and why
    failed: dict[str, Failures] = field(default_factory=dict)  # lines that failed, by reason

    def outcomes(self, files: Iterable[Path]) -> Iterator[Answer | Unanswered]:
        """Yield one outcome for each request.

        Of several answers to a request the first counts; a failure counts only if there is no
        answer in any file. Memory holds the digests, and one line.

        Raises:
            EngineError: all requests were refused.
        """
        server = "the server that answered the files"
        return Refusals(server, math.inf).checked(self._outcomes(files))

    def _outcomes(self, files: Iterable[Path]) -> Iterator[Answer | Unanswered]:
        open_ = dict.fromkeys(self.expected, _NO_ANSWER)
        answered: set[str] = set()
        for where, line in self._lines(files):
            if line.custom_id in answered:
                self.repeated += 1
            elif line.custom_id not in open_:
                self.foreign += 1
            elif isinstance(outcome := _outcome(line), Answer):
                answered.add(line.custom_id)
                del open_[line.custom_id]
                yield outcome
            else:
                open_[line.custom_id] = outcome.detail
                self._note_failed(where, line, outcome.detail)
        for digest, detail in open_.items():
            yield Unanswered(digest=digest, detail=detail)

    def _lines(self, files: Iterable[Path]) -> Iterator[tuple[str, _Line]]:
        for path in files:
            with path.open("rb") as file:
                for number, text in enumerate(file, 1):
                    if not text.strip():
                        continue
                    where = f"{path}, line {number}"
                    try:
                        yield where, _Line.model_validate_json(text)
                    except ValidationError as error:
                        self._note_broken(where, error)

    def _note_failed(self, where: str, line: _Line, detail: str) -> None:
        reason = _reason(line)
        before = self.failed.get(reason, Failures(0, f"{where}: {detail}"))
        self.failed[reason] = before._replace(lines=before.lines + 1)

    def _note_broken(self, where: str, error: ValidationError) -> None:
        wrong = error.errors(include_url=False, include_input=False)[0]
        at = ".".join(map(str, wrong["loc"]))
        self.broken += 1
        self.first_broken = self.first_broken or f"{where}: {at}{': ' if at else ''}{wrong['msg']}"


def _outcome(line: _Line) -> Answer | Unanswered:
    digest, response = line.custom_id, line.response
    if response is None:
        return Unanswered(digest=digest, detail=f"failed: {said(_error(line))}")
    if response.status_code in REFUSES:
        return refused(digest, response.status_code, _error(line))
    if response.status_code != 200:
        return Unanswered(digest=digest, detail=f"{response.status_code}: {said(_error(line))}")
    try:
        return read_reply(digest, json.dumps(response.body).encode())
    except BadReplyError as error:
        return Unanswered(digest=digest, detail=str(error))


def _reason(line: _Line) -> str:
    if line.response is None:
        return "no response"
    status = line.response.status_code
    return "no caption in the response" if status == 200 else f"status {status}"


def _error(line: _Line) -> bytes:
    """Return the error of a line as the body of an error: OpenAI has it in the response's body."""
    body = line.response.body if line.response else None
    error = line.error if body is None else body
    is_body = isinstance(error, dict) and "error" in error
    return json.dumps(error if is_body else {"error": error}).encode()
