"""The message that too many rows are lost shows one of them."""

from pathlib import Path

from pipelines.runtime.failed_example import first_failed
from pipelines.runtime.sidecar import Reject, write_dead_letters
from schemas.store.storage import Storage


def test_the_first_row_that_died_of_the_error_is_shown(tmp_path: Path):
    store = Storage(str(tmp_path))
    rejects = [
        Reject(id="a", reason="http_404", detail="not this"),
        Reject(id="b", reason="private_address", detail="http://127.0.0.1/\nis private"),
    ]
    write_dead_letters(store, "crawl", 1, rejects)
    assert first_failed(store, "crawl", "private_address", range(3)) == (
        f" (first: http://127.0.0.1/ is private; see {tmp_path}/dead_letters/crawl/00001.parquet"
        "; to allow them, set crawl.allow_private_addresses: true)"
    )
    assert first_failed(store, "crawl", "timeout", range(3)) == ""
