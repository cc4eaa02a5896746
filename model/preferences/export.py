"""Export of samples and pairs as LLaMA-Factory's JSON, which VARGPT-v1.1's training code reads.

    DIR/sft.json or dpo.json   a list of records
    DIR/dataset_info.json      the meaning of the columns; entries of other files are kept
    DIR/images/SHARD/...       the images; their paths in the records are relative to DIR

`images` has the images in the order of their marks in the turns. Their numbers must be equal, or
the training code stops (mm_plugin.py). It always takes the first image of a pair as chosen and the
second as rejected, so the format cannot hold a pair whose prompt has an image.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from model.data.manifest import (
    MANIFEST,
    DataError,
    Manifest,
    Source,
    read_manifest,
    subset_of,
)
from model.data.shards import ShardReader
from schemas.markers import IMAGE, IMAGE_GEN, MARKS, marker_in
from schemas.store.retries import open_fs
from schemas.store.whole_file import publish, published
from schemas.subsets import SUBSETS, Subset

Format = Literal["llamafactory-sft", "llamafactory-dpo"]

SPEAKERS: Final = {"system": "system", "user": "human", "assistant": "gpt"}
READ_SAMPLES: Final = 64  # at once
INFO: Final = "dataset_info.json"

SFT_INFO: Final = {
    "file_name": "sft.json",
    "formatting": "sharegpt",
    "columns": {"messages": "messages", "images": "images"},
    "tags": {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "system_tag": "system",
    },
}
DPO_INFO: Final = {
    "file_name": "dpo.json",
    "formatting": "sharegpt",
    "ranking": True,
    "columns": {
        "messages": "conversations",
        "chosen": "chosen",
        "rejected": "rejected",
        "images": "images",
    },
}


def export(url: str, format_: Format, to: Path) -> dict[str, int]:
    """Write all samples of a corpus, or all of its pairs.

    Args:
        url: folder of a corpus or of pairs.
        format_: sft for samples, dpo for pairs.
        to: local folder.

    Returns:
        number of records of each file.

    Raises:
        DataError: there is nothing to export, the format cannot hold the pairs, the images and
            marks of a sample differ, dataset_info.json is invalid, or the folder holds a corpus or
            a file of the same name that no export wrote.
    """
    manifest = read_manifest(url)
    is_sft = format_ == "llamafactory-sft"
    info = SFT_INFO if is_sft else DPO_INFO
    name = str(info["file_name"])
    wanted = [each for each in SUBSETS.values() if each.is_pairs != is_sft]
    subsets = [each for each in wanted if manifest.subsets.get(each.name) and _fits(each)]
    if not subsets:
        raise DataError(f"{url}: {_nothing(manifest, wanted)}")
    record = sft_record if is_sft else dpo_record
    entry = f"vargpt_{PurePosixPath(name).stem}"
    described = _described(to / INFO)
    _check_folder(to, name, entry in described)
    to.mkdir(parents=True, exist_ok=True)
    # First, so that a later run knows a killed export.
    publish(to / INFO, f"{json.dumps(described | {entry: info}, indent=2)}\n".encode())
    count = 0
    with published(to / name) as partial, open(partial, "w", encoding="utf-8") as file:
        for subset in subsets:
            for each in _records(url, subset, manifest, record, to):
                file.write(",\n" if count else "[\n")
                file.write(json.dumps(each, ensure_ascii=False))
                count += 1
        file.write("\n]\n" if count else "[]\n")
    return {name: count}


def _check_folder(to: Path, name: str, exported: bool) -> None:
    """Refuse to write into a corpus, or over a file that no export wrote."""
    if (to / MANIFEST).exists():
        raise DataError(f"{to}: holds a corpus; expected a separate folder for an export")
    if (to / name).exists() and not exported:
        raise DataError(
            f"{to / name}: exists, but no export wrote it, as {INFO} shows; name another folder, "
            "or move the file"
        )


def _described(path: Path) -> dict[str, Any]:
    """Read the dataset_info.json of earlier exports; {} if there is none."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected an object, found {type(found).__name__}")
    return found


def sft_record(sample: Mapping[str, Any], images: list[str]) -> dict[str, Any]:
    """Return a sample's record.

    Raises:
        DataError: the numbers of marks and images differ, or a message contains a token of chat
            templates.
    """
    _check_tokens(sample)
    texts = [message["content"] for message in sample["messages"]]
    _check_marks(sample["key"], "".join(texts), len(images))
    messages = [
        {"content": message["content"], "role": message["role"]} for message in sample["messages"]
    ]
    return {"messages": messages, "images": images, "id": sample["key"]}


def dpo_record(sample: Mapping[str, Any], images: list[str]) -> dict[str, Any]:
    """Return a pair's record: the same answer twice, each with its image.

    Raises:
        DataError: the answer does not mark one image, the prompt marks an image, or a message
            contains a token of chat templates.
    """
    _check_tokens(sample)
    *before, answer = sample["messages"]
    _check_marks(sample["key"], answer["content"], 1)
    _check_marks(sample["key"], "".join(message["content"] for message in before), 0)
    turn = {"from": SPEAKERS[answer["role"]], "value": answer["content"]}
    return {
        "conversations": [
            {"from": SPEAKERS[message["role"]], "value": message["content"]} for message in before
        ],
        "chosen": turn,
        "rejected": turn,
        "images": images,
    }


def _fits(subset: Subset) -> bool:
    """Whether the formats can hold a subset: not pairs whose prompts have an image."""
    return not (subset.is_pairs and subset.input_image)


def _records(
    url: str,
    of: Subset,
    manifest: Manifest,
    record: Callable[[Mapping[str, Any], list[str]], dict[str, Any]],
    to: Path,
) -> Iterator[dict[str, Any]]:
    """Write the images of each sample and yield its record."""
    source, images = Source(url=url, subset=of.name), of.images
    subset = subset_of(source, manifest)
    reader = ShardReader(source, subset.shards, ("json", *images), keep=1)
    for number, shard in enumerate(subset.shards):
        _check_size(source.file(shard.path), shard.bytes)
        folder = f"images/{PurePosixPath(shard.path).stem}"
        (to / folder).mkdir(parents=True, exist_ok=True)
        for start in range(0, shard.samples, READ_SAMPLES):
            rows = range(start, min(start + READ_SAMPLES, shard.samples))
            for key, found in reader.read(number, rows):
                paths = [f"{folder}/{key}.{member}" for member in images]
                for path, member in zip(paths, images, strict=True):
                    (to / path).write_bytes(found[member])
                yield record(json.loads(found["json"]), paths)


def _check_size(url: str, expected: int) -> None:
    """Check that a shard is not cut short; otherwise its last images would be cut."""
    fs, path = open_fs(url)
    try:
        found = fs.size(path)
    except FileNotFoundError as error:
        raise DataError(f"{url}: a shard that the manifest lists is missing") from error
    if found != expected:
        raise DataError(f"{url}: {found:,} bytes, expected {expected:,} by the manifest")


def _check_tokens(sample: Mapping[str, Any]) -> None:
    """Refuse messages with tokens that have a meaning in chat templates."""
    for message in sample["messages"]:
        if marker := marker_in(message["content"], allowed=MARKS):
            raise DataError(
                f"{sample['key']}: a message contains {marker!r}, a token of chat templates: "
                f"{message['content']!r:.300}; build the corpus again, which drops such rows"
            )


def _check_marks(key: str, text: str, images: int) -> None:
    marks = text.count(IMAGE) + text.count(IMAGE_GEN)
    if marks != images:
        raise DataError(f"{key}: {marks} image marks in {text!r:.300}, expected {images}")


def _nothing(manifest: Manifest, wanted: Sequence[Subset]) -> str:
    if any(manifest.subsets.get(each.name) for each in wanted if not _fits(each)):
        return (
            "the prompts of its pairs have an image: the published code takes the first image as "
            "chosen and the second as rejected, so its format cannot hold them"
        )
    names = " or ".join(each.name for each in wanted if _fits(each))
    return f"no {names} to export, only {', '.join(manifest.subsets) or 'nothing'}"
