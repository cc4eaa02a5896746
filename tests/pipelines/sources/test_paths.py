"""Paths of a source: wildcards, braces, odd names of folders, and what is said of wrong ones."""

import os
from pathlib import Path

import fsspec
import pytest

from pipelines.sources.files import expand, find_files
from schemas.recipe_file import load_recipe
from schemas.source_config import Links
from schemas.store.storage import CorpusError

ODD = ("data [v1]", "a*b", "what?", "{x,y}", "100% [ok] {a}", "[!a]", "plain")


def lay(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def names(path: Path | str, links: Links = "follow") -> list[str]:
    return [file.name for file in expand(str(path), links)]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("00000.tar", ["00000.tar"]),
        ("*.tar", ["00000.tar", "00001.tar", "00010.tar"]),
        ("0000?.tar", ["00000.tar", "00001.tar"]),
        ("0000[01].tar", ["00000.tar", "00001.tar"]),
        ("{00000..00001}.tar", ["00000.tar", "00001.tar"]),
        ("{00010,00000}.tar", ["00000.tar", "00010.tar"]),
        ("{*0,00001}.tar", ["00000.tar", "00001.tar", "00010.tar"]),
        ("0000{0..1}.t{a,a}r", ["00000.tar", "00001.tar"]),
        ("**/*.tar", ["00000.tar", "00001.tar", "00010.tar", "d/00002.tar", "d/e/00003.tar"]),
        ("*/*.tar", ["d/00002.tar"]),
        ("***.tar", ["00000.tar", "00001.tar", "00010.tar"]),
    ],
)
def test_a_pattern_below_a_folder_of_any_name(
    odd: str, pattern: str, found: list[str], tmp_path: Path
) -> None:
    tars = ("00000.tar", "00001.tar", "00010.tar", "d/00002.tar", "d/e/00003.tar", "x.txt")
    lay(tmp_path / odd, *tars)
    assert names(tmp_path / odd / pattern) == found
    assert names(f"file://{tmp_path}/{odd}/{pattern}") == found
    memory = fsspec.filesystem("memory")
    memory.pipe({f"/paths/{odd}/{name}": b"x" for name in tars})
    assert names(f"memory://paths/{odd}/{pattern}") == found


def test_a_bracket_below_a_wildcard_may_be_one(tmp_path: Path) -> None:
    lay(tmp_path, "a/data [v1]/0.tar", "b/data [v1]/1.tar")
    assert names(tmp_path / "*/data [v1]/*.tar") == ["a/data [v1]/0.tar", "b/data [v1]/1.tar"]


def test_a_file_whose_name_is_a_pattern_is_read(tmp_path: Path) -> None:
    lay(tmp_path, "{0..1}.tar", "[0].tar", "0.tar", "1.tar")
    assert names(tmp_path / "{0..1}.tar") == ["{0..1}.tar"]
    assert names(tmp_path / "[0].tar") == ["[0].tar"]


def test_the_home_folder_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, "home/d/0.tar", "r/r.yaml")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = 'name: r\nsources: [{name: s, kind: webdataset, path: "~/d/*.tar"}]\n'
    (tmp_path / "r/r.yaml").write_text(text)
    path = load_recipe(str(tmp_path / "r/r.yaml")).sources[0].path
    assert path == f"{tmp_path}/home/d/*.tar"
    assert names(path) == names("~/d/*.tar") == ["0.tar"]


@pytest.mark.parametrize("path", ["d/00000.tar/", "d//00000.tar", "./d/../d/00000.tar"])
def test_paths_are_taken_as_shells_do(path: str, tmp_path: Path) -> None:
    lay(tmp_path, "d/00000.tar")
    assert names(f"{tmp_path}/{path}") == ["00000.tar"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("d", "d: is a folder; expected files: name them, such as .*/d/\\*.tar"),
        ("d/", "d: is a folder; expected files"),
        ("{d,e}", "d: is a folder; expected files"),
        ("pics", r"read the folder's images with kind: folder \(.jpg is one\)"),
        ("d/{00000..00003}.tar", r"00002.tar: no such file, which .*\{00000..00003\}.tar names"),
        ("d/0.tar", "0.tar: no such file; the nearest folder there is, .*/d, holds 00000.tar, 000"),
        ("no/where/*.tar", "no such file; the nearest folder there is, .*, holds d, pics"),
        ("d/*.csv", "no such file; the nearest folder there is"),
        ("pipe", "pipe: is no regular file"),
        ("d/{0..999999999}.tar", "braces stand for more than 100,000 names"),
        ("d/{0..999}{0..999}.tar", "braces stand for more than 100,000 names"),
        ("d/{0..1.tar", "a brace is not closed"),
        ("zip://x::d/a.zip", "chained URLs .* cannot be read in place"),
    ],
)
def test_a_wrong_path_is_explained(path: str, said: str, tmp_path: Path) -> None:
    lay(tmp_path, "d/00000.tar", "d/00001.tar", "pics/a.jpg")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CorpusError, match=said):
        names(path if "://" in path else f"{tmp_path}/{path}")


@pytest.mark.parametrize("path", ["", "  "])
def test_an_empty_path_is_refused(path: str) -> None:
    with pytest.raises(CorpusError, match="path is empty"):
        names(path)


def test_a_folder_that_cannot_be_looked_into_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path, "d/0.tar")
    stat = os.stat

    def closed(path: object, **options: bool) -> os.stat_result:
        if str(path).endswith("0.tar"):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", closed)
    with pytest.raises(CorpusError, match=r"0.tar: cannot be examined: Permission denied"):
        names(tmp_path / "d/0.tar")


def test_what_a_wildcard_matches_and_is_not_read_is_counted(tmp_path: Path) -> None:
    lay(tmp_path, "0.tar", "._0.tar", ".DS_Store", ".git/1.tar", "d/2.tar", "far/3.tar")
    os.mkfifo(tmp_path / "p.tar")
    (tmp_path / "gone.tar").symlink_to("nowhere.tar")
    found = find_files(f"{tmp_path}/*.tar")
    assert [file.name for file in found.files] == ["0.tar"]
    assert sorted(found.passed_over.values()) == [1, 1, 1]
    assert find_files(f"{tmp_path}/*").passed_over["folder"] == 3
    assert find_files(f"{tmp_path}/**").passed_over["hidden folder"] == 1
    assert names(tmp_path / ".git/*.tar") == ["1.tar"]


@pytest.mark.parametrize(
    ("links", "found"),
    [("inside", ["0.tar"]), ("follow", ["0.tar", "1.tar"]), ("never", ["0.tar"])],
)
def test_links_that_a_wildcard_matches_obey_the_key(
    links: Links, found: list[str], tmp_path: Path
) -> None:
    lay(tmp_path, "far/1", "mine/0.tar")
    (tmp_path / "mine/1.tar").symlink_to("../far/1")
    (tmp_path / "mine/2.tar").symlink_to("0.tar")
    matched = find_files(f"{tmp_path}/mine/*.tar", links)
    assert [file.name for file in matched.files] == found
    assert sum(matched.passed_over.values()) == 3 - len(found)
    assert all("link" in what for what in matched.passed_over)
    assert names(tmp_path / "mine/1.tar", links) == ["1.tar"]  # it is asked for by name


def test_linked_folders_are_entered_once_and_never_round(tmp_path: Path) -> None:
    lay(tmp_path, "far/1.tar", "mine/d/0.tar")
    for name, target in {"a": "../far", "b": "../far", "loop": ".", "d/up": ".."}.items():
        (tmp_path / "mine" / name).symlink_to(target)
    assert names(tmp_path / "mine/**/*.tar") == ["a/1.tar", "d/0.tar"]
    assert names(tmp_path / "mine/*/1.tar") == ["a/1.tar"]


def test_only_links_not_followed_is_an_error_that_names_the_key(tmp_path: Path) -> None:
    lay(tmp_path, "far/1")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/1.tar").symlink_to("../far/1")
    with pytest.raises(CorpusError, match=r"1 link to a file that leads out.*set links: follow"):
        names(tmp_path / "mine/*.tar", "inside")


def test_a_link_that_leads_to_itself_is_counted(tmp_path: Path) -> None:
    lay(tmp_path, "0.tar")
    (tmp_path / "1.tar").symlink_to("1.tar")
    assert names(tmp_path / "*.tar") == ["0.tar"]


def test_a_name_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.tar")).write_bytes(b"x")
    with pytest.raises(CorpusError, match=r"caf\\udce9.tar: not a name that UTF-8 can hold"):
        names(tmp_path / "*.tar")


def test_a_folder_in_place_of_files_says_how_to_read_what_it_holds(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(CorpusError, match=r"kind: folder \(\.jpg is one\)"):
        expand(str(tmp_path))
    for suffix in (".tar.gz", ".tar"):
        (tmp_path / f"0{suffix}").write_bytes(b"")
        with pytest.raises(CorpusError, match=rf"/\*{suffix}; kind: webdataset reads tars"):
            expand(str(tmp_path))
