"""The input of a training: corpora with their shares, and the tokenizer of their codes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from filters.compute import compute_on
from model.data.manifest import DataError, Manifest, Source, read_manifest, token_members
from model.tokenizers.load import load_tokenizer
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.training.recipe import Recipe
from schemas.subsets import SUBSETS


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """A built corpus, and its weight relative to other corpora."""

    url: str
    weight: float
    manifest: Manifest

    @classmethod
    def open(cls, text: str) -> "Corpus":
        """Read the manifest of `URL` or `URL:WEIGHT`.

        Raises:
            DataError: the manifest is missing or invalid.
        """
        url, weight = split_weight(text)
        return cls(url=url, weight=weight, manifest=read_manifest(url))


def split_weight(text: str) -> tuple[str, float]:
    """Split `URL:WEIGHT`; the default weight is 1.

    Raises:
        DataError: the weight is not positive.

    >>> split_weight("gs://bucket/out:0.5"), split_weight("build/demo")
    (('gs://bucket/out', 0.5), ('build/demo', 1.0))
    """
    url, colon, last = text.rpartition(":")
    try:
        weight = float(last)
    except ValueError:
        return text, 1.0
    if not colon:
        return text, 1.0
    if not 0 < weight < math.inf:
        raise DataError(f"--data {text}: expected a positive weight, not {last}")
    return url, weight


def sources_of(recipe: Recipe, corpora: Sequence[Corpus]) -> tuple[Source, ...]:
    """Divide the share of each subset in a recipe's mix among the corpora that have it.

    Raises:
        DataError: no corpus has a subset; names the subsets of each corpus.
    """
    sources: list[Source] = []
    for subset, share in recipe.mix.items():
        matching = [each for each in corpora if _samples(each, subset)]
        if not matching:
            raise DataError(
                f"stage {recipe.stage} trains on {subset!r} samples; "
                + "; ".join(f"{each.url} has {_subsets(each)}" for each in corpora)
            )
        total = sum(each.weight for each in matching)
        sources += [
            Source(url=each.url, subset=subset, weight=share * each.weight / total)
            for each in matching
        ]
    return tuple(sources)


def tokenizer_of(recipe: Recipe, sources: Sequence[Source], device: str) -> NetworkTokenizer | None:
    """Load the tokenizer that made the codes, with the schedule of square images.

    The first source decides the tokenizer; the loader later checks it against every source.

    Returns:
        the tokenizer; None if no image is generated.

    Raises:
        DataError: no such codes, or the tokenizer's weights are missing or do not fit.
    """
    generating = [each for each in sources if SUBSETS[each.subset].generated]
    if not generating:
        return None
    first = generating[0]
    member, _ = token_members(first, read_manifest(first.url), recipe.member)
    schedule = member.schedule(1.0)
    try:
        return load_tokenizer(
            member.name,
            preset=recipe.tokenizer_preset,
            checkpoint=recipe.tokenizer_checkpoint,
            compute=compute_on(device),
        ).with_schedule(schedule)
    except (ValueError, OSError) as error:
        raise DataError(
            f"{first.url}: {member.name} {member.checkpoint} made {member.member}; "
            f"tokenizer_preset {recipe.tokenizer_preset}, tokenizer_checkpoint "
            f"{recipe.tokenizer_checkpoint}: {error}"
        ) from error


def _samples(corpus: Corpus, subset: str) -> int:
    found = corpus.manifest.subsets.get(subset)
    return found.samples if found else 0


def _subsets(corpus: Corpus) -> str:
    return ", ".join(name for name in corpus.manifest.subsets if _samples(corpus, name)) or "none"
