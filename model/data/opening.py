"""Sources to what can be read: their manifests, checked against tokenizer and plan."""

from dataclasses import replace
from typing import TYPE_CHECKING

from model.data.codes import SelfCorrection, check_tokenizer
from model.data.making import OpenSource
from model.data.manifest import (
    DataError,
    Source,
    content_of,
    read_manifest,
    subset_of,
    token_members,
)
from model.data.plan import LoadPlan
from model.data.samples import GENERATED, PAIR, UNDERSTOOD
from model.data.split import node_span
from model.tokenizers.network_tokenizer import NetworkTokenizer

if TYPE_CHECKING:
    from transformers import Qwen2VLImageProcessorPil


def open_sources(
    plan: LoadPlan,
    tokenizer: NetworkTokenizer | None,
    image_processor: "Qwen2VLImageProcessorPil | None",
) -> tuple[list[OpenSource], SelfCorrection]:
    """Read the manifests of a plan's sources.

    Returns:
        the sources, and the kind of self-correction: the plan's, or else exact where every source
        has features, approximate where one has none, off for pairs, which are compared as they
        were drawn, and for codes that are no bits.

    Raises:
        DataError: a manifest that is missing or does not fit, or something that a source needs.
    """
    opened = [_open(source, plan, tokenizer) for source in plan.sources]
    if len({each.images == PAIR for each in opened}) > 1:
        listed = ", ".join(map(str, plan.sources))
        raise DataError(f"pairs are learned by themselves, not mixed with other samples: {listed}")
    for each in opened:
        if UNDERSTOOD[each.source.subset] and image_processor is None:
            raise DataError(f"{each.source}: its images need the backbone's image processor")
    kind = _self_correction(plan, opened)
    return opened if kind == "exact" else [replace(each, features=None) for each in opened], kind


def _self_correction(plan: LoadPlan, opened: list[OpenSource]) -> SelfCorrection:
    generated = [each for each in opened if each.codes]
    lacking = [each.source for each in generated if not each.features]
    if plan.self_correction == "exact" and lacking:
        raise DataError(f"{lacking[0]}: no features of {plan.member} for exact self-correction")
    if plan.self_correction is not None:
        return plan.self_correction
    pairs = any(each.images == PAIR for each in generated)
    if pairs or not any(each.codes and each.codes.bits for each in generated):
        return "off"
    return "approximate" if lacking else "exact"


def _open(source: Source, plan: LoadPlan, tokenizer: NetworkTokenizer | None) -> OpenSource:
    if source.subset not in GENERATED:
        raise DataError(f"{source}: unknown subset, expected one of {', '.join(GENERATED)}")
    manifest = read_manifest(source.url)
    subset = subset_of(source, manifest)
    codes = features = None
    if GENERATED[source.subset]:
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
