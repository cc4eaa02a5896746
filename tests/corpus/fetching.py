"""Fetch a single URL, and say in one word what has to come of it."""

from typing import Any

from pipelines.fetch.fetcher import Fetched, FetchFailure, FetchLimits, fetch_all


def limits(**changes: Any) -> FetchLimits:
    """Return limits that let this machine be asked and do not wait long."""
    settings = {"allow_private_addresses": True, "backoff_s": 0.01, "timeout_s": 10.0}
    return FetchLimits(**(settings | changes))


def fetch(url: str, **changes: Any) -> Fetched | FetchFailure:
    """Fetch a URL within `limits(**changes)`."""
    results: dict[int, Fetched | FetchFailure] = {}
    fetch_all([(7, url)], limits(**changes), results.__setitem__)
    assert list(results) == [7]
    return results[7]


def fails(url: str, **changes: Any) -> FetchFailure:
    """Fetch what cannot be had."""
    result = fetch(url, **changes)
    assert isinstance(result, FetchFailure), result
    return result


def succeeds(url: str, **changes: Any) -> Fetched:
    """Fetch what can be had."""
    result = fetch(url, **changes)
    assert isinstance(result, Fetched), result
    return result
