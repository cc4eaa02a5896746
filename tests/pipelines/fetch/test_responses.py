"""What an answer says and holds: sizes, formats, encodings and waits."""

from collections.abc import Iterator

import pytest
from fetching import fails, fetch, succeeds
from misbehaving_server import JPEG, Server, misbehaving_server

from pipelines.fetch.fetcher import Fetched, FetchFailure
from pipelines.fetch.responses import retry_after_s


@pytest.fixture
def server() -> Iterator[Server]:
    with misbehaving_server() as running:
        yield running


def test_a_body_that_ends_with_the_connection_arrives(server: Server) -> None:
    assert succeeds(f"{server.url}/until-close").body == JPEG


def test_a_header_that_is_no_utf8_can_be_stored(server: Server) -> None:
    assert succeeds(f"{server.url}/odd-type").content_type == "image/\ufffd"


def test_a_page_declared_as_an_image_is_shown_in_the_detail(server: Server) -> None:
    failure = fails(f"{server.url}/page")
    assert ": HTML, 18 bytes, starting with b'<html>" in failure.detail
    assert "image/png" in failure.detail


def test_a_format_that_is_not_read_is_named_and_its_bytes_are_not_shown(server: Server) -> None:
    detail = fails(f"{server.url}/svg").detail
    assert ": SVG is not read, only " in detail
    assert "xml version" not in detail


@pytest.mark.parametrize("door", ["gzipped", "called-gzipped", "called-compressed"])
def test_an_image_arrives_whatever_its_encoding_is_said_to_be(server: Server, door: str) -> None:
    assert succeeds(f"{server.url}/{door}").body == JPEG


def test_a_body_that_is_not_in_its_encoding_says_so(server: Server) -> None:
    assert "it is not in content encoding 'gzip'" in fails(f"{server.url}/not-gzipped").detail


def test_a_body_longer_than_said_ends_where_it_was_said_to(server: Server) -> None:
    result = fetch(f"{server.url}/longer-than-said", retries=0)
    if isinstance(result, Fetched):
        assert result.body == JPEG[:-100]
    else:
        assert result.error == "connection_error"


def test_a_body_without_end_is_cut_off(server: Server) -> None:
    assert fails(f"{server.url}/endless", max_bytes=100_000).error == "too_large"


@pytest.mark.parametrize(("spare", "kind"), [(-1, FetchFailure), (0, Fetched), (1, Fetched)])
def test_a_body_may_have_max_bytes_and_no_more(server: Server, spare: int, kind: type) -> None:
    for door in ("image", "until-close"):
        assert isinstance(fetch(f"{server.url}/{door}", max_bytes=len(JPEG) + spare), kind)


@pytest.mark.parametrize(
    ("value", "sent", "expected"),
    [
        ("12", "", 12.0),
        ("", "", 0.0),
        ("-3", "", 0.0),
        ("soon", "", 0.0),
        ("9" * 5000, "", 1e300),
        ("Wed, 21 Oct 2015 07:28:30 GMT", "Wed, 21 Oct 2015 07:28:00 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:28:30 -0000", "Wed, 21 Oct 2015 07:28:00 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:30 GMT", 0.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", "yesterday", 0.0),
        ("Mon, 01 Jan 0001 00:00:00 +2359", "", 0.0),
    ],
)
def test_retry_after_is_read(value: str, sent: str, expected: float) -> None:
    assert retry_after_s({"Retry-After": value, "Date": sent}) == expected
