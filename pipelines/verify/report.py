"""The check of the report: write it again from side-cars, manifest and recipe, and compare.

Durations of stages are not compared: only the log has them. The bytes of thumbnails, which are
base64, are compared only by `--deep`.
"""

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from pipelines.dedup.lists import read_lists
from pipelines.engines.local_pool import run_each
from pipelines.report.build_log import REPORT
from pipelines.report.page.examples import Example, Found, Thumbnail, find_examples, make_thumbnail
from pipelines.report.page.examples import wanted as rows_wanted
from pipelines.report.page.render import render_page
from pipelines.report.summary import Summary
from pipelines.runtime.crash_isolation import call_isolated
from pipelines.verify.faults import Fault
from pipelines.verify.look import Look

_TIME = re.compile(
    r'<td class="number">(unknown|[\d.]+ s|\d+ min \d\d s|[\d,]+ h \d\d min)'
    r"(, \d+ % waiting for prepared images)?</td></tr>"
)
_PICTURE = re.compile(
    r'<img src="data:image/webp;base64,[A-Za-z0-9+/]*=*" width="\d+" height="\d+"'
)


def report_sound(look: Look, manifest: Any, summary: Summary) -> Iterator[Fault]:
    """Compare the report with a new one; yield the first line that differs."""
    rows = rows_wanted(summary)
    requests = [rows.of(shard) for shard in range(len(look.sources))]
    find = partial(find_examples, store=look.store, blur=look.recipe.blur)
    found = [example for examples in run_each(find, requests) for example in examples]
    pixels = look.deep and look.same_pillow
    draw = partial(make_thumbnail, store=look.store, settings=look.recipe.decode)
    contents = (summary, Found(found), manifest, {}, look.recipe)
    lists = read_lists(look.recipe, look.store)
    if pixels:
        page = call_isolated("report", render_page, *contents, draw, lists)
    else:
        page = render_page(*contents, _empty_thumbnail, lists)
    expected = _comparable(page, pixels).split("\n")  # every byte counts
    written = _comparable(look.store.read(REPORT).decode(), pixels).split("\n")
    if written == expected:
        return
    number = next(
        (n for n, (a, b) in enumerate(zip(written, expected, strict=False)) if a != b),
        min(len(written), len(expected)),
    )
    line = written[number].strip()[:120] if number < len(written) else "its end"
    yield Fault(
        REPORT,
        f"is not the page of this corpus, from line {number + 1:,} on ({line!r}); "
        "remove it and build again",
    )


def _empty_thumbnail(example: Example) -> Thumbnail:
    if example.raw is None:
        return Thumbnail(uri="", missing="never fetched")
    return Thumbnail(uri="data:image/webp;base64,")


def _comparable(page: str, pixels: bool) -> str:
    page = _TIME.sub("<td></td></tr>", page)
    return page if pixels else _PICTURE.sub("<img", page)
