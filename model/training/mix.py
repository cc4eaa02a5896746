"""What a stage draws from each corpus: shares, samples, epochs and codes.

The figures come from the functions that a training uses: `sources_of` divides the shares, `drawn`
counts as the loader's order does, and the manifest says how many samples and codes there are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from model.data.manifest import Manifest, Source, subset_of, token_members
from model.data.order import drawn
from model.data.sources import check_kinds
from model.tokenizers.protocol import count_codes
from model.tokenizers.schedules import bsq_schedule
from model.training.published import PublishedCorpus
from model.training.recipe import Recipe
from model.training.sources import Corpus, sources_of
from schemas.subsets import SUBSETS


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What a stage draws from one subset of one corpus."""

    corpus: str  # URL of a built one, name of a published one, '' if no corpus is known
    subset: str
    samples: tuple[int, ...]  # in the corpus; two where the paper gives two, () if unknown
    share: float  # of the mixture, 0 to 1
    drawn: int  # samples, in the whole stage
    codes_of_sample: tuple[int, int]  # least and most, over the shapes of images
    where: str = ""  # section or figure of the paper that has the number
    build: str = ""  # recipe in pipelines/recipes that builds such a corpus

    @property
    def epochs(self) -> tuple[float, ...]:
        """How often the stage sees the corpus, for each number of samples."""
        return tuple(self.drawn / samples for samples in self.samples)

    @property
    def codes(self) -> tuple[int, int]:
        """Codes of the samples drawn, least and most."""
        least, most = self.codes_of_sample
        return self.drawn * least, self.drawn * most


@dataclass(frozen=True, kw_only=True, slots=True)
class Mix:
    """What a stage draws from all corpora."""

    stage: str
    steps: int
    batch: int  # samples per step
    member: str  # codes that are trained on
    parts: tuple[Part, ...]
    note: str  # of the paper's numbers

    @property
    def drawn(self) -> int:
        """Samples of the stage."""
        return self.steps * self.batch

    @property
    def codes(self) -> tuple[int, int]:
        """Codes of the stage, least and most."""
        return sum(part.codes[0] for part in self.parts), sum(part.codes[1] for part in self.parts)


def built_mix(recipe: Recipe, corpora: Sequence[Corpus]) -> Mix:
    """Return what a stage draws from built corpora; only their manifests are read.

    With several streams of samples, each divides its own part, so a count may differ by one or two
    a stream.

    Raises:
        DataError: no corpus has a subset of the stage or its codes, or the kinds cannot be mixed.
    """
    sources = sources_of(recipe, corpora)
    check_kinds(sources)
    manifests = {each.url: each.manifest for each in corpora}
    weights = [source.weight for source in sources]
    counts = drawn(weights, recipe.steps * recipe.batch)
    parts = [
        Part(
            corpus=source.url,
            subset=source.subset,
            samples=(subset_of(source, manifests[source.url]).samples,),
            share=source.weight / sum(weights),
            drawn=count,
            codes_of_sample=_codes(source, manifests[source.url], recipe.member),
        )
        for source, count in zip(sources, counts, strict=True)
    ]
    return _mix(recipe, parts, note="")


def published_mix(recipe: Recipe) -> Mix:
    """Return what a stage draws from the corpora of the paper, divided by their sizes.

    Codes are those of Infinity's tokenizer for square images. A subset for which no corpus is
    published has one part, without samples.
    """
    wanted = [
        (corpus, subset, share * _size(corpus) / sum(map(_size, corpora)))
        for subset, share in recipe.mix.items()
        for corpora in [_published(recipe, subset)]
        for corpus in corpora
    ]
    weights = [weight for _, _, weight in wanted]
    counts = drawn(weights, recipe.steps * recipe.batch)
    codes_of_image = count_codes(bsq_schedule(1.0, recipe.resolution))
    codes = {subset: codes_of_image * len(SUBSETS[subset].generated) for subset in recipe.mix}
    parts = [
        Part(
            corpus=corpus.name if corpus else "",
            subset=subset,
            samples=corpus.samples if corpus else (),
            share=weight / sum(weights),
            drawn=count,
            codes_of_sample=(codes[subset], codes[subset]),
            where=corpus.where if corpus else "",
            build=corpus.build if corpus else "",
        )
        for (corpus, subset, weight), count in zip(wanted, counts, strict=True)
    ]
    return _mix(recipe, parts, note=recipe.published.note)


def _mix(recipe: Recipe, parts: Iterable[Part], note: str) -> Mix:
    return Mix(
        stage=recipe.stage,
        steps=recipe.steps,
        batch=recipe.batch,
        member=recipe.member,
        parts=tuple(parts),
        note=note,
    )


def _codes(source: Source, manifest: Manifest, member: str) -> tuple[int, int]:
    """Return the least and the most codes of a sample, over the shapes that the corpus may have.

    Raises:
        DataError: the corpus has no such codes.
    """
    images = len(SUBSETS[source.subset].generated)
    if not images:
        return 0, 0
    member_of, _ = token_members(source, manifest, member)
    counts = [count_codes(member_of.schedule(float(each))) for each in member_of.schedules]
    return images * min(counts), images * max(counts)


def _published(recipe: Recipe, subset: str) -> Sequence[PublishedCorpus | None]:
    found = [corpus for corpus in recipe.published.corpora if corpus.subset == subset]
    return found or [None]


def _size(corpus: PublishedCorpus | None) -> int:
    return corpus.samples[0] if corpus else 1
