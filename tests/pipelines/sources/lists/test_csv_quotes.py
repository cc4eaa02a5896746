"""A quote that is out of place costs its own row, in CSV and in TSV."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.fetch.fetcher import FetchLimits
from pipelines.runtime.sidecar import Reject
from pipelines.sources.listing import Listed
from pipelines.sources.lists.reader import ListReader
from schemas.source_config import ListSource
from schemas.store.storage import CorpusError, Storage

STORE = Storage("memory://unused")


def listed(path: Path, rows_per_shard: int = 2, **source: Any) -> list[Listed | Reject]:
    read = ListReader(ListSource(name="s", kind="list", path=str(path), **source), FetchLimits())
    return [row for unit in read.plan(rows_per_shard, STORE).units for row in read.rows(unit)]


def url(number: int) -> str:
    return f"http://a.org/{number}.jpg"


def rows_of(lines: list[str], path: Path, **source: Any) -> list[str]:
    """Write a list of these lines and return what became of each row, a word each."""
    path.write_text("\n".join(lines) + "\n")
    found = listed(path, **source)
    assert [row.id for row in found] == [f"{path.name} row {n + 1}" for n in range(len(found))]
    assert found == listed(path, rows_per_shard=100, **source)
    return [row.reason if isinstance(row, Reject) else row.text for row in found]


# What stands in the text of a row beside good ones -> what becomes of the four rows.
STRAY = {
    "never closed": (["a", '"b', "c", "d"], ["a", "malformed_row", "c", "d"]),
    "never closed, in the last row": (["a", "b", "c", '"d'], ["a", "b", "c", "malformed_row"]),
    "closed in a later row": (
        ["a", '"b', "c", 'd"'],
        ["a", "malformed_row", "c", 'd"'],
    ),
    "closed in the next row": (["a", '"b', 'c"', "d"], ["a", "malformed_row", 'c"', "d"]),
    "closed by a good cell's quote": (
        ["a", '"b', "c", '"d, e"'],
        ["a", "malformed_row", "c", "d, e"],
    ),
    "before an empty quoted cell": (["a", '"b', '""', "d"], ["a", "malformed_row", "", "d"]),
    "before an escaped quote": (
        ["a", '"b', '"c ""d"""', "d"],
        ["a", "malformed_row", 'c "d"', "d"],
    ),
    "twice": (['"a', '"b', "c", "d"], ["malformed_row", "malformed_row", "c", "d"]),
    "with a delimiter after it": (
        ["a", '"b, b', "c", 'd"'],
        ["a", "malformed_row", "c", 'd"'],
    ),
    "with a delimiter in the row that closes it": (
        ["a", '"b', "c", 'd, d"'],
        ["a", "malformed_row", "c", "malformed_row"],
    ),
    "with text after it": (['"a" b', "b", "c", "d"], ["malformed_row", "b", "c", "d"]),
    "inside words": (['5" disk', 'a "b" c', 'd"', "d"], ['5" disk', 'a "b" c', 'd"', "d"]),
}


@pytest.mark.parametrize("case", STRAY)
@pytest.mark.parametrize("text_first", [False, True])
def test_a_stray_quote_in_a_csv_costs_its_row_alone(
    case: str, text_first: bool, tmp_path: Path
) -> None:
    texts, wanted = STRAY[case]
    cells = [[text, url(n)] if text_first else [url(n), text] for n, text in enumerate(texts)]
    header = "text,url" if text_first else "url,text"
    assert rows_of([header, *map(",".join, cells)], tmp_path / "l.csv") == wanted


def test_a_quote_in_a_tsv_is_a_character(tmp_path: Path) -> None:
    texts = ["a", '"b', "c", 'd"', '"e" f', '"g"', 'h ""']
    lines = ["url\ttext", *(f"{url(n)}\t{text}" for n, text in enumerate(texts))]
    assert rows_of(lines, tmp_path / "l.tsv") == texts


def test_a_tsv_whose_header_is_quoted_has_quoted_cells(tmp_path: Path) -> None:
    lines = ['"url"\t"text"', f'"{url(1)}"\t"a ""b"""', f'"{url(2)}"\t"two\tcells"']
    assert rows_of(lines, tmp_path / "l.tsv") == ['a "b"', "two\tcells"]


def test_the_recipe_says_what_a_quote_is(tmp_path: Path) -> None:
    lines = ["url,text", f'{url(1)},"a"']
    assert rows_of(lines, tmp_path / "l.csv", quoting="none") == ['"a"']
    assert rows_of(lines, tmp_path / "l.csv", quoting="quotes") == ["a"]
    tabs = [line.replace(",", "\t") for line in lines]
    assert rows_of(tabs, tmp_path / "l.tsv", quoting="quotes") == ["a"]


def test_a_cell_of_many_lines_is_read_even_where_it_names_urls(tmp_path: Path) -> None:
    text = "see, for more,\nhttp://b.org/x.jpg\n\nor, say,\nhttp://b.org/y.jpg\n" + "word\n" * 5000
    path = tmp_path / "l.csv"
    for header in (["url", "text"], ["text", "url"]):
        file = io.StringIO(newline="")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for number in range(3):
            row = {"url": url(number), "text": text if number == 1 else f"row {number}"}
            writer.writerow([row[name] for name in header])
        path.write_text(file.getvalue())
        found = [row.text for row in listed(path) if isinstance(row, Listed)]
        assert found == ["row 0", text.strip(), "row 2"]


def test_a_cell_over_the_limit_costs_its_lines_and_no_other_row(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text(f'url,text\n{url(1)},"' + "word, word\n" * 20_000 + f'"\n{url(2)},b\n')
    found = listed(path, rows_per_shard=1000)
    assert [row.text for row in found if isinstance(row, Listed)][-1] == "b"
    assert isinstance(found[0], Reject)


# What the URLs of a list look like that have no scheme.
LOOKS = ["/p?id={}", "img/{}", "{:05}", "{}.jpg", "a{:03}-b", "http://a.org/?id={}"]


@pytest.mark.parametrize("header", ["text,url", "id,url,text", "url,title,text", "url,text"])
@pytest.mark.parametrize("look", LOOKS)
def test_a_stray_quote_takes_no_row_along_whatever_urls_look_like(
    look: str, header: str, tmp_path: Path
) -> None:
    path = tmp_path / "l.csv"
    for closed in (3, 4, 7):  # the row whose text closes the quote of row 2
        texts = {2: '"unclosed a', closed: 'closed"'}
        rows = [
            {"url": look.format(n), "text": texts.get(n, "a dog"), "id": f"x{n}", "title": "a"}
            for n in range(10)
        ]
        lines = [",".join(row[name] for name in header.split(",")) for row in rows]
        path.write_text("\n".join([header, *lines, ""]))
        found = listed(path, base_url="http://a.org")
        assert [row.text if isinstance(row, Listed) else row.reason for row in found] == [
            "malformed_row" if n == 2 else row["text"] for n, row in enumerate(rows)
        ]


@pytest.mark.parametrize("header", [["text", "url"], ["url", "text"]])
@pytest.mark.parametrize("look", LOOKS)
def test_lines_of_a_cell_that_are_no_rows_of_this_list_stay_in_it(
    look: str, header: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "l.csv"
    for text in (
        "Sizes\n10,2.50\n20,4.25\n30,6.75",
        "a,b\nc,d\n",
        "one, two,\nthree, four",
        "x\n\ny",
    ):
        for number in range(3):
            file = io.StringIO(newline="")
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            for n in range(3):
                row = {"url": look.format(n), "text": text if n == number else "ok"}
                writer.writerow([row[name] for name in header])
            path.write_text(file.getvalue())
            found = listed(path, base_url="http://a.org")
            wanted = [text.strip() if n == number else "ok" for n in range(3)]
            if look == "{:05}" and header == ["url", "text"] and text[0] == "S":
                continue  # 10 is a URL of such a list
            assert [getattr(row, "text", row) for row in found] == wanted


def test_a_cell_over_the_limit_is_one_malformed_row_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    for cell in ("word " * 32_000, "word, word\n" * 13_000):
        path.write_text(f'url,text\n{url(1)},"{cell}"\n{url(2)},b\n')
        bad, good = listed(path)
        assert isinstance(bad, Reject)
        assert bad.detail.startswith("a cell of more than 131,072 characters: ")
        assert isinstance(good, Listed)


@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(st.text(st.sampled_from('ab ",'), max_size=7), max_size=12),
    rows_per_shard=st.integers(1, 5),
    line_end=st.sampled_from(["\n", "\r\n"]),
    text_first=st.booleans(),
)
def test_each_line_of_garbage_that_has_a_url_is_one_row(
    texts: list[str],
    rows_per_shard: int,
    line_end: str,
    text_first: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.csv"
    lines = [
        f"{text},{url(n)}" if text_first else f"{url(n)},{text}" for n, text in enumerate(texts)
    ]
    header = "text,url" if text_first else "url,text"
    path.write_text(line_end.join([header, *lines, ""]), newline="")
    found = listed(path, rows_per_shard)
    assert len(found) == len(lines)
    for number, row in enumerate(found):
        assert url(number) in (row.detail if isinstance(row, Reject) else row.url)


HEADERS = {
    "url,text": ["a"],
    "\ufeffurl,text": ["a"],
    ' url , text ,"other"': ["a"],
    '"url","text"': ["a"],
    "\n\nurl,text": ["a"],
}


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_is_read_without_its_blanks(header: str, tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text(f"{header}\n{url(1)},a\n")
    assert [getattr(row, "text", row) for row in listed(path)] == HEADERS[header]


def test_a_column_that_is_named_twice_is_refused_if_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text(f"url,text,text\n{url(1)},a,b\n")
    with pytest.raises(CorpusError, match=r"l\.csv: more than one column is named text"):
        listed(path)
    path.write_text(f"url,text,x,x\n{url(1)},a,b,c\n")
    assert [getattr(row, "text", row) for row in listed(path)] == ["a"]


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_list_without_a_header_is_read_by_numbers(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"l.{suffix}"
    mark = {"csv": ",", "tsv": "\t"}[suffix]
    lines = [["a dog", url(1)], ["a cat"], ["a cow", url(2), "more"], ["a hen", url(3)]]
    path.write_text("".join(mark.join(cells) + "\n" for cells in lines))
    found = listed(path, columns={"url": 1, "text": 0})
    assert [row.reason if isinstance(row, Reject) else row.text for row in found] == [
        "a dog",
        "malformed_row",
        "malformed_row",
        "a hen",
    ]
    with pytest.raises(CorpusError, match="no column 2 among 0, 1"):
        listed(path, columns={"url": 2, "text": 0})
    with pytest.raises(CorpusError, match="gives no number of the column of the text"):
        listed(path, columns={"url": 1})


def test_a_list_without_a_header_says_so_where_names_are_given(tmp_path: Path) -> None:
    path = tmp_path / "l.tsv"
    path.write_text(f"a dog\t{url(1)}\n")
    with pytest.raises(CorpusError, match="if the file has no header, give numbers"):
        listed(path)
