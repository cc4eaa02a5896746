"""Print how well the rules agree with labels, as Markdown: `make judged` builds and runs it.

    python tools/judge_labels.py build/judged

The folder is a build of tests/labels/judged.yaml; the images are read from where its source is.
Takes half a minute.
"""

import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from judged_copies import copy_table
from judged_rows import (
    COLOURS,
    DISTANCES_OF_ROWS,
    near_pairs,
    read_source,
    with_corpus_columns,
    within,
)
from labels import PNG, RECIPE, Labelled, emoji_family, read_images, read_pairs

from filters.rules import columns_in, passing
from pipelines.thresholds.agreement import Share, weighted_share
from schemas.recipe import Recipe
from schemas.recipe_file import load_recipe
from schemas.rule_config import Rule
from schemas.store.storage import Storage

RECIPES = ("openclipart", "vargpt-v1.1")
DISTANCES = (0, 2, 4, 6, 8, 10, 12, 16, 20)  # bits
DISTANCES_OF_SERIES = (4, 10, 20)  # bits; strata of cards and stars end here
ANY_COLOUR = 255

Rules = Mapping[str, Rule]
# What rules are to find, and the labels that say so.
KINDS: Mapping[str, Sequence[str]] = {
    "blank": ("blank",),
    "blank or almost empty": ("blank", "almost_empty"),
    "boilerplate": ("boilerplate_title", "boilerplate_description"),
    "unsafe crop": ("unsafe_crop",),
    "text-heavy": ("text_heavy",),
    "unsafe": ("unsafe",),
    "same": ("same",),
    "same or variant": ("same", "variant"),
}
KIND_OF_COLUMN = {
    "blank_fraction": "blank",
    "aspect": "unsafe crop",
    "crop_loss": "unsafe crop",
    "nsfw": "unsafe",
}
WORDS = "image_text_area max 0.1 if two characters are read"
# Rules that no recipe has, or not with these thresholds.
OTHERS: Sequence[tuple[Rules, str]] = (
    *(({"blank_fraction": Rule(max=most)}, "blank") for most in (0.95, 0.999)),
    *(({"blank_fraction": Rule(max=most)}, "blank or almost empty") for most in (0.95, 0.98, 0.99)),
    *(({"text_rows": Rule(max=most)}, "boilerplate") for most in (5, 10)),
    ({"text_chars": Rule(min=5)}, "boilerplate"),
    ({"aspect": Rule(min=0.333, max=3)}, "unsafe crop"),
    *(({"crop_loss": Rule(max=most)}, "unsafe crop") for most in (0.2, 0.25, 0.3, 0.4)),
    *(({"image_text_area": Rule(max=most)}, "text-heavy") for most in (0.05, 0.1, 0.3)),
    (
        {
            WORDS: Rule(
                any_of=({"image_text_area": Rule(max=0.1)}, {"image_text": Rule(matches="^.?$")})
            )
        },
        "text-heavy",
    ),
    *(
        ({f"near_{bits}": Rule(forbid=True)}, kind)
        for kind in ("same", "same or variant")
        for bits in DISTANCES_OF_ROWS
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How well what is found agrees with labels."""

    found: int  # labelled ones that are found
    good: int  # labelled ones with the label that was meant
    precision: Share  # of what is found: those with the label
    recall: Share  # of those with the label: what is found


def finding(rows: Sequence[Labelled], found: np.ndarray, kind: str) -> Finding:
    """Compare what is found, a bool a row, with the labels of a kind."""
    good = np.array([not row.labels.isdisjoint(KINDS[kind]) for row in rows], bool)
    weights = np.array([row.weight for row in rows], float)
    return Finding(
        found=int(found.sum()),
        good=int(good.sum()),
        precision=weighted_share(good[found], weights[found]),
        recall=weighted_share(found[good], weights[good]),
    )


def rules_of(recipe: Recipe) -> Iterator[tuple[Rules, str]]:
    """Yield the rules of a recipe, and what each is to find."""
    texts = {column: rule for column, rule in recipe.select.items() if column.startswith("text_")}
    repeats = {"text_rows": Rule(max=recipe.dedup.max_text_repeats)}
    for column, rule in recipe.select.items():
        if kind := KIND_OF_COLUMN.get(column):
            yield {column: rule}, kind
    for column, rule in texts.items():
        yield {column: rule}, "boilerplate"
    for rules in (texts, repeats, {**texts, **repeats}):
        yield rules, "boilerplate"


def all_rules() -> list[tuple[str, Rules, str]]:
    """Return rules with the recipes that have them, and what each is to find, by kind."""
    folder = Path(__file__).parent.parent / "pipelines/recipes"
    found: dict[tuple[str, str, str], tuple[Rules, list[str]]] = {}
    for name in RECIPES:
        for rules, kind in rules_of(load_recipe(str(folder / f"{name}.yaml"))):
            said = repr(rules) if len(rules) > 1 else ""
            found.setdefault((named(rules), said, kind), (rules, []))[1].append(name)
    known = [(", ".join(recipes), rules, kind) for (*_, kind), (rules, recipes) in found.items()]
    kinds = list(KINDS)
    return sorted([*known, *(("", *other) for other in OTHERS)], key=lambda r: kinds.index(r[2]))


def named(rules: Rules) -> str:
    """Name rules in a table."""
    if len(rules) > 1:
        return "all on texts" if "text_rows" in rules else "all on texts but text_rows"
    [(column, rule)] = rules.items()
    bounds = [(name, getattr(rule, name)) for name in ("min", "max")]
    return " ".join([column, *(f"{name} {bound:g}" for name, bound in bounds if bound is not None)])


def shown(share: Share) -> str:
    """Write a share with its interval; a dash where nothing is known."""
    if math.isnan(share.value):
        return "-"
    return f"{share.value:.2f} ({share.low:.2f} to {share.high:.2f})"


def line(*cells: object) -> str:
    """Write a row of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def broken(rows: pa.Table, rules: Rules) -> np.ndarray:
    """Return whether each row breaks a rule, bool."""
    return ~passing(rows, rules).to_numpy(zero_copy_only=False)


def rule_table(rows: pa.Table, images: Sequence[Labelled]) -> Iterator[str]:
    """Yield the lines of the table of rules on images."""
    place = {url: number for number, url in enumerate(rows["url"].to_pylist())}
    labelled = rows.take([place[PNG + image.paths[0]] for image in images])
    yield "| to find | rule | recipe | drops | labelled | precision | recall |"
    yield "|---|---|---|--:|--:|--:|--:|"
    for recipe, rules, kind in all_rules():
        is_scored = any(rows[column].null_count for column in columns_in(rules))
        drops = "-" if is_scored else f"{broken(rows, rules).sum():,}"
        result = finding(images, broken(labelled, rules), kind)
        shares = shown(result.precision), shown(result.recall)
        yield line(kind, named(rules), recipe, drops, result.found, *shares)


def pair_table(rows: pa.Table, pairs: np.ndarray, labelled: Sequence[Labelled]) -> Iterator[str]:
    """Yield the lines of the table of distances between labelled pairs."""
    urls = rows["url"].to_pylist()
    distance = {(urls[pair[0]], urls[pair[1]]): pair for pair in pairs}
    yield "| pairs | bits | levels | labelled | precision | recall | of same | recall of same |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for group in ("others", "cards", "stars"):
        chosen = [pair for pair in labelled if pair.stratum.startswith(group)]
        measured = np.array([distance[PNG + a, PNG + b] for a, b in (p.paths for p in chosen)])
        for bits in DISTANCES if group == "others" else DISTANCES_OF_SERIES:
            for levels in (COLOURS, ANY_COLOUR):
                found = within(measured, bits, levels)
                results = [finding(chosen, found, kind) for kind in ("same or variant", "same")]
                shares = [shown(s) for result in results for s in (result.precision, result.recall)]
                yield line(group, bits, said(levels), results[0].found, *shares)


def emoji_table(rows: pa.Table) -> Iterator[str]:
    """Yield the lines of the table of distances between all emoji."""
    urls: list[Any] = rows["url"].to_pylist()
    families = [emoji_family(Path(url).stem) for url in urls]
    pairs = near_pairs(rows)
    alike = np.array([families[a] == families[b] for a, b in pairs[:, :2]])
    of_family = sum(count * (count - 1) // 2 for count in Counter(families).values())
    yield "| bits | levels | pairs | of one family | precision | recall |"
    yield "|--:|--:|--:|--:|--:|--:|"
    for bits in DISTANCES:
        for levels in (COLOURS, ANY_COLOUR):
            found = within(pairs, bits, levels)
            all_found, good = int(found.sum()), int((alike & found).sum())
            shares = f"{good / max(1, all_found):.3f}", f"{good / of_family:.3f}"
            yield line(bits, said(levels), f"{all_found:,}", f"{good:,}", *shares)


def said(levels: int) -> str:
    """Name a colour distance in a table."""
    return "any" if levels == ANY_COLOUR else str(levels)


def main(corpus: str) -> None:
    """Print the four tables."""
    store = Storage(corpus)
    rows, images = read_source(store, "openclipart"), read_images()
    pairs = near_pairs(rows)
    [folder] = (s.path for s in load_recipe(str(RECIPE)).sources if s.name == "openclipart")
    for lines in (
        rule_table(with_corpus_columns(rows, pairs), images),
        pair_table(rows, pairs, read_pairs()),
        copy_table(Path(folder), images),
        emoji_table(read_source(store, "fluent-emoji")),
    ):
        print("\n".join(lines), end="\n\n")


if __name__ == "__main__":
    main(sys.argv[1])
