import pytest

from filters.scorer import Batch, Device
from filters.scores.language import READ_CHARS
from filters.scores.registry import make_scorer
from schemas.score_config import LanguageScore

ENGLISH = "A dog runs across a green meadow and barks at the birds in the old apple tree."


def languages(*texts: str, min_chars: int = 40) -> list[tuple[str, float]]:
    config = LanguageScore(score="language", min_chars=min_chars)
    none = [None] * len(texts)
    batch = Batch(keys=texts, texts=texts, prepared=none, embeddings=lambda clip: none)  # type: ignore[arg-type,return-value]
    found = make_scorer(config, Device()).score(batch)
    return [*zip(found["language"], found["language_probability"], strict=True)]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (ENGLISH, "en"),
        ("Ein Hund rennt über eine grüne Wiese und bellt die Vögel im alten Apfelbaum an.", "de"),
        ("Un chien court dans un pré vert et aboie après les oiseaux du vieux pommier.", "fr"),
        ("Собака бежит по зелёному лугу и лает на птиц, сидящих на старой яблоне.", "ru"),
        (
            "一只狗跑过绿色的草地,对着老苹果树上的鸟儿汪汪大叫,孩子们在远处的小河边高兴地看着它,笑个不停。",
            "zh",
        ),
    ],
)
def test_a_sentence_has_its_language(text: str, language: str) -> None:
    [(found, probability)] = languages(text)
    assert found == language
    assert 0.5 < probability <= 1


def test_a_text_with_too_few_letters_has_none() -> None:
    letters = sum(map(str.isalpha, ENGLISH))
    [(language, _)] = languages(ENGLISH, min_chars=letters)
    assert language == "en"
    assert languages(ENGLISH, min_chars=letters + 1) == [("", 0.0)]


@pytest.mark.parametrize(
    "text", ["", "\U0001f600" * 100, "123 456 " * 30, "\x00\x1b" * 50, "a dog"]
)
def test_what_is_no_sentence_has_none(text: str) -> None:
    assert languages(text) == [("", 0.0)]


def test_only_the_beginning_of_a_long_text_is_read() -> None:
    long = (ENGLISH * 100)[:READ_CHARS]
    assert languages(long + "und noch etwas auf Deutsch " * 4_000) == languages(long)
