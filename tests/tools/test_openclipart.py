import hashlib
import json
from pathlib import Path

import clips
import openclipart
import pytest
from PIL import Image

SVG = """<svg xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
  xmlns:cc="http://web.resource.org/cc/" xmlns:dc="http://purl.org/dc/elements/1.1/">
  <cc:Work><dc:title> A  cat </dc:title><dc:description>{text}</dc:description>
  <dc:subject><rdf:Bag><rdf:li>cat</rdf:li><rdf:li/><rdf:li>pet</rdf:li></rdf:Bag></dc:subject>
  <dc:creator><cc:Agent><dc:title>Ann</dc:title></cc:Agent></dc:creator>
  <cc:license rdf:resource="{licence}"/></cc:Work></svg>"""
FREE = "http://web.resource.org/cc/PublicDomain"


def add_clip(folder: Path, path: str, *, side: int = 256, svg: str) -> None:
    share = clips.share_folder(folder)
    for kind in ("png", "svg"):
        (share / kind / path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), "red").save(share / "png" / f"{path}.png")
    (share / "svg" / f"{path}.svg").write_text(svg)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tiny unpacked package: ten clips to draw from, and one of each kind not to draw."""
    for number in range(10):
        text = "a cat that sleeps" if number % 2 else ""
        add_clip(tmp_path, f"pets/cat{number}", svg=SVG.format(text=text, licence=FREE))
    add_clip(tmp_path, "small", side=255, svg=SVG.format(text="", licence=FREE))
    add_clip(tmp_path, "gpl", svg=SVG.format(text="", licence="urn:gpl"))
    add_clip(tmp_path, "broken", svg="<svg>")
    add_clip(tmp_path, "entity", svg='<!DOCTYPE svg [<!ENTITY a "b">]><svg>&a;</svg>')
    png = clips.share_folder(tmp_path) / "png"
    (png / "link.png").symlink_to(png / "pets/cat1.png")
    return tmp_path


def test_a_draw_takes_only_clips_that_are_fit_and_knows_no_links(tree: Path):
    chosen = [clip.path for clip in openclipart.choose(clips.read_clips(tree))]
    assert chosen == [f"pets/cat{number}.png" for number in range(10)]


def test_a_draw_is_the_first_by_hash_of_each_half_whatever_the_order_read(
    tree: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(openclipart, "CLIPS_PER_HALF", 2)
    read = list(clips.read_clips(tree))
    chosen = openclipart.choose(read)
    assert chosen == openclipart.choose(reversed(read))
    cats = [f"pets/cat{number}.png" for number in range(10)]
    silent, described = (sorted(half, key=blake2b)[:2] for half in (cats[::2], cats[1::2]))
    assert [clip.path for clip in chosen] == sorted([*silent, *described])


def blake2b(path: str) -> str:
    return hashlib.blake2b(path.encode(), digest_size=16).hexdigest()


def test_a_draw_stops_at_its_budget_of_bytes(tree: Path, monkeypatch: pytest.MonkeyPatch):
    read = list(clips.read_clips(tree))
    monkeypatch.setattr(openclipart, "BYTES_PER_HALF", 3 * read[0].size_bytes)
    assert len(openclipart.choose(read)) == 6


def test_the_list_has_a_row_for_every_real_file_even_if_nothing_is_known_of_it(tree: Path):
    openclipart.write_list(tree)
    rows = [json.loads(line) for line in (tree / "openclipart.jsonl").read_text().splitlines()]
    assert len(rows) == 14
    assert all((tree / row["path"]).is_file() for row in rows)
    by_name = {Path(row["path"]).stem: row for row in rows}
    assert by_name["cat1"] == {
        "path": "root/usr/share/openclipart/png/pets/cat1.png",
        "title": "A cat",
        "text": "a cat that sleeps",
        "tags": ["cat", "pet"],
        "licence": FREE,
        "author": "Ann",
    }
    nothing = {"title": "", "text": "", "tags": [], "licence": "", "author": ""}
    for name in ("broken", "entity"):
        assert by_name[name] == {"path": by_name[name]["path"], **nothing}


def test_an_svg_that_declares_an_entity_is_refused(tree: Path):
    about = clips.read_metadata(clips.share_folder(tree) / "svg/entity.svg")
    assert about.problem == "UnsafeSvgError: the SVG declares the entity 'a'"


def test_a_missing_apt_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"apt-get and dpkg-deb are needed"):
        openclipart.fetch(tmp_path / "openclipart")
