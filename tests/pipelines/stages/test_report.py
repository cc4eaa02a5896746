"""The report of a small corpus that was really built, with hostile texts in it."""

import hashlib
import json
import re
import shutil
from base64 import b64decode, b64encode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from pipelines.build import build
from pipelines.engines.engine import Engine, shard_numbers
from pipelines.report.build_log import REPORT
from pipelines.report.page.examples import SIDE, THUMBNAIL_BYTES, Example, make_thumbnail
from pipelines.stages.report import Report
from schemas.recipe import DecodeConfig, DedupConfig, Recipe, Rule, VarTokenizer, VqTokensConfig
from schemas.source_config import FolderSource
from schemas.store.storage import CorpusError, Storage

CLIPS = Path(__file__).parents[2] / "corpus" / "openclipart"
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}"
ENGINE = Engine(processes=1)


class Page(HTMLParser):
    """What a browser would make of the page: tags, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.style = ""
        self._in_style = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False
        self.text += " "

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.style += data
        else:
            self.text += data

    def values(self, attribute: str) -> list[str]:
        return [
            attributes[attribute] or "" for _, attributes in self.tags if attribute in attributes
        ]


def write_source(folder: Path) -> None:
    """Five clips of Debian's, one twice, one broken, one too small; each text is an attack."""
    folder.mkdir()
    clips = sorted(CLIPS.rglob("*.png"))[:5]
    for number, clip in enumerate(clips):
        shutil.copy(clip, folder / f"clip{number}.png")
    shutil.copy(clips[0], folder / "again.png")
    (folder / "broken.png").write_bytes(clips[1].read_bytes()[:900])
    Image.new("RGB", (300, 300), "red").resize((40, 40)).save(folder / "small.png")
    rows = [
        {
            "path": file.name,
            "text": f"{HOSTILE} a picture that is called {file.stem}",
            "licence": f"licence {HOSTILE}",
            "author": HOSTILE,
        }
        for file in sorted(folder.iterdir())
    ]
    listing = folder / "list.jsonl"
    listing.write_text("".join(json.dumps(row) + "\n" for row in rows))


def recipe_for(folder: Path) -> Recipe:
    source = FolderSource(
        kind="folder",
        name="clips",
        path=str(folder),
        list=str(folder / "list.jsonl"),
        quota=4,
        select={"pixels": Rule(min=2000)},
    )
    return Recipe(
        name="small",
        description=f"eight files, {HOSTILE}",
        sources=(source,),
        rows_per_shard=4,
        dedup=DedupConfig(phash_distance=None, max_text_repeats=1),
        select={"short_side": Rule(min=100), "text_words": Rule(max=80)},
        vq_tokens=VqTokensConfig(tokenizers=(VarTokenizer(tokenizer="var_vqvae", preset="small"),)),
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    folder = tmp_path_factory.mktemp("report")
    write_source(folder / "source")
    recipe = recipe_for(folder / "source")
    build(recipe, str(folder / "out"), ENGINE)
    return recipe, folder / "out"


@pytest.fixture(scope="module")
def html(corpus: tuple[Recipe, Path]) -> str:
    return (corpus[1] / REPORT).read_text()


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def write_again(recipe: Recipe, out: Path) -> str:
    store = Storage(str(out))
    shards = len(list((out / "sources").glob("*.parquet")))
    with ENGINE.started(store):
        ENGINE.run(
            lambda root: Report(recipe=recipe).expand(shard_numbers(root, range(shards)), store),
            name="report",
        )
    return (out / REPORT).read_text()


def test_texts_of_the_corpus_stay_texts(page: Page) -> None:
    assert HOSTILE in page.text
    assert f"licence {HOSTILE}" in page.text
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name[:2] == "on"]
    assert all(source.startswith("data:image/webp;base64,") for source in page.values("src"))
    assert any(HOSTILE in alt for alt in page.values("alt"))


def test_the_page_asks_for_nothing_from_outside(page: Page) -> None:
    assert {tag for tag, _ in page.tags}.isdisjoint({"link", "iframe", "object", "embed", "base"})
    assert all(target.startswith("#") for target in page.values("href"))
    assert set(page.values("href")) <= {f"#{name}" for name in page.values("id")}
    assert "url(" not in page.style
    assert "@import" not in page.style


def test_the_policy_allows_the_style_that_was_shipped_and_nothing_else(page: Page) -> None:
    [policy] = [p for p in page.values("content") if "default-src" in p]
    digest = b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert re.findall(r"style-src ([^;]*)", policy) == [f"'sha256-{digest}'"]
    assert "unsafe" not in policy
    assert not page.values("style")


def test_the_funnel_says_what_the_manifest_says(corpus: tuple[Recipe, Path], page: Page) -> None:
    manifest = json.loads((corpus[1] / "manifest.json").read_text())
    flat = " ".join(page.text.split())
    for line in manifest["funnel"]:
        assert f"{line['stage']} {line['kept']} of {line['rows_in']} kept" in flat
        for reason, rows in {**line["dropped"], **line["failed"]}.items():
            assert f", {rows} {reason}" in flat
    assert manifest["recipe"] in flat


def test_a_page_about_random_weights_says_so_at_the_top(html: str) -> None:
    assert html.index("random weights, seed 0") < html.index('id="funnel"')


def test_every_dropped_row_is_shown_with_the_value_that_dropped_it(page: Page) -> None:
    flat = " ".join(page.text.split())
    assert "short_side_min 1 row; the recipe asks for short_side of at least 100" in flat
    assert "short_side = 40" in flat
    assert "1 (14.3 %) below min 100" in flat
    assert "quota 1 row; beyond the source's quota" in flat


def test_a_rule_of_one_source_and_the_most_rows_of_a_text_are_drawn(page: Page) -> None:
    flat = " ".join(page.text.split())
    assert "1 (14.3 %) below min 2,000" in flat
    assert re.search(r"text_repeats .* 0 \([^)]*\) above max 1 ", flat)


def test_a_duplicate_stands_beside_the_row_that_was_kept(html: str) -> None:
    duplicates = Page(html[html.index('id="duplicates"') : html.index('id="pairs"')])
    flat = " ".join(duplicates.text.split())
    assert "same_bytes 1 row" in flat
    assert re.search(
        r"Dropped .*called (again|clip0).* Representative .*called (again|clip0)", flat
    )
    first, second = duplicates.values("src")
    assert first == second


def test_a_dead_letter_names_its_file_and_what_was_wrong(html: str) -> None:
    failed = Page(html[html.index('id="failed"') : html.index('id="tokens"')]).text
    assert "truncated_image" in failed
    assert "broken.png" in failed


def test_thumbnails_are_small_and_can_be_decoded(page: Page) -> None:
    sources = page.values("src")
    assert len(sources) >= 7
    for source in sources:
        with Image.open(BytesIO(b64decode(source.split(",")[1]))) as image:
            assert max(image.size) <= SIDE


def test_the_page_is_written_the_same_again(corpus: tuple[Recipe, Path], html: str) -> None:
    untimed = re.compile(r'<td class="number">[0-9.]+ s</td>')
    assert untimed.sub("", write_again(*corpus)) == untimed.sub("", html)


def test_a_picture_that_is_gone_leaves_its_place_and_the_reason(
    corpus: tuple[Recipe, Path], tmp_path: Path
) -> None:
    recipe, out = corpus
    copy = shutil.copytree(out, tmp_path / "out")
    source = Path(recipe.sources[0].path)
    moved = shutil.move(source / "small.png", tmp_path / "small.png")
    try:
        page = Page(write_again(recipe, copy))
    finally:
        shutil.move(moved, source / "small.png")
    assert "no picture: " in page.text
    assert "short_side = 40" in page.text


def test_a_report_without_a_manifest_is_refused(
    corpus: tuple[Recipe, Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(corpus[1], tmp_path / "out")
    (copy / "manifest.json").unlink()
    with pytest.raises(CorpusError, match=r"manifest\.json: missing"):
        write_again(corpus[0], copy)


def test_even_noise_makes_a_thumbnail_of_at_most_ten_kilobytes(tmp_path: Path) -> None:
    noise = hashlib.shake_256(b"noise").digest(SIDE * SIDE * 3)
    Image.frombytes("RGB", (SIDE, SIDE), noise).save(tmp_path / "noise.png")
    body = (tmp_path / "noise.png").read_bytes()
    example = Example(
        key="0" * 32,
        shard=0,
        source="noise",
        url="noise.png",
        licence="",
        text="",
        stands=True,
        raw={
            "key": "0" * 32,
            "file": str(tmp_path / "noise.png"),
            "offset": 0,
            "length": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
        },
        values={},
        messages=(),
        template="",
        caption_origin="",
        caption_style="",
    )
    thumbnail = make_thumbnail(example, Storage(str(tmp_path)), DecodeConfig())
    assert (thumbnail.width, thumbnail.height) == (SIDE, SIDE)
    assert len(b64decode(thumbnail.uri.split(",")[1])) <= THUMBNAIL_BYTES
