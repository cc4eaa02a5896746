"""Exports between buckets: killed and resumed, they come to the files of a local export."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from exports import files_of
from object_stores import ObjectStore
from training_shards import ShardMaker

from model.tokenizers.load import load_tokenizer
from pipelines.export.format import Exported
from pipelines.export.formats import FORMATS
from pipelines.export.job import export
from pipelines.export.marks import Marks
from schemas.store.storage import Storage
from schemas.subsets import SUBSETS as BY_NAME

SUBSETS = ("edit", "preference")


class Killed(BaseException):
    """As a signal would end a run."""


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of edits and two of pairs; tests must not change them."""
    maker = ShardMaker(tokenizer=load_tokenizer("infinity_bsq", preset="bundled"))
    folder = tmp_path_factory.mktemp("corpora") / "local"
    return maker.write(folder, {"edit": [2, 1], "preference": [1, 2]})


@pytest.fixture(scope="module")
def far(store: ObjectStore, local: Path) -> str:
    """The same in a bucket."""
    url = f"{store.make_bucket('corpora')}/corpus"
    fs, root = Storage(url).locate("")
    fs.put(f"{local}/", root, recursive=True)
    return url


@pytest.fixture
def killed_after_two_shards(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """End the next export when it has marked its second shard."""
    write, written = Marks.write, list[str]()

    def dying(self: Marks, name: str, exported: Exported) -> None:
        write(self, name, exported)
        written.append(name)
        if len(written) == 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Marks, "write", dying)
        yield patch


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_a_killed_export_between_buckets_resumes_to_the_local_files(
    name: str,
    store: ObjectStore,
    local: Path,
    far: str,
    tmp_path: Path,
    killed_after_two_shards: pytest.MonkeyPatch,
) -> None:
    to = f"{store.make_bucket('exports')}/export"
    subsets = [each for each in SUBSETS if not FORMATS[name].refusal(BY_NAME[each])]
    with pytest.raises(Killed):
        export(far, FORMATS[name], to, subsets)
    killed_after_two_shards.undo()
    counts = export(far, FORMATS[name], to, subsets)
    assert sum(count.skipped for count in counts) == 2
    assert sum(count.written for count in counts) == 2 * len(subsets) - 2
    fs, root = Storage(to).locate("")
    fs.get(root, str(tmp_path / "fetched"), recursive=True)
    export(str(local), FORMATS[name], str(tmp_path / "here"), subsets)
    assert files_of(tmp_path / "fetched") == files_of(tmp_path / "here")
