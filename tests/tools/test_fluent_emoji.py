import io
import json
import sys
import tarfile
from pathlib import Path

import fluent_emoji
import pytest

from pipelines.sources.listing import Listed
from pipelines.sources.lists.files import plan_lists, read_list
from schemas.source_config import FolderSource
from schemas.store.storage import Storage

EMOJI = [
    {
        "label": "waving hand",
        "group": 1,
        "hexcode": "1F44B",
        "tags": ["hand", "hello"],
        "skins": [{"label": "waving hand: dark skin tone", "hexcode": "1F44B-1F3FF"}],
    },
    {
        "label": "heart on fire",
        "group": 0,
        "hexcode": "2764-FE0F-200D-1F525",
        "tags": ["burn", "heart"],
    },
    {"label": "regional indicator A", "hexcode": "1F1E6"},
]
IMAGES = ("1f1e6", "1f44b-1f3ff", "1f44b", "2764-200d-1f525", "2764-fe0f-200d-1f525", "a9-fe0f")
LABELS = "package/en/data.json"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Both packages as unpacked: six images, one of which nothing is known of."""
    folder = tmp_path / "emoji"
    fluent_emoji.images_folder(folder).mkdir(parents=True)
    for name in IMAGES:
        (fluent_emoji.images_folder(folder) / f"{name}.webp").touch()
    fluent_emoji.labels_file(folder).parent.mkdir(parents=True)
    fluent_emoji.labels_file(folder).write_text(json.dumps(EMOJI))
    return folder


def rows_by_name(tree: Path) -> dict[str, dict[str, object]]:
    fluent_emoji.write_list(tree)
    lines = (tree / "fluent-emoji.jsonl").read_text().splitlines()
    return {Path(row["path"]).stem: row for row in map(json.loads, lines)}


def test_the_list_has_a_row_for_every_image_in_order_even_if_nothing_is_known_of_it(tree: Path):
    rows = rows_by_name(tree)
    assert list(rows) == list(IMAGES)
    assert all((tree / str(row["path"])).is_file() for row in rows.values())
    assert rows["1f44b"] == {
        "path": "root/images/package/assets/1f44b.webp",
        "title": "waving hand",
        "text": "",
        "tags": ["hand", "hello"],
        "licence": "MIT",
        "author": "Microsoft",
    }
    assert (rows["a9-fe0f"]["title"], rows["a9-fe0f"]["tags"]) == ("", [])


def test_an_image_and_a_label_join_whether_or_not_either_names_the_variation_selector(tree: Path):
    rows = rows_by_name(tree)
    for name in ("2764-200d-1f525", "2764-fe0f-200d-1f525"):
        assert rows[name]["title"] == "heart on fire"
        assert rows[name]["tags"] == ["burn", "heart"]


def test_a_skin_tone_has_its_own_title_and_the_tags_of_its_emoji(tree: Path):
    toned = rows_by_name(tree)["1f44b-1f3ff"]
    assert toned["title"] == "waving hand: dark skin tone"
    assert toned["tags"] == ["hand", "hello"]


def test_an_emoji_without_tags_keeps_its_title(tree: Path):
    plain = rows_by_name(tree)["1f1e6"]
    assert (plain["title"], plain["tags"]) == ("regional indicator A", [])


def test_a_folder_source_reads_the_list_with_the_columns_it_has_by_default(tree: Path):
    fluent_emoji.write_list(tree)
    listed = str(tree / "fluent-emoji.jsonl")
    source = FolderSource(name="emoji", kind="folder", path=str(tree), list=listed)
    (unit,) = plan_lists(source, listed, 100, Storage("memory://unused")).units
    hand = list(read_list(unit, source))[IMAGES.index("1f44b")]
    assert isinstance(hand, Listed)
    assert hand.url == "root/images/package/assets/1f44b.webp"
    assert (hand.title, tuple(hand.tags)) == ("waving hand", ("hand", "hello"))
    assert (hand.licence, hand.author) == ("MIT", "Microsoft")


def test_listing_what_was_not_fetched_says_to_fetch_it(tmp_path: Path):
    with pytest.raises(SystemExit, match=r"no .*data\.json: run `fetch` first"):
        fluent_emoji.main(["list", str(tmp_path)])


def test_labels_without_images_say_to_fetch_them(tree: Path):
    for image in fluent_emoji.images_folder(tree).iterdir():
        image.unlink()
    with pytest.raises(SystemExit, match=r"no \*\.webp in .*assets: run `fetch` first"):
        fluent_emoji.main(["list", str(tree)])


class FakeNpm:
    """An `npm` on the PATH that answers `npm pack` from a folder of tarballs, or fails."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        folder.mkdir()
        self.calls.touch()
        npm = folder / "npm"
        npm.write_text(
            f"#!{sys.executable}\n"
            "import pathlib, shutil, sys\n"
            "here, package = pathlib.Path(__file__).parent, sys.argv[-1]\n"
            "with (here / 'calls').open('a') as calls:\n"
            "    print(package, file=calls)\n"
            "tarball = here / (package.replace('/', '-') + '.tgz')\n"
            "sys.exit(0 if tarball.exists() and shutil.copy(tarball, '.') else 7)\n"
        )
        npm.chmod(0o755)

    def publish(self, package: str, members: dict[str, bytes]) -> None:
        name = package.replace("/", "-") + ".tgz"
        with tarfile.open(self.folder / name, "w:gz") as tarball:
            for path, body in members.items():
                member = tarfile.TarInfo(path)
                member.size = len(body)
                tarball.addfile(member, io.BytesIO(body))


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNpm:
    """An npm that has both packages, with one image and its label."""
    fake = FakeNpm(tmp_path / "bin")
    fake.publish(fluent_emoji.PACKAGES["images"], {"package/assets/1f44b.webp": b"RIFF"})
    fake.publish(fluent_emoji.PACKAGES["labels"], {LABELS: json.dumps(EMOJI).encode()})
    monkeypatch.setenv("PATH", str(fake.folder))
    return fake


def test_what_is_fetched_can_be_listed_and_nothing_else_is_left(npm: FakeNpm, tmp_path: Path):
    folder = tmp_path / "emoji"
    fluent_emoji.fetch(folder)
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert sorted(files) == [
        fluent_emoji.images_folder(folder) / "1f44b.webp",
        fluent_emoji.labels_file(folder),
    ]
    assert rows_by_name(folder)["1f44b"]["title"] == "waving hand"


def test_what_is_already_there_is_not_fetched_again(npm: FakeNpm, tmp_path: Path):
    fluent_emoji.fetch(tmp_path / "emoji")
    fluent_emoji.fetch(tmp_path / "emoji")
    assert npm.calls.read_text().splitlines() == list(fluent_emoji.PACKAGES.values())


def test_a_fetch_that_failed_publishes_nothing_and_the_next_one_begins_anew(
    npm: FakeNpm, tmp_path: Path
):
    folder, labels = tmp_path / "emoji", npm.folder / "emojibase-data@17.0.0.tgz"
    held = labels.rename(tmp_path / "held.tgz")
    with pytest.raises(SystemExit, match=r"exit status 7.*`npm view emojibase-data@17\.0\.0`"):
        fluent_emoji.fetch(folder)
    assert not (folder / "root").exists()
    held.rename(labels)
    fluent_emoji.fetch(folder)
    assert fluent_emoji.labels_file(folder).is_file()


def test_a_package_that_would_write_elsewhere_is_refused_and_not_published(
    npm: FakeNpm, tmp_path: Path
):
    npm.publish(fluent_emoji.PACKAGES["images"], {"../../../escaped": b"no"})
    with pytest.raises(tarfile.OutsideDestinationError):
        fluent_emoji.fetch(tmp_path / "emoji")
    assert not list(tmp_path.rglob("escaped"))
    assert not (tmp_path / "emoji/root").exists()


def test_a_missing_npm_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"npm is needed and was not found.*emojibase-data@17"):
        fluent_emoji.fetch(tmp_path / "emoji")
    assert not (tmp_path / "emoji").exists()


def test_held_out_faces_and_people_are_trained_on_by_nobody(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fluent_emoji, "HELD_OUT", 0.5)
    fluent_emoji.write_list(tree)
    fluent_emoji.hold_out(tree)
    trained = [
        json.loads(line)["title"] for line in (tree / "train.jsonl").read_text().splitlines()
    ]
    held, judged = ((tree / f"{n}.txt").read_text().splitlines() for n in ("held-out", "judged"))
    assert held
    assert sorted(judged) == sorted(trained)
    assert not set(trained) & set(held)
    assert {*trained, *held} == {"waving hand", "waving hand: dark skin tone", "heart on fire"}
    assert len(trained) + len(held) == 4  # both images of the heart
