"""Opt-outs in headers: each grammar in both directions, and on every hop of a real server."""

from collections.abc import Iterator
from typing import get_args

import pytest
from fetching import fails, fetch, succeeds
from hypothesis import given
from hypothesis import strategies as st
from misbehaving_server import Server, misbehaving_server

from pipelines.fetch.consent import (
    OptOut,
    as_lines,
    binding_opt_out,
    disallows_training,
    forbidding_directive,
    is_reserved,
    opt_out_headers,
    signals_no_training,
)
from pipelines.fetch.types import FetchFailure
from schemas.recipe import OptOutHeader

ALL = get_args(OptOutHeader)
RESPECTED = ("noai", "noimageai", "noindex", "noimageindex")
US = "vargpt-corpus/0.1"


@pytest.fixture
def server() -> Iterator[Server]:
    with misbehaving_server() as running:
        yield running


def found_in(*headers: tuple[str, str], respected: tuple[str, ...] = ALL) -> OptOut | None:
    return binding_opt_out(list(headers), respected=respected, directives=RESPECTED, user_agent=US)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([""], None),
        (["all"], None),
        (["index, follow"], None),
        (["noarchive, nosnippet, notranslate"], None),
        (["nofollow"], None),
        # Each directive, in any case, alone or not.
        (["noai"], "noai"),
        (["NoAI"], "noai"),
        (["noimageai"], "noimageai"),
        (["noimageindex"], "noimageindex"),
        (["NOINDEX , nofollow"], "noindex"),
        (["nofollow", "noimageai"], "noimageai"),
        (["none"], "noindex"),
        (["noindex, noai"], "noai"),
        # Badly written.
        (["noindex; noai"], "noai"),
        (["nofollow noai"], "noai"),
        (["no-ai"], "noai"),
        (["no_ai"], "noai"),
        (["no ai"], "noai"),
        (["no image-ai"], "noimageai"),
        (["no-image-index"], "noimageindex"),
        (['"noai"'], "noai"),
        (["noai:"], "noai"),
        (["noai: true"], "noai"),
        ([": noai"], "noai"),
        ([",,noai,,"], "noai"),
        # Words that only contain a directive.
        (["noindex-ish"], None),
        (["noaid, xnoai, noai2"], None),
        (["no, ai"], None),
        (["nonesuch"], None),
        # Names of agents.
        (["vargpt-corpus: noai"], "noai"),
        (["VarGPT-Corpus: nofollow, noai"], "noai"),
        (["vargpt_corpus : noai"], "noai"),
        (["vargpt-corpus/2: noai"], "noai"),
        (["vargpt: noai"], None),
        (["*: noai"], "noai"),
        (["robots: noai"], "noai"),
        (["X-Robots-Tag: noai"], "noai"),
        (["otherbot: noai"], None),
        (["otherbot:noai"], None),
        (["otherbot/2.1: noai, noindex"], None),
        (["other_bot: none"], None),
        (["360spider: noai"], None),
        (["otherbot: noai, vargpt-corpus: noindex"], "noindex"),
        (["otherbot: noai vargpt-corpus: noindex"], "noindex"),
        (["noai, otherbot: nofollow"], "noai"),
        (["otherbot: nofollow", "noai"], "noai"),
        (["otherbot: max-image-preview: large, noai"], None),
        # Values of directives.
        (["max-image-preview: none"], None),
        (["max-image-preview:none"], None),
        (["max-image-preview none"], None),
        (["max_image_preview=none"], None),
        (["max-snippet:-1, max-video-preview: -1"], None),
        (["max-snippet: 5, noai"], "noai"),
        (["max-snippet:5 noai"], "noai"),
        (["max-image-preview: huge, noai"], "noai"),
        (["max-image-preview: none, none"], "noindex"),
        (["max-image-preview:, noai"], "noai"),
        (["vargpt-corpus: max-image-preview:none, noai"], "noai"),
        # Dates.
        (["unavailable_after: 25 Jun 2010 15:00:00 PST"], None),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST, noai"], "noai"),
        (["unavailable_after: Friday, 25 Jun 2010 15:00:00 PST, noai"], "noai"),
        (["unavailable_after: Friday, 25-Nov-10 15:00:00 UTC-5:00, noai"], "noai"),
        (["unavailable_after: Fri, 2010-06-25T15:00:00+00:00, noai"], "noai"),
        (["unavailable-after: 2010-06-25 15:00:00 noai"], "noai"),
        (["otherbot: unavailable_after: 25 Jun 2010 15:00:00 PST, noai"], None),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST, otherbot: noai"], None),
        (["noai; see https://a.example/b: c"], "noai"),
        (["see https://a.example/b, noai"], "noai"),
        (["\udcff\u0130, noai"], "noai"),
    ],
)
def test_robots_tags_are_read_as_written(values: list[str], expected: str | None) -> None:
    assert forbidding_directive(values, RESPECTED, US) == expected


def test_our_name_is_found_inside_a_longer_user_agent() -> None:
    user_agent = "Mozilla/5.0 (compatible; our-bot/1; +https://bot.example)"
    assert forbidding_directive(["our-bot: noai"], ["noai"], user_agent) == "noai"


@pytest.mark.parametrize(
    ("values", "respected", "expected"),
    [
        (["noindex, none"], ("noai",), None),
        (["noarchive"], ("noarchive",), "noarchive"),
        (["noai"], ("No-AI",), "No-AI"),
        (["noai, noindex"], ("noindex", "noai"), "noindex"),
        (["noai"], (), None),
    ],
)
def test_the_recipe_says_which_directives_bind(
    values: list[str], respected: tuple[str, ...], expected: str | None
) -> None:
    assert forbidding_directive(values, respected, "us") == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1"], True),
        ([" 1 "], True),
        (['"1"'], True),
        (["0", "1"], True),
        (["0, 1"], True),
        (["1; policy"], True),
        ([], False),
        (["0"], False),
        (["10"], False),
        (["-1"], False),
        (["true"], False),
        (["0;1.5"], False),
    ],
)
def test_a_reservation_is_one(values: list[str], expected: bool) -> None:
    assert is_reserved(values) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["train-ai=n"], True),
        (["search=y, train-ai=n"], True),
        (["train-ai=n;q=1"], True),
        (["train-ai=y, train-ai=n"], True),
        (["search=n", "train-ai=n"], True),
        ([], False),
        ([""], False),
        (["train-ai=y"], False),
        (["train-ai"], False),
        (["train-ai=?0"], False),
        (['train-ai="n"'], False),
        (["train-ai=no"], False),
        (["train-ai=N"], False),
        (["Train-AI=n"], False),
        (["train-ai=n, train-ai=y"], False),
        (["train-ai=n", "train-ai=y"], False),
        (["train-ai=n,"], False),
        (["train-ai = n"], False),
        (["search=n, ai-use=n"], False),
        (["train-ai=y;train-ai=n"], False),
    ],
)
def test_content_usage_is_a_strict_dictionary(values: list[str], expected: bool) -> None:
    assert disallows_training(values) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["ai-train=no"], True),
        (["search=yes, ai-input=no, ai-train=no"], True),
        (["Search=Yes,AI-Train=No"], True),
        (["search=yes; ai-train = no"], True),
        (['ai_train="no"'], True),
        (["ai-train: no"], True),
        (["search=yes", "ai-train=no"], True),
        (["ai-train=yes, ai-train=no"], True),
        ([], False),
        (["ai-train=yes"], False),
        (["search=no, ai-input=no"], False),
        (["ai-train=no-limits"], False),
        (["x-ai-train=no"], False),
        (["ai-training=no"], False),
        (["ai-train"], False),
        (["ai-train=, search=no"], False),
    ],
)
def test_content_signal_has_no_training(values: list[str], expected: bool) -> None:
    assert signals_no_training(values) == expected


def test_an_opt_out_has_its_reason_and_its_header_as_sent() -> None:
    sent = ("TDM-reservation", "1"), ("content-type", "x"), ("tdm-Policy", "https://a.example")
    found = found_in(*sent)
    assert found is not None
    assert (found.reason, str(found)) == (
        "tdm_reservation",
        "TDM-reservation '1', TDM-Policy 'https://a.example'",
    )


@pytest.mark.parametrize("respected", [ALL, ALL[::-1]])
def test_the_first_header_that_binds_is_named(respected: tuple[str, ...]) -> None:
    values = {
        "x-robots-tag": "noimageindex",
        "tdm-reservation": "1",
        "content-usage": "train-ai=n",
        "content-signal": "ai-train=no",
    }
    found = found_in(*values.items(), respected=respected)
    assert found is not None
    assert found.header == respected[0]
    assert found.value == values[respected[0]]


def test_a_header_that_does_not_bind_is_kept_and_not_respected() -> None:
    sent = [("Content-Signal", "ai-train=no"), ("Server", "s"), ("TDM-Policy", "p")]
    assert found_in(*sent, respected=("x-robots-tag", "tdm-reservation")) is None
    lines = "http://a/ Content-Signal: ai-train=no\nhttp://a/ TDM-Policy: p"
    assert as_lines("http://a/", opt_out_headers(sent)) == lines


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*ALL, "TDM-Policy", "Server"]),
            st.text(max_size=40)
            | st.text(alphabet="noaimgedx1=-_:;,/ \t*\"'\udcff", max_size=40)
            | st.lists(
                st.sampled_from(
                    ["noai", "none", "max-snippet", "unavailable_after", "bot", *':=;, "-_1']
                )
            ).map("".join),
        ),
        max_size=4,
    ),
    st.text(max_size=20),
)
def test_no_header_raises(sent: list[tuple[str, str]], user_agent: str) -> None:
    found = binding_opt_out(sent, respected=ALL, directives=RESPECTED, user_agent=user_agent)
    if found is not None:
        same = [value for name, value in sent if name.lower() == found.header.lower()]
        assert found.value == ", ".join(same)
    assert len(as_lines("http://a/", opt_out_headers(sent))) <= 8192


@given(st.lists(st.sampled_from(["nofollow", "noarchive", "max-image-preview: none", "all"])))
def test_what_is_no_opt_out_never_binds_and_never_hides_one(words: list[str]) -> None:
    assert forbidding_directive([", ".join(words)], RESPECTED, US) is None
    assert forbidding_directive([", ".join([*words, "noai"])], RESPECTED, US) == "noai"


@pytest.mark.parametrize(
    ("door", "reason", "evidence"),
    [
        ("noai", "robots_noai", "sent with X-Robots-Tag 'noindex-ish, all, NoAI'"),
        ("reserved", "tdm_reservation", "tdm-reservation '1', TDM-Policy 'https://a.example/p'"),
        ("no-training", "content_usage", "Content-Usage 'search=y, train-ai=n'"),
        ("signalled", "content_signal", "Content-Signal 'search=yes, ai-train=no'"),
    ],
)
def test_an_opt_out_is_a_decision_and_not_an_error(
    server: Server, door: str, reason: str, evidence: str
) -> None:
    failure = fails(f"{server.url}/{door}")
    assert (failure.error, failure.dropped, failure.status) == (reason, True, 200)
    assert failure.detail.startswith(f"{server.url}/{door}: ")
    assert failure.detail.endswith(evidence)


def test_a_redirect_with_an_opt_out_is_not_followed(server: Server) -> None:
    failure = fails(f"{server.url}/noai-hop")
    assert (failure.error, failure.dropped, failure.status) == ("robots_noai", True, 302)
    assert server.tries("/image/end") == 0
    assert succeeds(f"{server.url}/noai-hop", robots_directives=()).body


def test_an_opt_out_behind_a_redirect_is_told_with_its_hop(server: Server) -> None:
    failure = fails(f"{server.url}/to-reserved")
    assert failure.error == "tdm_reservation"
    assert f"redirected to {server.url}/reserved/end: sent with " in failure.detail


def test_headers_of_all_hops_are_kept_beside_the_image(server: Server) -> None:
    assert succeeds(f"{server.url}/to-other-bot").opt_outs.splitlines() == [
        f"{server.url}/to-other-bot TDM-Reservation: 0",
        f"{server.url}/other-bot/end X-Robots-Tag: otherbot: noai, noindex",
    ]
    assert succeeds(f"{server.url}/granted").opt_outs.splitlines() == [
        f"{server.url}/granted TDM-Reservation: 0",
        f"{server.url}/granted Content-Usage: train-ai=y",
    ]


def test_headers_of_a_failed_answer_are_not_those_of_an_image(server: Server) -> None:
    failure = fails(f"{server.url}/not-found-noai")
    assert (failure.error, failure.dropped) == ("http_404", False)


@pytest.mark.parametrize("door", ["reserved", "no-training", "signalled"])
def test_a_header_that_the_recipe_leaves_out_does_not_bind(server: Server, door: str) -> None:
    failure = fetch(f"{server.url}/{door}", opt_out_headers=("x-robots-tag",))
    assert isinstance(failure, FetchFailure)
    assert failure.error == "not_an_image"  # the body was read
