"""Exports as MDS, read by MosaicML's own `StreamingDataset`, against bytes of its `MDSWriter`."""

import json
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from export_readers import STREAMING, needs, read_by_streaming
from exports import files_of, samples_of

from pipelines.export.formats import FORMATS
from pipelines.export.job import export
from pipelines.export.mds import Mds

SUBSETS = ("t2i", "edit", "understand", "preference", "preference_edit")
IMAGES = {
    "jpg": "image",
    "source.jpg": "source_image",
    "chosen.jpg": "chosen_image",
    "rejected.jpg": "rejected_image",
}

pytestmark = [pytest.mark.slow, needs(STREAMING)]


def column(member: str) -> str:
    return IMAGES.get(member, member.removesuffix(".npy").replace(".", "_"))


def as_read(member: str, data: bytes) -> Any:
    if member.endswith("jpg"):
        return sha256(data).hexdigest()
    if member == "json":
        return json.loads(data)
    array = np.load(BytesIO(data))
    return [array.dtype.name, [*array.shape], array.tolist()]


def test_its_reader_reads_all_and_its_writer_writes_the_same_files(
    small_corpus: Path, tmp_path: Path
) -> None:
    to = tmp_path / "to"
    export(str(small_corpus), FORMATS["mds"], str(to))
    sizes = {1 << 26: 1, 4000: 2, 2000: 3}  # files of so many bytes at most; three samples fill
    *read, one_shard = read_by_streaming(
        [*(to / subset for subset in SUBSETS), to / "t2i/t2i-000001"],  # a data set of its own
        tmp_path,
        written={tmp_path / f"theirs-{size}": size for size in sizes},
        samples=first_shard(small_corpus, tmp_path),
        encodings={
            **{"json": "json", "image": "jpeg"},
            **{"tokens256": "ndarray", "features256": "ndarray"},
        },
    )
    for subset, rows in zip(SUBSETS, read, strict=True):
        assert rows == [
            {column(member): as_read(member, data) for member, data in members.items()}
            for members in samples_of(small_corpus, subset).values()
        ]
    assert one_shard == read[0][3:]
    for size, count in sizes.items():
        ours = tmp_path / f"ours-{size}"
        export(str(small_corpus), Mds(size), str(ours), ["t2i"])
        assert files_of(ours / "t2i/t2i-000000") == files_of(tmp_path / f"theirs-{size}")
        assert len([*ours.glob("t2i/t2i-000000/*.mds")]) == count


def first_shard(corpus: Path, folder: Path) -> list[dict[str, str]]:
    """Write the members of the three samples of the first shard as files; return their paths."""
    samples: list[dict[str, str]] = []
    for key, members in list(samples_of(corpus, "t2i").items())[:3]:
        paths = {column(member): folder / f"{key}.{member}" for member in members}
        for member, data in members.items():
            paths[column(member)].write_bytes(data)
        samples.append({name: str(path) for name, path in paths.items()})
    return samples
