"""LLaMA-Factory's JSON, which VARGPT-v1.1's training code reads.

    edit/edit-000000.json      the records of one shard, a list
    images/edit-000000/...     its images; their paths in the records are relative to the folder
    dataset_info.json          an entry of each subset: vargpt_t2i, vargpt_edit, ...

`images` has the images in the order of their marks in the turns, or the training code stops
(mm_plugin.py). An entry names a folder, of which LLaMA-Factory reads all files (data/loader.py).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, ClassVar, Final

from pipelines.export.format import Exported
from pipelines.export.samples import READ_SAMPLES, Sample, Shard
from schemas.store.storage import Storage
from schemas.subsets import SUBSETS, Subset

WRITERS: Final = 16  # threads that write images; an object store answers each in turn
INFO: Final = "dataset_info.json"
SPEAKERS: Final = {"system": "system", "user": "human", "assistant": "gpt"}

SFT: Final[Mapping[str, Any]] = {
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
DPO: Final[Mapping[str, Any]] = {
    "formatting": "sharegpt",
    "ranking": True,
    "columns": {
        "messages": "conversations",
        "chosen": "chosen",
        "rejected": "rejected",
        "images": "images",
    },
}


class LlamaFactory:
    """Records as VARGPT-v1.1's training code reads them; images are files."""

    name: ClassVar[str] = "llama-factory"
    version: ClassVar[int] = 1

    def refusal(self, subset: Subset) -> str:
        """Say why the format cannot hold a subset: pairs of prompts that have an image."""
        if subset.is_pairs and subset.input_image:
            return (
                "the published code takes the first image of a pair as chosen and the second as "
                "rejected, so its format cannot hold prompts with an image"
            )
        return ""

    def folders(self, shard: Shard) -> Sequence[str]:
        """Return the folder of the records and that of the images."""
        return shard.subset.name, f"images/{shard.name}"

    def members(self, shard: Shard) -> Sequence[str]:
        """Return the images, in the order of their marks."""
        return shard.subset.images

    def write(self, shard: Shard, samples: Iterable[Sample], to: Storage) -> Mapping[str, int]:
        """Write the images and then the records; the records of the shard are in memory."""
        record = dpo_record if shard.subset.is_pairs else sft_record
        files, records = dict[str, int](), list[str]()
        waiting = iter(samples)
        with ThreadPoolExecutor(WRITERS) as pool:
            while batch := list(islice(waiting, READ_SAMPLES)):
                images = dict[str, bytes]()
                for sample in batch:
                    folder = f"images/{shard.name}/{sample.key}"
                    of = {f"{folder}.{member}": data for member, data in sample.members.items()}
                    records.append(json.dumps(record(sample, [*of]), ensure_ascii=False))
                    images |= of
                for _ in pool.map(to.commit_bytes, images.keys(), images.values()):
                    pass  # an error is raised here
                files |= {path: len(data) for path, data in images.items()}
        text = ",\n".join(records)
        body = f"[\n{text}\n]\n".encode()
        path = f"{shard.subset.name}/{shard.name}.json"
        to.commit_bytes(path, body)
        return {**files, path: len(body)}

    def finish(self, exported: Mapping[str, Sequence[Exported]], to: Storage) -> None:
        """Write dataset_info.json."""
        info = {
            f"vargpt_{name}": {"file_name": name, **(DPO if SUBSETS[name].is_pairs else SFT)}
            for name in exported
        }
        to.commit_bytes(INFO, f"{json.dumps(info, indent=2)}\n".encode())


def sft_record(sample: Sample, images: list[str]) -> dict[str, Any]:
    """Return the record of a sample; its images stand in the order of their marks."""
    messages = [
        {"content": message["content"], "role": message["role"]}
        for message in sample.fields["messages"]
    ]
    licence = sample.fields.get("licence", "")
    return {"messages": messages, "images": images, "id": sample.key, "licence": licence}


def dpo_record(sample: Sample, images: list[str]) -> dict[str, Any]:
    """Return the record of a pair: the same answer twice, for the chosen and the rejected image."""
    *before, answer = sample.fields["messages"]
    turn = {"from": SPEAKERS[answer["role"]], "value": answer["content"]}
    return {
        "conversations": [
            {"from": SPEAKERS[message["role"]], "value": message["content"]} for message in before
        ],
        "chosen": turn,
        "rejected": turn,
        "images": images,
        "id": sample.key,
        "licence": sample.fields.get("licence", ""),
    }
