"""The special tokens and chat template of Qwen2-VL, and a small text tokenizer that has them.

The small tokenizer ships with this package. To train it again:

    python -m model.data.text_tokenizer OUT --captions LIST.jsonl ... --templates FILE.yaml ...

It is Qwen2's byte-level BPE with fewer merges. Class, pre-tokenizer, special tokens and chat
template are Qwen2-VL's, so code that works with it also works with the backbone's tokenizer.
"""

import argparse
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

QWEN_SPECIAL: Final = (
    "<|endoftext|>",  # 151643 in Qwen's own vocabulary; the others follow
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
IMAGE_GEN_START: Final = "<|image_gen_start|>"  # 151657
IMAGE_GEN_END: Final = "<|image_gen_end|>"
IMAGE_GEN_PAD: Final = "<|image_gen_pad|>"
ADDED: Final = (IMAGE_GEN_START, IMAGE_GEN_END, IMAGE_GEN_PAD)
"""The tokens that VARGPT-v1.1 adds to Qwen2-VL's tokenizer (prepare_vargpt_v1_1.py, 91-93)."""

SYSTEM_PROMPT: Final = "You are a helpful assistant."

CHAT_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    f"<|im_start|>system\n{SYSTEM_PROMPT}<|im_end|>\n"
    "{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen2-VL's template, for messages whose content is a string."""

BUNDLED: Final = Path(__file__).parents[1] / "bundled" / "text_tokenizer"
VOCABULARY: Final = 4096  # special tokens included
TEMPLATE_REPEATS: Final = 500  # a template occurs in many samples, a caption in one


def bundled_text_tokenizer() -> "PreTrainedTokenizerFast":
    """Load the tokenizer of 4,096 tokens that ships with this package."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(BUNDLED)


def train(texts: Iterable[str], vocabulary: int = VOCABULARY) -> "PreTrainedTokenizerFast":
    """Train a tokenizer in Qwen2-VL's form; the same texts give the same tokenizer."""
    from tokenizers import pre_tokenizers
    from tokenizers.trainers import BpeTrainer
    from transformers import Qwen2Tokenizer

    backend = Qwen2Tokenizer().backend_tokenizer
    trainer = BpeTrainer(
        vocab_size=vocabulary - len(QWEN_SPECIAL) - len(ADDED),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    model = json.loads(backend.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(merge) for merge in model["merges"]],  # type: ignore[arg-type]
    )
    tokenizer.add_special_tokens({"additional_special_tokens": [*QWEN_SPECIAL[1:], *ADDED]})
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def captions_of(path: Path) -> Iterator[str]:
    """Yield the texts of a list of images: JSON lines with title, text and tags."""
    for line in path.read_text().splitlines():
        row = json.loads(line)
        yield from (row["title"], row["text"], ", ".join(row["tags"]))


def templates_of(path: Path) -> Iterator[str]:
    """Yield the texts of a template file and of the chat template, repeated to weigh more."""
    words = [re.sub(r"\{\w+\}", "", text) for text in _strings(yaml.safe_load(path.read_text()))]
    chat = [f"system\n{SYSTEM_PROMPT}", "user\n", "assistant\n"]
    # Inside a sentence a word follows a space, which gives another token.
    yield from [*words, *(f" {word}" for word in words), *chat] * TEMPLATE_REPEATS


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)


def save(tokenizer: "PreTrainedTokenizerFast", out: Path) -> None:
    """Write the tokenizer for `AutoTokenizer.from_pretrained`, as JSON without spaces."""
    tokenizer.save_pretrained(out)
    path = out / "tokenizer.json"
    written = json.loads(path.read_text())
    path.write_text(json.dumps(written, ensure_ascii=False, separators=(",", ":")) + "\n")


def main() -> None:
    """Train the bundled tokenizer again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--captions", type=Path, nargs="+", required=True)
    parser.add_argument("--templates", type=Path, nargs="+", required=True)
    options = parser.parse_args()
    texts = [text for path in options.captions for text in captions_of(path)]
    texts += [text for path in options.templates for text in templates_of(path)]
    save(train(texts), options.out)


if __name__ == "__main__":
    main()
