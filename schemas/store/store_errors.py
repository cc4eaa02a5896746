"""The meaning of errors of object store clients: gcsfs, s3fs and the libraries below them.

Classes are compared by name: a client may not be installed, and importing one takes a second.
"""

from typing import Any, NamedTuple

# No answer, or only a part of one.
_NO_ANSWER = {
    "aiohttp.client_exceptions.ClientError",
    "botocore.exceptions.ConnectionError",
    "botocore.exceptions.HTTPClientError",
    "botocore.parsers.ResponseParserError",
    "builtins.ConnectionError",
    "builtins.TimeoutError",
    "google.auth.exceptions.TransportError",
    "requests.exceptions.RequestException",
}
# No credentials, or none that work; the store got no request.
_NO_CREDENTIALS = {
    "botocore.exceptions.CredentialRetrievalError",
    "botocore.exceptions.NoCredentialsError",
    "botocore.exceptions.PartialCredentialsError",
    "botocore.exceptions.ProfileNotFound",
    "google.auth.exceptions.DefaultCredentialsError",
    "google.auth.exceptions.RefreshError",
}
_TEMPORARY = (0, 408, 409, 429, 500, 502, 503, 504)
_MEANINGS = {
    0: "could not be reached",
    401: "does not accept the credentials",
    403: "denies access",
}
SHOWN_CHARACTERS = 300


class StoreFault(NamedTuple):
    """A failure of a store."""

    is_temporary: bool  # the same call may succeed later
    text: str  # for the user, without the URL


def store_fault(error: Exception) -> StoreFault | None:
    """Return the fault of an error; None if it is no store error, or about a file's existence."""
    detail = " ".join((str(error) or type(error).__name__).split())[:SHOWN_CHARACTERS]
    if _is_any(error, _NO_CREDENTIALS):
        return StoreFault(False, f"no usable credentials ({detail})")
    status = _status(error)
    if status is None or isinstance(error, FileNotFoundError | FileExistsError):
        return None
    meaning = _MEANINGS.get(status, f"answered {status}")
    return StoreFault(status in _TEMPORARY, f"the store {meaning} ({detail})")


def _status(error: Any) -> int | None:
    """Return the HTTP status of an error; 0 if there was no answer, None if it has none."""
    if _is_any(error, {"gcsfs.retry.HttpError"}):
        return int(error.code or 0)
    if _is_any(error, {"aiohttp.client_exceptions.ClientResponseError"}):
        return error.status
    if _is_any(error, _NO_ANSWER):
        return 0
    answer = getattr(error.__cause__, "response", None)  # of botocore's error; s3fs raises another
    if isinstance(answer, dict):
        return answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    # gcsfs has no classes for these two errors.
    if isinstance(error, OSError) and str(error).startswith("Forbidden: "):
        return 403
    if isinstance(error, ValueError) and str(error).startswith("Bad Request: "):
        return 400
    return None


def _is_any(error: Exception, names: set[str]) -> bool:
    return any(f"{base.__module__}.{base.__qualname__}" in names for base in type(error).__mro__)
