"""What a recipe may say, and which of its words decide bytes."""

import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from schemas.caption_config import (
    CustomEngine,
    OpenAiEngine,
    TransformersEngine,
    VllmEngine,
)
from schemas.recipe import CrawlConfig, Recipe, members_of
from schemas.recipe_file import RecipeError, parse_recipe
from schemas.rule_config import Rule
from schemas.subsets import T2I

RULES = {
    "short_side": {"min": 64},
    "aspect": {"max": 4},
    "text_url": {"forbid": True},
    "host": {"in": ["a.org"], "not_in": ["b.a.org"], "matches": "a"},
    "either": {"any_of": [{"aspect": {"min": 1}}]},
}
SOURCES = [
    {"kind": "list", "name": "web", "path": "a.csv", "select": RULES},
    {"kind": "folder", "name": "drawn", "path": "images"},
    {"kind": "webdataset", "name": "packed", "path": "b.tar"},
    {"kind": "huggingface", "name": "hub", "path": "someone/set"},
]
SOURCES += [
    {"kind": "edits", "name": f"{of['name']}-edited", "of": {**of, "select": RULES}}
    for of in SOURCES[1:]
]
RECIPE = {
    "name": "small",
    "sources": SOURCES,
    "select": RULES,
}
SHA = "5e" * 32
CLIP = {"weights": "a.safetensors", "weights_sha256": SHA}
SCORERS = [
    {"score": "clip", "clip": CLIP},
    {"score": "aesthetic", "clip": CLIP, "head": "a.pth", "head_sha256": SHA},
    {
        "score": "nsfw",
        "voters": [{"voter": "laion", "clip": CLIP, "head": "n.pth", "head_sha256": SHA}],
    },
    {"score": "watermark", "weights": "w.pt", "weights_sha256": SHA},
    *({"score": name} for name in ("image_text", "faces", "language")),
    {"score": "custom", "name": "mine", "callable": "module:name"},
]
ENGINES = [
    {"engine": "openai", "name": "served", "url": "http://localhost:8000/v1", "model": "m"},
    {"engine": "transformers", "name": "local", "model": "m"},
    {"engine": "vllm", "name": "started", "model": "m"},
    {"engine": "custom", "name": "mine", "callable": "module:name"},
]
BSQ = {"tokenizer": "infinity_bsq"}
# What no byte of the corpus depends on, given the bytes of its sources and its pinned files.
IGNORED = {
    *(f"crawl.{knob}" for knob in CrawlConfig.EFFORT_FIELDS),
    *("sources.path", "sources.base_url", "sources.list", "decode.timeout_s"),
    *("sources.of.path", "sources.of.list"),
    *("vq_tokens.batch_size", "vq_tokens.tokenizers.checkpoint", "pair.templates"),
    *(
        "score.scorers.head",
        "score.scorers.weights",
        "score.scorers.clip.weights",
        "score.batch_size",
    ),
    *("dedup.against.path", "dedup.balance.entries", "crawl.known_hashes.path"),
    *("dedup.benchmarks.prompts", "dedup.benchmarks.images"),
    *("score.scorers.voters.head", "score.scorers.voters.clip.weights"),
    *(
        f"{stage}.gpu.{part}"
        for stage in ("score", "caption", "vq_tokens")
        for part in ("type", "count", "machine_type", "min_ram")
    ),
    "caption.cache",
    *(
        f"caption.engines.{knob}"
        for engine in (OpenAiEngine, TransformersEngine, VllmEngine, CustomEngine)
        for knob in engine.EFFORT_FIELDS
    ),
    *(f"max_failed_fraction.{s}" for s in ("ingest", "crawl", "measure", "caption", "pair")),
    *("max_failed_fraction.score", "max_failed_fraction.vq_tokens"),
}
# Fields that have one allowed value.
FIXED = {
    *("caption.engines.engine", "vq_tokens.tokenizers.tokenizer", "sources.kind"),
    "sources.of.kind",
    *("score.scorers.score", "score.scorers.voters.voter"),
}


def pinned() -> Recipe:
    tokenizers = [BSQ | {"checkpoint_sha256": SHA}]
    pins = {
        "pair": {"templates_sha256": SHA},
        "blur": {"margin": 0.3},
        "caption": {
            "styles": [{"style": "sentence"}],
            "engines": ENGINES,
            "fuse": {"engine": "served"},
            "instructions": {T2I.name: {"engine": "served"}},
            "questions": [{"name": "logo", "question": "Is there a logo?"}],
            "gpu": {"type": "nvidia-l4"},
        },
        "dedup": {
            "against": [{"path": "a", "name": "a", "manifest_sha256": SHA}],
            "semantic": {"eps": 0.1},
            "benchmarks": [
                {
                    "name": "eval",
                    "prompts": "p.txt",
                    "prompts_sha256": SHA,
                    "images": "i",
                    "images_sha256": SHA,
                }
            ],
            "balance": {"entries": "e.txt", "entries_sha256": SHA},
        },
        "crawl": {"known_hashes": [{"path": "h.txt", "name": "h", "sha256": SHA}]},
        "score": {"scorers": SCORERS, "gpu": {"type": "nvidia-l4"}},
        "vq_tokens": {
            "tokenizers": tokenizers,
            "gpu": {"type": "nvidia-l4"},
            "reconstruction": True,
        },
    }
    return parse_recipe(RECIPE | pins)


def other_value(annotation: Any, value: Any) -> Any:
    """Return a valid value of a field that differs from `value`."""
    if get_origin(annotation) is Literal:
        return next(choice for choice in get_args(annotation) if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return value / 2 + 0.125
    if isinstance(value, int):
        return value + 1
    if isinstance(value, tuple):
        return (*value, 512 if value and isinstance(value[0], int) else "another")
    if value is None:
        kind = next(part for part in get_args(annotation) if part is not type(None))
        return {float: 3.0, int: 7}.get(kind, "7")
    return {SHA: "7a" * 32, "#ffffff": "#000000"}.get(value, f"{value}x")


def models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    nested = get_origin(annotation) in (tuple, dict, Union, types.UnionType) or get_args(annotation)
    return [m for part in get_args(annotation) for m in models_in(part)] if nested else []


def changes(model: BaseModel, path: tuple[str, ...] = ()) -> Iterator[tuple[str, BaseModel]]:
    """Yield (dotted path, model with that one field changed) of every field of every part."""
    for name, info in type(model).model_fields.items():
        value, here = getattr(model, name), (*path, name)
        if ".".join(here) in FIXED:
            continue
        for where, changed in parts_changed(value, here, info.annotation):
            yield where, model.model_copy(update={name: changed})


def parts_changed(value: Any, path: tuple[str, ...], annotation: Any) -> Iterator[tuple[str, Any]]:
    if path[-1] == "any_of":  # of rules in rules without end
        yield ".".join(path), (*value, {"aspect": Rule(min=2)})
    elif isinstance(value, BaseModel):
        yield from changes(value, path)
    elif isinstance(value, dict) and not models_in(annotation):
        yield ".".join(path), value | {"sharpness": {"side": 7}}
    elif isinstance(value, dict):
        for name, part in value.items():
            for where, changed in changes(part, path):
                yield where, value | {name: changed}
    elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        for number, part in enumerate(value):
            for where, changed in changes(part, path):
                yield where, (*value[:number], changed, *value[number + 1 :])
    else:
        yield ".".join(path), other_value(annotation, value)


CHANGES = list(changes(pinned()))


def test_every_field_of_every_model_is_gone_through():
    seen = {where for where, _ in CHANGES}
    assert {*IGNORED} <= seen
    assert len(seen) == len(leaves(Recipe)) - len(FIXED)


def leaves(model: type[BaseModel], path: str = "") -> set[str]:
    found: set[str] = set()
    for name, info in model.model_fields.items():
        inner = [part for part in models_in(info.annotation) if part is not model]
        for part in inner:
            found |= leaves(part, f"{path}{name}.")
        if not inner:
            found.add(f"{path}{name}")
    return found


@pytest.mark.parametrize(("where", "changed"), CHANGES, ids=[where for where, _ in CHANGES])
def test_a_field_changes_the_fingerprint_if_it_decides_bytes(where: str, changed: Recipe):
    assert changed != pinned()
    assert (changed.fingerprint() == pinned().fingerprint()) == (where in IGNORED)


def test_files_that_are_not_pinned_yet_are_told_apart_by_name():
    bare = parse_recipe(RECIPE)
    words = parse_recipe(RECIPE | {"pair": {"templates": "mine.yaml"}})
    weights = parse_recipe(
        RECIPE | {"vq_tokens": {"tokenizers": [BSQ | {"checkpoint": "vae.pth"}]}}
    )
    assert len({r.fingerprint() for r in (bare, words, weights)}) == 3


def test_the_order_of_rules_changes_the_fingerprint():
    turned = dict(reversed(RECIPE["select"].items()))
    assert parse_recipe(RECIPE | {"select": turned}) == parse_recipe(RECIPE)
    assert (
        parse_recipe(RECIPE | {"select": turned}).fingerprint()
        != parse_recipe(RECIPE).fingerprint()
    )


@pytest.mark.parametrize("bound", [float("inf"), float("-inf"), float("nan")])
def test_a_bound_that_is_not_finite_is_refused(bound: float):
    with pytest.raises(RecipeError, match=r"select\.aspect\.max: .*finite"):
        parse_recipe(RECIPE | {"select": {"aspect": {"max": bound}}})


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({}, "a rule needs min, max, forbid: true, in, not_in, matches or any_of"),
        ({"min": 5, "max": 4}, "min is over max"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(rule: dict, message: str):
    with pytest.raises(RecipeError, match=f"recipe: select.aspect: {message}"):
        parse_recipe(RECIPE | {"select": {"aspect": rule}})


def test_a_rule_with_equal_bounds_is_allowed():
    recipe = parse_recipe(RECIPE | {"select": {"aspect": {"min": 1, "max": 1}}})
    assert recipe.select["aspect"].min == 1


def tokenizers(*parts: dict[str, Any], **rest: Any) -> Recipe:
    return parse_recipe(RECIPE | {"vq_tokens": {"tokenizers": list(parts), **rest}})


def test_members_are_named_by_tokenizer_and_resolution():
    bsq, var = tokenizers(
        BSQ | {"resolutions": [256, 512], "features": True},
        {"tokenizer": "var_vqvae", "name": "var", "features": True},
    ).vq_tokens.tokenizers
    assert members_of(bsq, 256) == ["tokens256.npy", "features256.npy"]
    assert members_of(bsq, 512) == ["tokens512.npy", "features512.npy"]
    assert members_of(var, 256) == ["var256.npy", "var_features256.npy"]


def test_two_tokenizers_may_not_write_the_same_member():
    with pytest.raises(RecipeError, match=r"more than one tokenizer writes tokens256\.npy"):
        tokenizers(BSQ, {"tokenizer": "var_vqvae"})


def test_a_tokenizer_of_squares_is_refused_for_buckets():
    with pytest.raises(RecipeError, match="var: var_vqvae has square schedules only"):
        tokenizers({"tokenizer": "var_vqvae", "name": "var"}, aspects="buckets")


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        ({"tokenizer": "vqgan"}, r"'infinity_bsq', 'var_vqvae'"),
        (BSQ | {"preset": "full"}, r"'d32' or 'd64', got 'full'"),
        (BSQ | {"resolutions": [300]}, r"128, 256, 512, 768 or 1024, got 300"),
        ({"tokenizer": "var_vqvae", "resolutions": [1024]}, r"256 or 512, got 1024"),
        (BSQ | {"resolutions": []}, r"at least 1 item"),
    ],
)
def test_what_a_tokenizer_cannot_do_is_refused_with_what_it_can(tokenizer: dict, message: str):
    with pytest.raises(RecipeError, match=message):
        tokenizers(tokenizer)
