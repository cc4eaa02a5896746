"""A sentence that names the stages that dropped or failed the rows."""

from collections.abc import Mapping, Sequence

from pipelines.runtime.sidecar import Counts

REASONS = 5  # shown a stage and outcome


def in_words(funnel: Sequence[tuple[str, Counts]]) -> str:
    """Return a sentence on where the rows went, for a build without samples.

    >>> crawled = Counts(rows_in=3, kept=1, failed={"http_404": 2})
    >>> in_words([("crawl", crawled), ("select", Counts(rows_in=1, dropped={"blank": 1}))])
    'no sample is left: 3 rows in; crawl failed 2 (http_404 2); select dropped 1 (blank 1)'
    """
    parts = [f"{funnel[0][1].rows_in:,} rows in" if funnel else "no rows in"]
    for stage, counts in funnel:
        for verb, reasons in (("failed", counts.failed), ("dropped", counts.dropped)):
            if rows := sum(reasons.values()):
                parts.append(f"{stage} {verb} {rows:,} ({_most(reasons)})")
    return f"no sample is left: {'; '.join(parts)}"


def _most(reasons: Mapping[str, int]) -> str:
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{reason} {rows:,}" for reason, rows in ordered if rows]
    return ", ".join(parts[:REASONS] + (["..."] if len(parts) > REASONS else []))
