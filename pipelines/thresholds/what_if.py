"""what-if: what a build with other rules, caps and quotas would keep, from stored columns alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.runtime.exchange import ROWS_A_PARTITION
from pipelines.runtime.sidecar import Counts
from pipelines.thresholds.changes import finished
from pipelines.thresholds.duplicates import Deduplicated, as_before, run_dedup, stored_dedup
from pipelines.thresholds.hours import StageRate, stage_rates
from pipelines.thresholds.selection import Masks, Selection, select_rows, sums_of_rows
from pipelines.thresholds.stored import Stored
from pipelines.tokens.tokenizers import target_schedule, targets
from schemas.recipe import Recipe, VqTokensConfig
from schemas.store.storage import Storage

ROWS_COMPARED = ROWS_A_PARTITION  # most selected rows that dedup runs for unless asked to


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a build by one recipe keeps."""

    select: Counts
    to_score: int  # rows that must be scored before select can judge them; not in `select`
    asked: int  # rows that pass the rules which need no score
    dedup: Counts | None  # None if nothing is known of it
    new: int  # rows of `dedup.kept` that were compared with no other
    without_codes: int | None  # kept rows that the last build did not keep; None if not known
    sources: Mapping[str, int]  # kept rows
    means: Mapping[str, float]  # of the kept rows, or of select's if dedup was not run
    codes: int  # of all tokenizers, in the arrays of the kept rows
    kept: Masks = field(repr=False)  # the kept rows by shard, in the order of `signals/`


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The outcomes of the recipe of the last build, and of a changed one."""

    present: Outcome
    changed: Outcome
    is_exact: bool  # whether dedup was run, and not taken from the last build
    rates: Sequence[StageRate]


def what_if(
    store: Storage, present: Recipe, changed: Recipe, *, dedup: bool | None = None
) -> Comparison:
    """Compare what two recipes keep, which differ in rules, caps and quotas only.

    Args:
        store: the corpus.
        present: recipe of the last build.
        changed: the other recipe.
        dedup: whether to run dedup; None to run it for at most ROWS_COMPARED selected rows.

    Raises:
        CorpusError: a side-car is missing or damaged.
    """
    stored = Stored(store=store, recipes=(present, changed))
    selections = select_rows(stored)
    before, now = (selection.masks for selection in selections)
    rows = max(selection.counts.kept for selection in selections)
    runs = rows <= ROWS_COMPARED if dedup is None else dedup
    known = stored_dedup(stored, before) if finished(store, "dedup") else None
    was = found = None
    if known is not None:
        was, found = (as_before(known, before, masks) for masks in (before, now))
    if runs:
        was = was or run_dedup(stored, present, before)
        found = run_dedup(stored, changed, now)
    last = was.kept if was and known is not None else None
    outcomes = [
        _outcome(stored, selection, deduplicated, last, again=runs)
        for selection, deduplicated in zip(selections, (was, found), strict=True)
    ]
    return Comparison(
        present=outcomes[0],
        changed=outcomes[1],
        is_exact=runs,
        rates=stage_rates(store, present, selections[0].asked),
    )


def codes_a_sample(config: VqTokensConfig) -> int:
    """Return the codes of a sample, of all tokenizers, resolutions and views; of square crops."""
    codes = sum(h * w for target in targets(config) for h, w in target_schedule(target))
    return codes * config.views


def _outcome(
    stored: Stored,
    selection: Selection,
    deduplicated: Deduplicated | None,
    last: Masks | None,
    *,
    again: bool,
) -> Outcome:
    """Describe what is kept; `again` reads the values of the kept rows once more."""
    kept = deduplicated.kept if deduplicated else selection.masks
    rows = [int(mask.sum()) for mask in kept]
    by_source: Counter[str] = Counter()
    for source, count in zip(stored.sources, rows, strict=True):
        by_source[source] += count
    without = None
    if last is not None:
        pairs = zip(kept, last, strict=True)
        without = sum(int((mask & ~before).sum()) for mask, before in pairs)
    sums = sums_of_rows(stored, kept) if again else selection.sums
    return Outcome(
        select=selection.counts,
        to_score=selection.to_score,
        asked=selection.asked,
        dedup=_counts(selection.counts.kept, deduplicated),
        new=deduplicated.new if deduplicated else 0,
        without_codes=without,
        sources=by_source,
        means=sums.means(),
        codes=sum(rows) * codes_a_sample(stored.recipes[0].vq_tokens),
        kept=kept,
    )


def _counts(rows: int, deduplicated: Deduplicated | None) -> Counts | None:
    if deduplicated is None:
        return None
    kept = sum(int(mask.sum()) for mask in deduplicated.kept)
    dropped = dict(sorted(deduplicated.dropped.items()))
    return Counts(rows_in=rows, kept=kept, dropped=dropped)
