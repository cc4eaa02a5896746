"""Lessons in English: texts with the embeddings of a sentence encoder, which has read far more.

The titles of a few thousand images do not say that a trout is a fish. The text tower learns it from
a sentence encoder's embeddings of 22,000 nouns (the WordNet lemmas of ImageNet, which timm lists),
of the words in the encoder's own vocabulary, and of the titles and tags to train on. Only the
training needs the encoder.

Shapes: T texts, E the encoder's width.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from hashlib import file_digest
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor

from model.image_text.pairs import TEMPLATES, Pair, plain
from schemas.fingerprint import fingerprint
from schemas.keys import draw, rank
from schemas.store.errors import SettingsError
from schemas.store.whole_file import publish

AT_ONCE: Final = 128  # texts
TOKENS: Final = 32  # at most, of a text
CACHE: Final = "teacher.safetensors"
_WORD: Final = re.compile(r"[a-z]{3,}")


class Lessons:
    """Texts with their embeddings; batches are decided by the number of the step alone.

    Args:
        texts: all of them, each once.
        embeddings_TE: of the texts, of length 1.
    """

    def __init__(self, texts: Sequence[str], embeddings_TE: Tensor) -> None:
        self.texts, self.embeddings_TE = texts, embeddings_TE
        self._order = lru_cache(maxsize=2)(self._ordered)

    def batch(self, step: int, size: int) -> tuple[list[str], list[int]]:
        """Return texts, some of them in a template, and the numbers of the bare texts."""
        places = (divmod(place, len(self.texts)) for place in range(step * size, (step + 1) * size))
        numbers = [self._order(epoch)[place] for epoch, place in places]
        said = [in_template(self.texts[number], step) for number in numbers]
        return said, numbers

    def _ordered(self, epoch: int) -> list[int]:
        salt = f"lesson {epoch}"
        return sorted(range(len(self.texts)), key=lambda number: rank(self.texts[number], salt))


def in_template(text: str, step: int) -> str:
    """Return a text, in half of the steps in a template."""
    template = draw(text, f"lesson {step}", 2 * len(TEMPLATES))
    return TEMPLATES[template].format(text) if template < len(TEMPLATES) else text


def lesson_texts(pairs: Iterable[Pair], encoder: str) -> list[str]:
    """Return the subjects and tags of the pairs, the nouns of ImageNet-22k, the encoder's words.

    Raises:
        SettingsError: there is no such encoder.
    """
    from timm.data.imagenet_info import ImageNetInfo

    nouns = ImageNetInfo("imagenet22k")
    texts = {plain(nouns.index_to_description(n).split(",")[0]) for n in range(nouns.num_classes())}
    texts.update(_vocabulary(encoder))
    for pair in pairs:
        texts.update([pair.subject, *map(plain, pair.tags)])
    return sorted(texts - {""})


def lessons(texts: Sequence[str], encoder: str, folder: Path) -> Lessons:
    """Embed texts once; read their embeddings from `folder` later.

    Args:
        texts: all of them.
        encoder: folder or name of a sentence encoder with mean pooling, for transformers.
        folder: local.

    Raises:
        SettingsError: there is no such encoder.
    """
    path = folder / CACHE
    of = fingerprint(list(texts), identity(encoder))
    if path.exists() and of in (found := load_file(path)):
        return Lessons(texts, found[of])
    embeddings_TE = embed(texts, encoder)
    publish(path, save({of: embeddings_TE}))
    return Lessons(texts, embeddings_TE)


def identity(encoder: str) -> str:
    """Return the hash of a local encoder's weights, or the name of another."""
    weights = Path(encoder) / "model.safetensors"
    if not weights.exists():
        return encoder
    with weights.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


@torch.no_grad()
def embed(texts: Sequence[str], encoder: str) -> Tensor:
    """Return the mean of an encoder's outputs over the tokens of each text, of length 1.

    Raises:
        SettingsError: there is no such encoder.
    """
    from transformers import AutoModel

    tokenizer = _tokenizer(encoder)
    with _named(encoder):
        model: Any = AutoModel.from_pretrained(encoder, use_safetensors=True).eval()
    found: list[Tensor] = []
    for start in range(0, len(texts), AT_ONCE):
        batch = list(texts[start : start + AT_ONCE])
        tokens = tokenizer(
            batch, padding=True, truncation=True, max_length=TOKENS, return_tensors="pt"
        )
        mask = tokens["attention_mask"][..., None]
        summed = (model(**tokens).last_hidden_state * mask).sum(dim=1)
        found.append(F.normalize(summed / mask.sum(dim=1), dim=-1))
    return torch.cat(found)


def _vocabulary(encoder: str) -> set[str]:
    """Return the words of three letters and more that are one token of an encoder."""
    return {word for word in _tokenizer(encoder).get_vocab() if _WORD.fullmatch(word)}


def _tokenizer(encoder: str) -> Any:
    from transformers import AutoTokenizer

    with _named(encoder):
        return AutoTokenizer.from_pretrained(encoder)


@contextmanager
def _named(encoder: str) -> Iterator[None]:
    """Say which option an encoder was named by, where it cannot be read."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise SettingsError(f"--teacher {encoder}: {error}") from error
