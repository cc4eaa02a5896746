"""Samples and pairs as VARGPT-v1.1's training code reads them: LLaMA-Factory's JSON.

    DIR/sft.json or dpo.json   a list of records
    DIR/dataset_info.json      which columns are what, beside what it says of other files
    DIR/images/SHARD/...       the images, whose paths in the records are relative to DIR

An image stands in `images` where its mark stands in the turns; their numbers must agree, or the
training code stops (mm_plugin.py). Of a pair it takes the first image as chosen and the second as
rejected, whatever the prompt has: so a pair with an image in its prompt has no form there.
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
        format_: messages to learn, or pairs to prefer one of.
        to: local folder.

    Returns:
        how many records each file has.

    Raises:
        DataError: nothing to export, pairs that the format cannot hold, a sample whose images and
            marks do not agree, a dataset_info.json that is none, or a folder that holds a corpus or
            a file of that name that no export wrote.
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
    # First, so that an export that is killed is known as one.
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
        raise DataError(f"{to}: a corpus lies here; give an export a folder of its own")
    if (to / name).exists() and not exported:
        raise DataError(
            f"{to / name}: is there already, and {INFO} beside it names no export; give another "
            "folder, or move the file"
        )


def _described(path: Path) -> dict[str, Any]:
    """Read what earlier exports into the folder left there."""
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
        DataError: not as many marks as images, or a token of chat templates in the messages.
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
        DataError: an answer that does not mark one image, a prompt that marks one, or a token of
            chat templates in the messages.
    """
    _check_tokens(sample)
    *before, answer = sample["messages"]
    _check_marks(sample["key"], answer["content"], 1)
    _check_marks(sample["key"], "".join(message["content"] for message in before), 0)
    said = {"from": SPEAKERS[answer["role"]], "value": answer["content"]}
    return {
        "conversations": [
            {"from": SPEAKERS[message["role"]], "value": message["content"]} for message in before
        ],
        "chosen": said,
        "rejected": said,
        "images": images,
    }


def _fits(subset: Subset) -> bool:
    """Whether the formats can hold a subset: not pairs whose prompts have an image."""
    return not (subset.is_pairs and subset.understood)


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
    """Check that a shard was not cut short: its last images would be, too."""
    fs, path = open_fs(url)
    try:
        found = fs.size(path)
    except FileNotFoundError as error:
        raise DataError(f"{url}: a shard that the manifest lists is missing") from error
    if found != expected:
        raise DataError(f"{url}: {found:,} bytes, the manifest says {expected:,}")


def _check_tokens(sample: Mapping[str, Any]) -> None:
    """Refuse what the reader's chat template would take for its own."""
    for message in sample["messages"]:
        if marker := marker_in(message["content"], allowed=MARKS):
            raise DataError(
                f"{sample['key']}: a message spells {marker!r}, a token of chat templates: "
                f"{message['content']!r:.300}; build the corpus again, which leaves such rows out"
            )


def _check_marks(key: str, text: str, images: int) -> None:
    marks = text.count(IMAGE) + text.count(IMAGE_GEN)
    if marks != images:
        raise DataError(f"{key}: {marks} marks of images in {text!r:.300}, {images} images")


def _nothing(manifest: Manifest, wanted: Sequence[Subset]) -> str:
    if any(manifest.subsets.get(each.name) for each in wanted if not _fits(each)):
        return (
            "pairs whose prompts have an image: the published code takes the first image as chosen "
            "and the second as rejected, so its format cannot hold them"
        )
    names = " or ".join(each.name for each in wanted if _fits(each))
    return f"no {names} to export, only {', '.join(manifest.subsets) or 'nothing'}"
