"""The compare command: draw the same prompts with two models, and compare their scores.

Both models use the same random numbers, and scores are compared prompt by prompt.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL.Image import Image

from model.preferences.prompts import read_prompts
from model.preferences.scorers import ScorerPlan
from model.preferences.statistics import Comparison, compare
from model.training.samples import grid
from model.training.trained import trained_sha256
from pipelines.out_folder import own_folder
from pipelines.preferences.commands import sampling_of, scorer_of
from pipelines.preferences.drawing import Drawing, scores_of
from pipelines.preferences.prompts import COMPARISON, FOLDER, holds_prompts, write_prompts
from pipelines.preferences.tools import ToolsPlan, described_sampling, tools
from pipelines.runtime.sidecar import Reject, read_table, sidecar_path
from pipelines.shards.manifest import MANIFEST
from schemas.recipe import DecodeConfig
from schemas.store.errors import SettingsError
from schemas.store.lock import build_lock
from schemas.store.storage import CorpusError, Storage, absolute

SEED: Final = "compare"
PROMPTS_AT_ONCE: Final = 512
PAIRS: Final = "preferences"  # folder of side-cars of the command of that name
SHOWN: Final = 12  # prompts in `images.png`, with the first image of each model


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """The scores of a model's images of one prompt, and the first image."""

    text: str
    scores: list[float]  # one an image
    image: Image  # the first one


def run(options: argparse.Namespace) -> int:
    """Compare two models and write the results to the folder `--out`.

    `scores.parquet` has every score, `comparison.json` the result with its settings, `images.png`
    the images of the first prompts.

    Raises:
        UserError: a model, a prompt file or the scorer cannot be used.
    """
    if "://" in options.out:
        raise CorpusError(f"--out {options.out}: expected a local folder")
    store = own_folder(options.out, "comparison", _holds_comparison)
    with build_lock(store, force_unlock=options.force_unlock):
        _compare(options, store, Path(store.root))
    return 0


def _holds_comparison(store: Storage) -> bool:
    return holds_prompts(store) and not store.exists(MANIFEST) and not store.listing(PAIRS)


def _compare(options: argparse.Namespace, store: Storage, out: Path) -> None:
    if min(options.samples, options.batch) < 1 or not 0 < options.confidence < 1:
        raise SettingsError("--samples and --batch must be 1 or more, --confidence between 0 and 1")
    scorer = scorer_of(options)
    assert scorer is not None, "--scorer is required"
    plans = [_plan(model, scorer, options) for model in (options.before, options.after)]
    rows = _rows(options.prompts, store)
    drawing = Drawing(
        store=store,
        decode=DecodeConfig(),
        samples=options.samples,
        batch=options.batch,
        with_given=False,
    )
    before, after = (_scored(plan, rows, drawing) for plan in plans)
    keys = [row["key"] for row in rows if row["key"] in before and row["key"] in after]
    found = compare(
        [float(np.mean(before[key].scores)) for key in keys],
        [float(np.mean(after[key].scores)) for key in keys],
        confidence=options.confidence,
    )
    facts = {
        **asdict(found),
        "samples": options.samples,
        "models": {"before": plans[0].model_sha256, "after": plans[1].model_sha256},
        "scorer": scorer.name,
        "sampling": described_sampling(asdict(plans[0].sampling)),
    }
    (out / COMPARISON).write_text(f"{json.dumps(facts, indent=2)}\n")
    _write(out, keys, [before[key] for key in keys], [after[key] for key in keys])
    print(_sentence(found, scorer.name))


def _write(
    out: Path, keys: Sequence[str], before: Sequence[Scored], after: Sequence[Scored]
) -> None:
    table = {
        "key": keys,
        "text": [each.text for each in before],
        "before": [each.scores for each in before],
        "after": [each.scores for each in after],
    }
    pq.write_table(pa.table(table), out / "scores.parquet")
    pairs = [each for pair in zip(before, after, strict=True) for each in pair][: 2 * SHOWN]
    size = min(each.image.size for each in pairs)  # prompts may have several aspects
    images = [each.image.resize(size) for each in pairs]
    label = "before, after | before, after"
    grid(images, [each.text for each in pairs], label).save(out / "images.png")


def _plan(model: str, scorer: ScorerPlan, options: argparse.Namespace) -> ToolsPlan:
    return ToolsPlan(
        model=absolute(model),
        model_sha256=trained_sha256(model),
        sampling=sampling_of(options),
        scorer=scorer,
        dtype=options.dtype,
        seed=SEED,
    )


def _rows(prompts: str, store: Storage) -> list[dict[str, Any]]:
    written = write_prompts(
        read_prompts(prompts), store, per_shard=PROMPTS_AT_ONCE, need_given=False
    )
    for reason, count in written.counts.failed.items():
        print(f"{prompts}: {count} left out, {reason}", file=sys.stderr)
    tables = [read_table(store, sidecar_path(FOLDER, number)) for number in range(written.shards)]
    return pa.concat_tables(tables).to_pylist()


def _scored(plan: ToolsPlan, rows: Sequence[dict[str, Any]], drawing: Drawing) -> dict[str, Scored]:
    """Draw and score every prompt with a model; return the prompts that could be drawn, by key."""
    loaded, rejects = tools(plan), list[Reject]()
    found: dict[str, Scored] = {}
    for prepared, images in drawing(rows, loaded, rejects):
        found[prepared.row["key"]] = Scored(
            text=prepared.row["text"],
            scores=scores_of(prepared, images, loaded),
            image=images[0].image,
        )
    for each in rejects:
        print(f"{each.id} left out, {each.reason}: {each.detail}", file=sys.stderr)
    return found


def _sentence(found: Comparison, scorer: str) -> str:
    return (
        f"{scorer}, {found.prompts} prompts: {found.before:.4f} before, {found.after:.4f} after, "
        f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}] at "
        f"{found.confidence:.0%}; {found.wins:.0%} of the prompts rose"
    )
