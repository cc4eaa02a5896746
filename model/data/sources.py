"""The sources of a plan, with manifests checked against tokenizer and plan."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from model.data.manifest import (
    DataError,
    ShardFile,
    Source,
    TokenMember,
    content_of,
    read_manifest,
    subset_of,
    token_members,
)
from model.data.plan import LoadPlan, SelfCorrection, node_span
from model.tokenizers.network_tokenizer import NetworkTokenizer
from schemas.subsets import SUBSETS, Subset

if TYPE_CHECKING:
    from transformers import Qwen2VLImageProcessorPil


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OpenSource:
    """A source whose manifest was read and checked."""

    source: Source
    shards: tuple[ShardFile, ...]
    content: str  # hash of the shards
    samples: int  # of all nodes
    span: range  # positions of an epoch's order that this node reads
    codes: TokenMember | None  # None where nothing is generated
    features: str | None = None  # member to read for exact self-correction

    @property
    def subset(self) -> Subset:
        """What its samples consist of."""
        return SUBSETS[self.source.subset]

    @property
    def members(self) -> list[str]:
        """What to read of each sample."""
        input_image = self.subset.input_image
        return [
            "json",
            *(self.subset.of_images(self.codes.member) if self.codes else ()),
            *([self.features] if self.features else []),
            *([input_image] if input_image else []),
        ]


def open_sources(
    plan: LoadPlan,
    tokenizer: NetworkTokenizer | None,
    image_processor: "Qwen2VLImageProcessorPil | None",
) -> tuple[list[OpenSource], SelfCorrection]:
    """Read and check the manifests of a plan's sources.

    Returns:
        the sources, and the kind of self-correction. It is the plan's if set; else off for pairs,
        which are compared as drawn, and for codes without bits; exact if every source has features;
        approximate otherwise.

    Raises:
        DataError: a manifest is missing or does not fit, or a source lacks its tokenizer or image
            processor.
    """
    opened = [_open(source, plan, tokenizer) for source in plan.sources]
    check_kinds(plan.sources)
    for each in opened:
        if each.subset.input_image and image_processor is None:
            raise DataError(f"{each.source}: its images need the backbone's image processor")
    kind = _self_correction(plan, opened)
    return opened if kind == "exact" else [replace(each, features=None) for each in opened], kind


def check_kinds(sources: Sequence[Source]) -> None:
    """Check that samples of these sources can be in one batch.

    Raises:
        DataError: some are pairs of images, and others are not.
    """
    if len({SUBSETS[each.subset].is_pairs for each in sources}) > 1:
        listed = ", ".join(map(str, sources))
        raise DataError(f"pairs cannot be mixed with other samples: {listed}")


def _self_correction(plan: LoadPlan, opened: list[OpenSource]) -> SelfCorrection:
    generated = [each for each in opened if each.codes]
    lacking = [each.source for each in generated if not each.features]
    if plan.self_correction == "exact" and lacking:
        raise DataError(f"{lacking[0]}: no features of {plan.member} for exact self-correction")
    if plan.self_correction is not None:
        return plan.self_correction
    pairs = any(each.subset.is_pairs for each in generated)
    if pairs or not any(each.codes and each.codes.bits for each in generated):
        return "off"
    return "approximate" if lacking else "exact"


def _open(source: Source, plan: LoadPlan, tokenizer: NetworkTokenizer | None) -> OpenSource:
    if source.subset not in SUBSETS:
        raise DataError(f"{source}: unknown subset, expected one of {', '.join(SUBSETS)}")
    manifest = read_manifest(source.url)
    subset = subset_of(source, manifest)
    codes = features = None
    if SUBSETS[source.subset].generated:
        codes, features = token_members(source, manifest, plan.member)
        if tokenizer is None:
            raise DataError(f"{source}: {plan.member} needs the tokenizer that made it")
        check_tokenizer(codes, source, tokenizer)
    samples = sum(shard.samples for shard in subset.shards)
    try:
        span = node_span(samples, plan.node, plan.nodes)
    except ValueError as error:
        raise DataError(f"{source}: {error}") from error
    return OpenSource(
        source=source,
        shards=subset.shards,
        content=content_of(subset),
        samples=samples,
        span=span,
        codes=codes,
        features=features.member if features else None,
    )


def check_tokenizer(member: TokenMember, source: Source, tokenizer: NetworkTokenizer) -> None:
    """Check that a tokenizer made the codes of a corpus.

    Raises:
        DataError: weights, sizes or vocabulary differ, or the tokenizer cannot use a schedule.
    """
    mine = {"bits": 0, "patchify": 0, **tokenizer.describe()}
    names = ["name", "checkpoint_sha256", "codes_limit", "code_words", "bits", "patchify"]
    # Random weights have no hash; their name tells the seed.
    names += [] if member.checkpoint_sha256 else ["checkpoint"]
    differing = [
        f"{name} {getattr(member, name)!r} in the shards, {mine[name]!r} in the tokenizer"
        for name in names
        if getattr(member, name) != mine[name]
    ]
    if differing:
        raise DataError(f"{source}: another tokenizer made {member.member}: {'; '.join(differing)}")
    for aspect, scales in member.schedules.items():
        try:
            tokenizer.check_schedule(member.schedule(float(aspect)))
        except ValueError as error:
            raise DataError(
                f"{source}: {member.member} of aspect {aspect} has scales {scales!r} in the "
                f"shards, which the tokenizer {tokenizer.name} cannot use: {error}"
            ) from error
