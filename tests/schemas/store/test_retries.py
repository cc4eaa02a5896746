from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from schemas.store.errors import StoreError
from schemas.store.retries import PatientFileSystem, open_fs
from schemas.store.storage import CorpusError, Storage


class Failing(MemoryFileSystem):
    """Raises what it is given before it reads."""

    cachable = False

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self.errors = list(errors)

    def cat_file(self, path: str, *arguments: Any, **options: Any) -> bytes:
        if self.errors:
            raise self.errors.pop(0)
        return b"x"


class Denied(OSError):
    """As gcsfs raises it, which has no class of its own for it."""

    def __init__(self) -> None:
        super().__init__("Forbidden: https://store/a")


def test_a_call_is_tried_four_times_after_longer_and_longer_pauses(
    capsys: pytest.CaptureFixture[str],
):
    pauses: list[float] = []
    fs = PatientFileSystem(Failing(*[ConnectionError("reset")] * 3), sleep=pauses.append)
    assert fs.cat_file("/a") == b"x"
    assert pauses == [5.0, 15.0, 45.0]
    assert capsys.readouterr().err.splitlines() == [
        f"memory:///a: the store could not be reached (reset); try {number} of 4, again in {s} s"
        for number, s in ((1, 5), (2, 15), (3, 45))
    ]


def test_the_last_failure_names_the_url_and_has_its_cause():
    failing = Failing(*[ConnectionError("reset")] * 4)
    with pytest.raises(StoreError) as raised:
        PatientFileSystem(failing, sleep=lambda _: None).cat_file("/a")
    assert str(raised.value) == (
        "memory:///a: the store could not be reached (reset); what was committed is kept"
    )
    assert isinstance(raised.value.__cause__, ConnectionError)
    assert failing.errors == []


@pytest.mark.parametrize(
    ("error", "raised"),
    [(Denied(), StoreError), (FileNotFoundError("/a"), FileNotFoundError), (KeyError(1), KeyError)],
)
def test_what_does_not_pass_is_not_tried_again(error: Exception, raised: type[Exception]):
    failing = Failing(error, error)
    with pytest.raises(raised):
        PatientFileSystem(failing, sleep=pytest.fail).cat_file("/a")
    assert failing.errors == [error]


def test_a_store_whose_client_is_not_installed_is_named():
    with pytest.raises(CorpusError, match=r"abfs://box/a: cannot be opened: .*adlfs"):
        open_fs("abfs://box/a")


def test_a_protocol_that_nobody_knows_is_named():
    with pytest.raises(CorpusError, match=r"nope://box/a: cannot be opened: .*nope"):
        open_fs("nope://box/a")


def test_credentials_that_are_not_there_are_said_of_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Botocore looks in the environment, in the home folder and at the machine's own address."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": "http://127.0.0.1:9"})
    with pytest.raises(CorpusError, match=r"s3://box/a/b: no usable credentials \(.*kept"):
        Storage("s3://box/a").read("b")


def test_a_file_of_credentials_that_holds_none_is_said_of_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "none.json").write_text("{}")
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    monkeypatch.setitem(fsspec.config.conf, "gs", {"token": f"{tmp_path}/none.json"})
    with pytest.raises(
        CorpusError, match=r"gs://box/a: cannot be opened: KeyError: 'refresh_token'"
    ):
        open_fs("gs://box/a")
