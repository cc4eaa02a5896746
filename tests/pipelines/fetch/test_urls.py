"""A URL goes out as it was listed, byte for byte, and is resolved as RFC 3986 says."""

from collections.abc import Iterator

import pytest
from fetching import fetch, succeeds
from hypothesis import given
from hypothesis import strategies as st
from misbehaving_server import Server, misbehaving_server

from pipelines.fetch.addresses import check_url, parse_url
from pipelines.fetch.fetcher import Fetched, FetchLimits
from pipelines.fetch.urls import join_url, quoted, split_url, wire_url
from pipelines.sources.lists.reader import ListReader
from schemas.source_config import ListSource

BASE = "http://a/b/c/d;p?q"
# RFC 3986 section 5.4, without fragments, which no server sees.
RESOLVED = {
    "g:h": "g:h",
    "g": "http://a/b/c/g",
    "./g": "http://a/b/c/g",
    "g/": "http://a/b/c/g/",
    "/g": "http://a/g",
    "//g": "http://g",
    "?y": "http://a/b/c/d;p?y",
    "g?y": "http://a/b/c/g?y",
    "#s": "http://a/b/c/d;p?q",
    "g#s": "http://a/b/c/g",
    "g?y#s": "http://a/b/c/g?y",
    ";x": "http://a/b/c/;x",
    "g;x": "http://a/b/c/g;x",
    "g;x?y#s": "http://a/b/c/g;x?y",
    "": "http://a/b/c/d;p?q",
    ".": "http://a/b/c/",
    "./": "http://a/b/c/",
    "..": "http://a/b/",
    "../": "http://a/b/",
    "../g": "http://a/b/g",
    "../..": "http://a/",
    "../../": "http://a/",
    "../../g": "http://a/g",
    "../../../g": "http://a/g",
    "../../../../g": "http://a/g",
    "/./g": "http://a/g",
    "/../g": "http://a/g",
    "g.": "http://a/b/c/g.",
    ".g": "http://a/b/c/.g",
    "g..": "http://a/b/c/g..",
    "..g": "http://a/b/c/..g",
    "./../g": "http://a/b/g",
    "./g/.": "http://a/b/c/g/",
    "g/./h": "http://a/b/c/g/h",
    "g/../h": "http://a/b/c/h",
    "g;x=1/./y": "http://a/b/c/g;x=1/y",
    "g;x=1/../y": "http://a/b/c/y",
    "g?y/./x": "http://a/b/c/g?y/./x",
    "g?y/../x": "http://a/b/c/g?y/../x",
    # And ours: what is whole stays, and no spelling is changed.
    "http://h/x/../y?": "http://h/x/../y?",
    "%2e%2e/%2C": "http://a/b/c/%2e%2e/%2C",
    "g//h/": "http://a/b/c/g//h/",
    "a?": "http://a/b/c/a?",
    "a;": "http://a/b/c/a;",
}

AS_LISTED = [
    "/image/a%2Cb.jpg?sig=q%2Bz%2Fy%3D&disp=a%3A%20b",
    "/image/http%3A%2F%2Fcdn.example%2Fcat%2C1.jpg",
    "/image/photo%28v1%29.jpg",
    "/image/a,b(c)'d!e*f$g&h=i@j:k~l;m+n",
    "/image/%7e%41%c3%a9%C3%A9%2E%2e",
    "/image/a//b///c/./d/../e",
    "/image/a.jpg?",
    "/image/a.jpg??a=1?b=2",
    "/image/a.jpg?x[0]=1&y=a+b;c&z=%26%3D%23",
    "/image/[1].jpg",
    "/image/",
    "/image/a;v=1/b;",
]
QUOTED = {
    "/image/a b.jpg?c d": "/image/a%20b.jpg?c%20d",
    "/image/caf\u00e9.jpg?\u732b": "/image/caf%C3%A9.jpg?%E7%8C%AB",
    '/image/<a>"{b}|\\^`': "/image/%3Ca%3E%22%7Bb%7D|%5C%5E%60",
    '/image/a.jpg?<a>"{b}|\\^`': "/image/a.jpg?%3Ca%3E%22{b}|\\^`",
    "/image/100%.jpg?%zz%4": "/image/100%.jpg?%zz%4",
    "/image/a.jpg#part?x": "/image/a.jpg",
    "/image/a%20b c%2C.jpg": "/image/a%20b%20c%2C.jpg",
}
REDIRECTED = {
    "to-encoded": "/image/a%2Cb%28c%29//d/e;f?x=%2F%3D&y=p+q;[1]&z=%7e",
    "to-relative": "/image/%2e%2C/x%2fy?",
    "to-utf8": "/image/caf%C3%A9%20d.jpg",
    "to-latin1": "/image/caf%E9.jpg",
}


@pytest.fixture
def server() -> Iterator[Server]:
    with misbehaving_server() as running:
        yield running


@pytest.mark.parametrize(("reference", "expected"), RESOLVED.items())
def test_a_reference_is_resolved_as_the_standard_says(reference: str, expected: str) -> None:
    assert join_url(BASE, reference) == expected


@pytest.mark.parametrize("target", AS_LISTED)
def test_what_can_stand_in_a_url_goes_out_byte_for_byte(server: Server, target: str) -> None:
    assert succeeds(server.url + target).final_url == server.url + target
    assert server.tries(target) == 1


@pytest.mark.parametrize(("target", "sent"), QUOTED.items())
def test_only_what_cannot_is_quoted(server: Server, target: str, sent: str) -> None:
    succeeds(server.url + target)
    assert server.tries(sent) == 1, server.hits


def test_without_a_path_the_root_is_asked_for() -> None:
    url = "http://host?a=%2C"
    assert wire_url(parse_url(url), url).raw_path_qs == "/?a=%2C"


@pytest.mark.parametrize(("door", "sent"), REDIRECTED.items())
def test_a_redirect_is_followed_byte_for_byte(server: Server, door: str, sent: str) -> None:
    found = fetch(f"{server.url}/{door}/x")
    assert isinstance(found, Fetched), found
    assert server.tries(sent) == 1, server.hits


def test_a_host_in_other_letters_is_asked_for_in_ascii() -> None:
    url = "http://B\u00fccher.example:8080/%2C\u00e9"
    assert str(wire_url(parse_url(url), url)) == "http://xn--bcher-kva.example:8080/%2C%C3%A9"
    url = "http://[2606:4700::1]:80/%2C"
    assert wire_url(parse_url(url), url).raw_host == "2606:4700::1"


@given(st.text(st.characters(min_codepoint=0x20, exclude_categories=("Cs", "Cc")), max_size=40))
def test_what_is_quoted_once_is_not_quoted_again(text: str) -> None:
    once = quoted(text)
    assert once.isascii()
    assert quoted(once) == once
    assert " " not in once


@given(st.text("ab/.?#;%2C:@[]\\ \u00e9", max_size=20))
def test_the_target_never_changes_the_host(text: str) -> None:
    url = f"http://host.example/{text}"
    if check_url(url) is None:
        wire = wire_url(parse_url(url), url)
        assert (wire.raw_host, wire.port, wire.scheme) == ("host.example", 80, "http")


def test_parts_are_put_together_as_they_were_cut() -> None:
    for url in (BASE, "//h/x?", "x", "?y", "http://h"):
        assert str(split_url(url)) == url


def test_a_list_relative_to_a_base_is_joined_without_another_spelling() -> None:
    source = ListSource(name="s", kind="list", path="l.csv", base_url="http://h/imgs/")
    reader = ListReader(source, FetchLimits())
    assert reader._join("a%2Cb(1).jpg?") == "http://h/imgs/a%2Cb(1).jpg?"
    assert reader._join("http://other/%2C;") == "http://other/%2C;"
