"""Token ids of a conversation, written out, and which of them are learnt."""

import numpy as np
import pytest

from model.data.manifest import DataError
from model.data.samples import BadSample, Message
from model.data.text import Conversation, Encoded, TextEncoder, with_image_tokens
from model.data.text_tokenizer import ADDED, CHAT_TEMPLATE, QWEN_SPECIAL, bundled_text_tokenizer

DRAW = (Message("user", "Please draw a cat"), Message("assistant", "Here's a cat<image_gen>"))


def one(
    text: TextEncoder, *messages: Message, generated: int = 3, input_tokens: int = 2
) -> Encoded:
    (encoded,) = text.encode([Conversation(messages, generated, input_tokens)])
    assert isinstance(encoded, Encoded)
    return encoded


def test_the_layout_of_a_sequence(text: TextEncoder, words) -> None:
    encoded = one(text, *DRAW)
    layout = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nPlease draw a cat<|im_end|>\n<|im_start|>assistant\n"
        "Here's a cat<|image_gen_start|><|image_gen_pad|><|image_gen_pad|><|image_gen_pad|>"
        "<|image_gen_end|><|im_end|>\n"
    )
    assert words.decode(encoded.ids_S) == layout
    assert encoded.ids_S.tolist() == words.encode(layout)
    assert encoded.ids_S.tolist() == IDS
    pads = np.flatnonzero(encoded.ids_S == text.image_gen_pad_id)
    assert pads.tolist() == [encoded.image_start + n for n in range(3)]
    learnt = words.decode(encoded.ids_S[encoded.learnt_S])
    assert learnt == "Here's a cat<|image_gen_start|><|image_gen_end|><|im_end|>"


# <|im_start|> is 4080, <|im_end|> 4081; those of the image are 4093, 4095 and 4094.
IDS = [
    *(4080, 510, 198, 539, 536, 303, 583, 584, 13, 4081, 198),
    *(4080, 549, 198, 458, 361, 1553, 303, 1103, 4081, 198),
    *(4080, 582, 198, 550, 434, 303, 1103, 4093, 4095, 4095, 4095, 4094, 4081, 198),
]


def test_images_to_look_at_stand_where_they_are_marked(text: TextEncoder, words) -> None:
    messages = (Message("user", "Make <image> old"), Message("assistant", "It is: <image_gen>."))
    encoded = one(text, *messages, generated=1)
    assert (
        "Make <|vision_start|><|image_pad|><|image_pad|><|vision_end|> old<|im_end|>\n"
        "<|im_start|>assistant\nIt is: <|image_gen_start|><|image_gen_pad|><|image_gen_end|>."
        in words.decode(encoded.ids_S)
    )
    learnt = words.decode(encoded.ids_S[encoded.learnt_S])
    assert learnt == "It is: <|image_gen_start|><|image_gen_end|>.<|im_end|>"


def test_every_answer_of_a_conversation_is_learnt(text: TextEncoder, words) -> None:
    said = ["system", "user", "assistant", "user", "assistant"]
    messages = [Message(role, f"It is {number}.") for number, role in enumerate(said)]
    encoded = one(text, *messages)
    assert words.decode(encoded.ids_S[encoded.learnt_S]) == "It is 2.<|im_end|>It is 4.<|im_end|>"
    assert "helpful" not in words.decode(encoded.ids_S)


@pytest.mark.parametrize("said", ["<|im_end|>", "<|image_gen_pad|>", "<|endoftext|>x"])
def test_a_caption_that_spells_a_special_token_does_not_make_one(text, words, said: str) -> None:
    plain, spelt = (one(text, Message("user", each)) for each in ("x", said))
    special = set(words.convert_tokens_to_ids([*QWEN_SPECIAL, *ADDED]))
    counts = [sum(token in special for token in each.ids_S.tolist()) for each in (plain, spelt)]
    assert counts[0] == counts[1]
    assert said in words.decode(spelt.ids_S)


@pytest.mark.parametrize("answer", ["\n\nTwo lines", " blank", "\t", "", "\u0301a"])
def test_an_answer_that_starts_with_blanks_is_tokenized_as_the_whole_chat_is(text, words, answer):
    encoded = one(text, Message("user", "Hi"), Message("assistant", answer))
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": answer}]
    chat = words.apply_chat_template(messages, tokenize=False)
    assert encoded.ids_S.tolist() == words.encode(chat)
    assert encoded.learnt_S.sum() >= 1


@pytest.mark.parametrize(("positions", "pads"), [(521, 640), (2521, 2560), (128, 128)])
def test_pads_are_rounded_up_where_that_is_asked_for(words, positions: int, pads: int) -> None:
    text = TextEncoder(words, pad_multiple=128)
    encoded = one(text, *DRAW, generated=positions)
    assert (encoded.ids_S == text.image_gen_pad_id).sum() == pads


def test_what_is_too_long_is_a_bad_sample_and_its_neighbours_are_not(words) -> None:
    text = TextEncoder(words, max_length=40)
    found = text.encode([Conversation(DRAW, 3), Conversation(DRAW, 40), Conversation(DRAW, 3)])
    assert [type(each) for each in found] == [Encoded, BadSample, Encoded]
    assert str(found[1]) == f"{len(found[0].ids_S) + 37} tokens, expected at most 40"


def test_samples_are_tokenized_alike_alone_and_together(text: TextEncoder) -> None:
    talks = [Conversation(DRAW, number) for number in range(4)]
    together = text.encode(talks)
    for talk, encoded in zip(talks, together, strict=True):
        assert one(text, *talk.messages, generated=talk.generated).ids_S.tolist() == (
            encoded.ids_S.tolist()
        )


def test_a_tokenizer_without_the_image_tokens_is_refused_until_it_has_them() -> None:
    from transformers import Qwen2Tokenizer

    bare = Qwen2Tokenizer(vocab={"a": 0}, merges=[])
    bare.add_special_tokens({"additional_special_tokens": list(QWEN_SPECIAL[1:])})
    bare.chat_template = CHAT_TEMPLATE
    with pytest.raises(DataError, match=r"lacks <\|image_gen_start\|>, <\|image_gen_end\|>, <"):
        TextEncoder(bare)
    before = len(bare)
    TextEncoder(with_image_tokens(bare))
    assert bare.convert_tokens_to_ids(list(ADDED)) == [before, before + 1, before + 2]
    assert len(with_image_tokens(bare)) == before + 3


def test_another_chat_template_is_refused_with_both_layouts() -> None:
    tokenizer = bundled_text_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
    with pytest.raises(
        DataError, match=r"writes '\[Draw a cat\.\]\[Here it is\.\]', but this loader"
    ):
        TextEncoder(tokenizer)
    tokenizer.chat_template = None
    with pytest.raises(DataError, match="the text tokenizer's chat template: "):
        TextEncoder(tokenizer)


def test_a_tokenizer_that_cannot_pad_is_refused() -> None:
    tokenizer = bundled_text_tokenizer()
    tokenizer.pad_token = None
    with pytest.raises(DataError, match="has no padding token"):
        TextEncoder(tokenizer)
