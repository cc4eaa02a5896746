"""What the errors of object stores' clients mean: of gcsfs, of s3fs, and of what lies below them.

Classes are looked up by name: either client may not be installed, and to import one takes a second.
"""

from typing import Any, NamedTuple

# No answer came, or half of one.
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
# There are none, or none that work; nothing was asked of the store.
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
    """What went wrong at a store."""

    is_temporary: bool  # the same call may succeed a moment later
    said: str  # for the user, without the URL


def store_fault(error: Exception) -> StoreFault | None:
    """Explain an error; None if it is not a store's, or says that a file is or is not there."""
    detail = " ".join((str(error) or type(error).__name__).split())[:SHOWN_CHARACTERS]
    if _is_any(error, _NO_CREDENTIALS):
        return StoreFault(False, f"no usable credentials ({detail})")
    status = _status(error)
    if status is None or isinstance(error, FileNotFoundError | FileExistsError):
        return None
    meaning = _MEANINGS.get(status, f"answered {status}")
    return StoreFault(status in _TEMPORARY, f"the store {meaning} ({detail})")


def _status(error: Any) -> int | None:
    """Return the HTTP status that an error came of; 0 if there was no answer."""
    if _is_any(error, {"gcsfs.retry.HttpError"}):
        return int(error.code or 0)
    if _is_any(error, {"aiohttp.client_exceptions.ClientResponseError"}):
        return error.status
    if _is_any(error, _NO_ANSWER):
        return 0
    answer = getattr(error.__cause__, "response", None)  # of botocore's error; s3fs raises another
    if isinstance(answer, dict):
        return answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    # gcsfs has errors of no class of its own for these two.
    if isinstance(error, OSError) and str(error).startswith("Forbidden: "):
        return 403
    if isinstance(error, ValueError) and str(error).startswith("Bad Request: "):
        return 400
    return None


def _is_any(error: Exception, names: set[str]) -> bool:
    return any(f"{base.__module__}.{base.__qualname__}" in names for base in type(error).__mro__)
