"""OpenAI's chat API: the body of a request, and what the body of a reply says.

https://platform.openai.com/docs/api-reference/chat; vLLM, SGLang and llama.cpp speak it too.
"""

import base64
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, Field, ValidationError

from filters.captioner import Answer, Asked, FinishReason
from pipelines.captions.server_errors import BadReplyError

PATH: Final = "/chat/completions"  # under the server's `/v1`
REFUSES: Final = (400, 413, 415, 422)  # statuses of a request that would be refused again

_SEED_BITS: Final = 31  # some servers read a seed as a signed number of 32 bits
_REASONS: Final[dict[str, FinishReason]] = {
    "": "",
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
}
_MOST_DETAIL: Final = 300  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The model that is asked, and how it chooses words."""

    model: str  # as the server calls it
    temperature: float
    top_p: float


def request_body(asked: Asked, sampling: Sampling, limit_key: str = "max_tokens") -> dict[str, Any]:
    """Return the JSON of a request; the image is in it, as a data URL.

    `limit_key` bounds the answer: `max_tokens` for all servers but those of OpenAI's newer models,
    which want `max_completion_tokens`.
    """
    body: dict[str, Any] = {
        "model": sampling.model,
        "messages": [{"role": "user", "content": _content(asked)}],
        limit_key: asked.max_new_tokens,
        "temperature": sampling.temperature,
        "seed": asked.seed % 2**_SEED_BITS,
    }
    if sampling.top_p < 1:
        body["top_p"] = sampling.top_p
    if asked.schema is not None:
        named = {"name": "answer", "schema": asked.schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    return body


def _content(asked: Asked) -> str | list[dict[str, Any]]:
    if not asked.image:
        return asked.prompt
    url = f"data:image/jpeg;base64,{base64.b64encode(asked.image).decode()}"
    return [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": asked.prompt},
    ]


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int | None = Field(default=None, ge=0)
    completion_tokens: int | None = Field(default=None, ge=0)


class _Reply(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    model: str = ""
    usage: _Usage | None = None


def read_reply(digest: str, body: bytes) -> Answer:
    """Return the answer in a reply with status 200.

    A model's own refusal (`message.refusal`) is its text, with the finish reason `content_filter`.

    Raises:
        BadReplyError: no JSON, no choices, or text that UTF-8 cannot hold.
    """
    try:
        reply = _Reply.model_validate_json(body)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, wrong["loc"]))
        raise BadReplyError(
            f"the reply has no answer: {where}{': ' if where else ''}{wrong['msg']}; "
            f"it is {said(body)!r}"
        ) from None
    choice, usage = reply.choices[0], reply.usage or _Usage()
    refusal = choice.message.refusal
    reason = "content_filter" if refusal else choice.finish_reason or ""
    return Answer(
        digest=digest,
        status="answered",
        text=refusal or choice.message.content or "",
        finish_reason=_REASONS.get(reason, "other"),
        prompt_tokens=usage.prompt_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
        model=reply.model,
    )


def refused(digest: str, status: int, body: bytes) -> Answer:
    """Return the answer of a server that refused a request for good."""
    return Answer(digest=digest, status="refused", detail=f"{status}: {said(body)}")


class _Error(BaseModel):
    message: str
    code: Any = None


class _ErrorBody(BaseModel):
    error: _Error | str


def error_code(body: bytes) -> str:
    """Return the code in the body of an error, as OpenAI writes it; '' if there is none.

    >>> error_code(b'{"error": {"message": "Pay first", "code": "insufficient_quota"}}')
    'insufficient_quota'
    """
    try:
        error = _ErrorBody.model_validate_json(body).error
    except ValidationError:
        return ""
    return "" if isinstance(error, str) else str(error.code or "")


def said(body: bytes) -> str:
    r"""Return the message in the body of an error, or the start of the body, in one line.

    >>> said(b'{"error": {"message": "no such model"}}'), said(b"<html>Bad\r\nGateway")
    ('no such model', '<html>Bad Gateway')
    """
    try:
        error = _ErrorBody.model_validate_json(body).error
        text = error if isinstance(error, str) else error.message
    except ValidationError:
        text = body[: 4 * _MOST_DETAIL].decode(errors="replace")
    line = " ".join(text.split())
    return line if len(line) <= _MOST_DETAIL else f"{line[:_MOST_DETAIL]}..."
