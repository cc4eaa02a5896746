import json
from pathlib import Path

import openmoji
import pytest
from PIL import Image

SVG = '<svg viewBox="0 0 10 10" xmlns="http://www.w3.org/2000/svg">{}</svg>'
RED = '<rect width="10" height="5" fill="#f00"/>'
LABEL = {"tags": "", "openmoji_tags": "", "openmoji_author": "Ann", "skintone_base_hexcode": ""}
LABELS = [
    {**LABEL, "hexcode": "1F44B", "annotation": "waving hand", "tags": "hand, hello"},
    {
        **LABEL,
        "hexcode": "1F44B-1F3FB",
        "annotation": "waving hand: light skin tone",
        "skintone_base_hexcode": "1F44B",
    },
    {
        **LABEL,
        "hexcode": "E000",
        "annotation": "fox",
        "tags": "animal",
        "openmoji_tags": "red, animal",
    },
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The package as unpacked, with three images."""
    openmoji.svg_folder(tmp_path).mkdir(parents=True)
    for label in LABELS:
        (openmoji.svg_folder(tmp_path) / f"{label['hexcode']}.svg").write_text(SVG.format(RED))
    openmoji.labels_file(tmp_path).parent.mkdir(parents=True)
    openmoji.labels_file(tmp_path).write_text(json.dumps(LABELS))
    return tmp_path


def test_images_are_drawn_once_with_transparency(tree: Path) -> None:
    openmoji.main(["draw", str(tree)])
    files = sorted((tree / "png").iterdir())
    assert [file.name for file in files] == ["1f44b-1f3fb.png", "1f44b.png", "e000.png"]
    with Image.open(files[0]) as image:
        assert (image.size, image.mode) == ((256, 256), "RGBA")
        assert image.getpixel((9, 9)) == (255, 0, 0, 255)
        assert image.getpixel((9, 200)) == (0, 0, 0, 0)
    files[0].write_bytes(b"kept")
    openmoji.main(["draw", str(tree)])
    assert files[0].read_bytes() == b"kept"


def test_the_list_has_titles_and_tags_and_a_skin_tone_those_of_its_emoji(tree: Path) -> None:
    openmoji.main(["draw", str(tree)])
    openmoji.main(["list", str(tree)])
    lines = (tree / "openmoji.jsonl").read_text().splitlines()
    toned, hand, fox = map(json.loads, lines)
    assert hand == {
        "path": "png/1f44b.png",
        "title": "waving hand",
        "text": "",
        "tags": ["hand", "hello"],
        "licence": "https://creativecommons.org/licenses/by-sa/4.0/",
        "author": "Ann",
    }
    assert (toned["title"], toned["tags"]) == ("waving hand: light skin tone", hand["tags"])
    assert fox["tags"] == ["animal", "red"]
    assert all((tree / row["path"]).is_file() for row in (toned, hand, fox))


@pytest.mark.parametrize(("command", "missing"), [("draw", r"\*\.svg"), ("list", "openmoji.json")])
def test_what_was_not_fetched_is_said(command: str, missing: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=rf"no .*{missing}.*: run `fetch` first"):
        openmoji.main([command, str(tmp_path)])


def test_what_was_not_drawn_is_said(tree: Path) -> None:
    with pytest.raises(SystemExit, match=r"no .*png: run `draw` first"):
        openmoji.main(["list", str(tree)])


def test_an_unpacked_package_is_not_fetched_again(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    openmoji.main(["fetch", str(tree)])
    with pytest.raises(SystemExit, match="npm is needed and was not found"):
        openmoji.main(["fetch", str(tree / "other")])
