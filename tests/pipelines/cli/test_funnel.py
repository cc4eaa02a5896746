"""What a build says at its end."""

from pathlib import Path

import pytest

from pipelines.cli.funnel import print_funnel


def printed(counts: dict[str, int], out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    manifest = {"funnel": [], "subsets": {}, "tokens": [], "passed_over": {"pics": counts}}
    print_funnel(manifest, str(out))
    (line,) = [each for each in capsys.readouterr().out.splitlines() if each.startswith("passed")]
    return line


def test_what_is_passed_over_is_named_the_most_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = {"link to a folder that leads out": 2, ".svg file": 1248, "hidden folder": 1}
    said = (
        "passed over in pics: 1,248 .svg files; 2 links to a folder that leads out; 1 hidden folder"
    )
    assert printed(counts, tmp_path, capsys) == said


def test_many_kinds_are_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = printed({f".x{n} file": 2 for n in range(100)}, tmp_path, capsys)
    assert line.endswith("176 of 88 further kinds (all: manifest.json)")
    line = printed({f".x{n:02} file": n for n in range(1, 14)}, tmp_path, capsys)
    assert line.endswith("; 1 of 1 further kind (all: manifest.json)")
    assert printed({"pipe, socket or device": 2}, tmp_path, capsys).endswith(
        ": 2 pipes, sockets or devices"
    )
