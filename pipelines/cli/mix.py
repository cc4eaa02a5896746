"""The command `mix`: what stages of training draw from corpora, as a table or as JSON."""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Any

from pipelines.cli.train import STAGES, add_corpora, add_settings

if TYPE_CHECKING:
    from model.training.mix import Mix, Part
    from model.training.sources import Corpus

ALL = "all"
COUNTED = (
    "codes: of the images to generate, over all scales; neither words nor images that are asked "
    "about are counted"
)
_HEAD = ("corpus", "subset", "samples", "share", "drawn", "epochs", "codes", "stands in", "recipe")
_OF_PAPER = ("stands in", "recipe")  # columns of published corpora alone
_RIGHT = ("samples", "share", "drawn", "epochs", "codes")  # columns of numbers


def add_mix(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mix`."""
    parser.epilog = (
        "Without --data, the corpora are those of the paper, divided by their sizes. Only "
        "manifests are read."
    )
    parser.add_argument(
        "stages",
        nargs="*",
        choices=(*STAGES, ALL),
        default=ALL,  # a word, no list: argparse compares it with the choices
        metavar="STAGE",
        help=f"of `train`; may be repeated (default: {ALL} of VARGPT's)",
    )
    add_corpora(parser, required=False, help="OUT of a build, as for `train`; may be repeated")
    add_settings(parser, help="change a value of the recipe of each stage, e.g. steps=500")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print what each stage draws from each corpus.

    Raises:
        UserError: a corpus cannot be read, a value of a recipe is wrong, or no corpus has the
            samples or codes of a stage; a line for each stage.
    """
    from model.training.recipe import stages
    from model.training.sources import Corpus

    given = [ALL] if options.stages == ALL else options.stages
    listed = [stages() if name == ALL else [name] for name in given]
    names = list(dict.fromkeys(chain.from_iterable(listed)))
    corpora = [Corpus.open(text) for text in options.data]
    mixes, faults = _mixes(names, corpora, options.overrides)
    if options.json:
        print(json.dumps({"stages": [_as_json(mix) for mix in mixes], "faults": faults}))
    elif mixes:
        print("\n".join(_lines(mixes)))
    if faults:
        from model.data.manifest import DataError

        raise DataError("\n".join(faults))
    return 0


def _mixes(
    names: Sequence[str], corpora: Sequence["Corpus"], overrides: Sequence[str]
) -> tuple[list["Mix"], list[str]]:
    """Return the mixes of stages, and a line for each stage that the corpora do not fit."""
    from model.data.manifest import DataError
    from model.training.mix import built_mix, published_mix
    from model.training.recipe import stage_recipe

    mixes: list[Mix] = []
    faults: list[str] = []
    for recipe in [stage_recipe(name, overrides) for name in names]:
        try:
            mixes.append(built_mix(recipe, corpora) if corpora else published_mix(recipe))
        except DataError as error:
            text = str(error)
            named = text.startswith(f"stage {recipe.stage} ")
            faults.append(text if named else f"stage {recipe.stage}: {text}")
    return mixes, faults


def _lines(mixes: Sequence["Mix"]) -> Iterator[str]:
    for mix in mixes:
        yield (
            f"{mix.stage}: {mix.steps:,} steps x {mix.batch:,} = {mix.drawn:,} samples, "
            f"{mix.member}"
        )
        rows = [_row(part) for part in mix.parts]
        if len(rows) > 1:
            rows.append(_total(mix))
        yield from _table(rows)
        if mix.note:
            yield f"  note: {mix.note}"
        yield ""
    if len(mixes) > 1:
        codes = [sum(each) for each in zip(*(mix.codes for mix in mixes), strict=True)]
        drawn = sum(mix.drawn for mix in mixes)
        yield f"{len(mixes)} stages: {drawn:,} samples, {_span(*codes)} codes"
    yield COUNTED


def _row(part: "Part") -> list[str]:
    return [
        part.corpus or "-",
        part.subset,
        " or ".join(f"{samples:,}" for samples in part.samples) or "-",
        f"{part.share:.2%}",
        f"{part.drawn:,}",
        " or ".join(f"{epochs:,.2f}" for epochs in part.epochs) or "-",
        _span(*part.codes),
        part.where,
        part.build,
    ]


def _total(mix: "Mix") -> list[str]:
    known = all(len(part.samples) == 1 for part in mix.parts)
    samples = f"{sum(part.samples[0] for part in mix.parts):,}" if known else ""
    return ["all", "", samples, "100.00%", f"{mix.drawn:,}", "", _span(*mix.codes), "", ""]


def _span(least: int, most: int) -> str:
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    lines = [_HEAD, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    published = any(row[-1] for row in rows)
    for line in lines:
        cells = [
            cell.rjust(width) if name in _RIGHT else cell.ljust(width)
            for name, cell, width in zip(_HEAD, line, widths, strict=True)
            if published or name not in _OF_PAPER
        ]
        yield "  " + "  ".join(cells).rstrip()


def _as_json(mix: "Mix") -> dict[str, Any]:
    parts = [{**asdict(part), "epochs": part.epochs, "codes": part.codes} for part in mix.parts]
    return {**asdict(mix), "drawn": mix.drawn, "codes": mix.codes, "parts": parts}
