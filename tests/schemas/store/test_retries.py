from pathlib import Path

import fsspec
import pytest

from schemas.store.retries import open_fs
from schemas.store.storage import CorpusError, Storage


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
