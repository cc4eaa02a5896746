"""Preference data for TRL: conversations in content blocks, with images (its "vision" format).

| column | |
|---|---|
| `prompt` | messages before the answer; content is a list of text and image blocks |
| `chosen`, `rejected` | the answer, in text blocks; `<image_gen>` stands in the text |
| `images` | images of the image blocks of the prompt, in order; [] where it has none |
| `chosen_image`, `rejected_image` | the image that `<image_gen>` stands for |

TRL has as many images as image blocks in a conversation, for both answers the same. So the
generated images, in which the answers differ, are columns of their own.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

import pyarrow as pa

from pipelines.export.format import Exported
from pipelines.export.hugging_face import CARD, IMAGE, card, image_value, with_features
from pipelines.export.samples import Sample, Shard
from pipelines.export.tables import field_columns, field_values, image_columns, write_parquet
from schemas.markers import IMAGE as IMAGE_MARK
from schemas.store.storage import Storage
from schemas.subsets import Subset

_BLOCKS: Final = pa.list_(pa.struct([("type", pa.string()), ("text", pa.string())]))
_TURNS: Final = pa.list_(pa.struct([("role", pa.string()), ("content", _BLOCKS)]))
_ANSWERS: Final = ("chosen_image", "rejected_image")


class Trl:
    """A file a shard of pairs, `SUBSET/SUBSET-000000.parquet`, and a card."""

    name: ClassVar[str] = "trl"
    version: ClassVar[int] = 1

    def refusal(self, subset: Subset) -> str:
        """Say why the format cannot hold a subset: it has no pairs."""
        return "" if subset.is_pairs else "the format holds pairs of a chosen and a rejected image"

    def folders(self, shard: Shard) -> Sequence[str]:
        """Return the folder of the subset."""
        return (shard.subset.name,)

    def members(self, shard: Shard) -> Sequence[str]:
        """Return the images."""
        return shard.subset.images

    def write(self, shard: Shard, samples: Iterable[Sample], to: Storage) -> Mapping[str, int]:
        """Write the file of a shard."""
        turns = [(name, _TURNS) for name in ("prompt", "chosen", "rejected")]
        images = [("images", pa.list_(IMAGE)), *((name, IMAGE) for name in _ANSWERS)]
        columns = pa.schema([*turns, *images, *_fields(shard.subset).items()])
        schema = with_features(columns, [name for name, _ in images])
        path = f"{shard.subset.name}/{shard.name}.parquet"
        return write_parquet(path, schema, _rows(shard.subset, samples), to)

    def finish(self, exported: Mapping[str, Sequence[Exported]], to: Storage) -> None:
        """Write the card."""
        to.commit_bytes(CARD, card("Preference pairs of images", exported).encode())


def blocks(content: str) -> list[dict[str, Any]]:
    """Split a message into blocks of text and image.

    >>> [block["text"] or block["type"] for block in blocks("Make <image> look old")]
    ['Make ', 'image', ' look old']
    """
    found: list[dict[str, Any]] = []
    for number, text in enumerate(content.split(IMAGE_MARK)):
        found += [{"type": "image", "text": None}] if number else []
        found += [{"type": "text", "text": text}] if text else []
    return found


def _fields(subset: Subset) -> dict[str, pa.DataType]:
    """Return the columns of the fields; `prompt_text` is what the field `prompt` says."""
    named = {"prompt": "prompt_text"}
    columns = field_columns(subset)
    return {named.get(name, name): columns[name] for name in columns if name != "messages"}


def _rows(subset: Subset, samples: Iterable[Sample]) -> Iterator[dict[str, Any]]:
    answers = {column: image_columns(subset)[column] for column in _ANSWERS}
    inputs = [member for member in subset.images if member not in answers.values()]
    for sample in samples:
        fields = field_values(sample.fields)
        *before, answer = map(_turn, fields.pop("messages"))
        values = {
            column: image_value(f"{sample.key}.{member}", sample.members[member])
            for column, member in answers.items()
        }
        images = [image_value(f"{sample.key}.{each}", sample.members[each]) for each in inputs]
        fields["prompt_text"] = fields.pop("prompt", None)
        turns = {"prompt": before, "chosen": [answer], "rejected": [answer]}
        yield {**fields, **turns, **values, "images": images}


def _turn(message: Mapping[str, str]) -> dict[str, Any]:
    return {"role": message["role"], "content": blocks(message["content"])}
