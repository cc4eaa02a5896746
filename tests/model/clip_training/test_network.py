from pathlib import Path

from model.clip_training.network import ClipSizes, clip_config, text_tokenizer
from model.data.text_tokenizer import bundled_text_tokenizer


def test_every_text_ends_with_the_token_that_is_read(tiny: ClipSizes, tiny_folder: Path) -> None:
    tokenizer = text_tokenizer(tiny_folder)
    end = clip_config(tiny)["model_cfg"]["text_cfg"]["eos_id"]
    short, empty, long = tokenizer(["a cat", "", "cat " * 100])
    for ids in (short, empty, long):
        assert len(ids) == tiny.context_length
        assert end in ids
    assert (short == end).int().argmax() == 2
    assert empty[0] == end
    assert (long == end).int().argmax() == tiny.context_length - 1


def test_a_word_is_the_same_token_at_the_start_in_capitals_and_with_a_comma(
    tiny_folder: Path,
) -> None:
    tokenizer = text_tokenizer(tiny_folder)
    first, later, shouted = tokenizer(["cat dog", "dog, cat", "CAT! dog"])
    assert first[0] == later[1] == shouted[0]
    assert first[1] == later[0] == shouted[1]


def test_the_tokens_are_those_of_the_bundled_tokenizer(tiny_folder: Path) -> None:
    bundled = bundled_text_tokenizer()
    ids = text_tokenizer(tiny_folder)(["a red fox"])[0, :3].tolist()
    assert ids == bundled(" a red fox")["input_ids"][:3]
