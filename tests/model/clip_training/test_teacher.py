from pathlib import Path

import pytest
import torch

from model.clip_training.teacher import CACHE, Lessons, lesson_texts, lessons
from model.image_text.pairs import Pair
from schemas.store.errors import SettingsError

TEXTS = ["a dog", "fox", "house"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT of random weights, saved as transformers saves it."""
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "fox", "house"]
    words += ["gadget", "##ing"]
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(words), num_hidden_layers=1, **sizes)).save_pretrained(
        folder
    )
    BertTokenizer({word: n for n, word in enumerate(words)}).save_pretrained(folder)
    return folder


def test_a_text_has_one_embedding_whatever_is_beside_it(encoder: Path, tmp_path: Path) -> None:
    together = lessons(TEXTS, str(encoder), tmp_path)
    assert together.embeddings_TE.norm(dim=1) == pytest.approx(torch.ones(3), abs=1e-5)
    (tmp_path / "alone").mkdir()
    alone = lessons(TEXTS[1:2], str(encoder), tmp_path / "alone")
    torch.testing.assert_close(alone.embeddings_TE[0], together.embeddings_TE[1])
    assert not torch.allclose(together.embeddings_TE[0], together.embeddings_TE[1], atol=1e-3)


def test_embeddings_are_read_later_unless_texts_or_weights_changed(
    encoder: Path, tmp_path: Path
) -> None:
    first = lessons(TEXTS, str(encoder), tmp_path)
    written = (tmp_path / CACHE).stat().st_mtime_ns
    again = lessons(TEXTS, str(encoder), tmp_path)
    torch.testing.assert_close(again.embeddings_TE, first.embeddings_TE, rtol=0, atol=0)
    assert (tmp_path / CACHE).stat().st_mtime_ns == written
    lessons(TEXTS[::-1], str(encoder), tmp_path)
    assert (tmp_path / CACHE).stat().st_mtime_ns != written


def test_an_encoder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--teacher .*gone"):
        lessons(TEXTS, str(tmp_path / "gone"), tmp_path)


def test_each_text_comes_once_an_epoch_with_its_own_embedding() -> None:
    texts = [f"word{number}" for number in range(10)]
    taught = Lessons(texts, torch.arange(10.0)[:, None])
    said, drawn = zip(*(taught.batch(step, 5) for step in range(4)), strict=True)
    numbers = [number for batch in drawn for number in batch]
    assert sorted(numbers[:10]) == sorted(numbers[10:]) == [*range(10)]
    assert numbers[:10] != numbers[10:]
    spoken = [text for batch in said for text in batch]
    assert all(f"word{n}" in text for n, text in zip(numbers, spoken, strict=True))
    assert {text.startswith("word") for text in spoken} == {True, False}


def test_the_texts_are_words_of_the_pairs_nouns_and_the_encoder_s_words(encoder: Path) -> None:
    pair = Pair(name="a", title="Xyzzy one", text="", tags=("Plugh two",))
    texts = lesson_texts([pair], str(encoder))
    assert {"xyzzy one", "plugh two", "golden retriever", "trout", "gadget"} <= {*texts}
    assert not {"a", "[CLS]", "##ing"} & {*texts}
    assert len(texts) == len({*texts}) > 20_000
