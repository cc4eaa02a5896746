"""Checks of the footer and rows of a side-car: fingerprint, counts, order, and no row lost."""

from collections import Counter
from collections.abc import Iterator

from pipelines.runtime.sidecar import Counts, column, dead_letters_path, kept_rows
from pipelines.runtime.stage import MapStage, wanted_fingerprint
from pipelines.verify.faults import Fault
from pipelines.verify.look import SidecarLook
from schemas.fingerprint import content_digest


def made_by_recipe(look: SidecarLook, folder: str) -> Iterator[Fault]:
    """Compare a side-car's fingerprint with the one computed from recipe, code and inputs."""
    if (origin := look.origins.get(folder)) is None:
        return
    stage = look.corpus.stages[folder]
    if not isinstance(stage, MapStage):
        wanted = look.corpus.fingerprints.get(folder, "")
    elif {*stage.inputs} <= {*look.origins}:
        wanted = wanted_fingerprint(stage, look.shard, look.corpus.store)
    else:
        wanted = ""
    if wanted and origin.fingerprint != wanted:
        yield look.fault(folder, "made with another recipe, another version or other input")


def counted(look: SidecarLook, folder: str) -> Iterator[Fault]:
    """Compare the footer with the rows, and its counts with the dead letters."""
    if folder not in look.tables or folder not in look.origins:
        return
    table, origin = look.tables[folder], look.origins[folder]
    if content_digest(table) != origin.content:
        yield look.fault(folder, "rows are not the ones that were written")
    elif content_digest(kept_rows(table).select(["key"])) != origin.keys:
        yield look.fault(folder, "its footer has the hash of other keys")
    stage = look.corpus.stages[folder]
    order = zip(*(column(table, name) for name in stage.row_key), strict=True)
    if (rows := list(order)) != sorted(set(rows)):
        yield look.fault(folder, "keys are not in order, or not unique")
    if (origin.stage, origin.folder) != (stage.name, folder):
        found = f"stage {origin.stage!r} of {origin.folder!r}"
        yield look.fault(folder, f"its footer says {found}")
    if origin.tar:
        yield look.fault(folder, "its footer describes a tar")
    if origin.passed_over and folder != "sources":
        yield look.fault(folder, "its footer counts passed-over rows, which only ingest has")
    if not origin.counts.conserved:
        yield look.fault(folder, f"rows in are not rows out: {origin.counts}")
    expected = _counts(look, folder, origin.counts.rows_in)
    if expected is not None and expected != origin.counts:
        if stage.judges or expected.kept != origin.counts.kept:
            yield look.fault(folder, f"holds {expected}, its footer counts {origin.counts}")
        else:
            path = dead_letters_path(stage.name, look.shard)
            found, counted = (
                {"dropped": dict(c.dropped), "failed": dict(c.failed)}
                for c in (expected, origin.counts)
            )
            yield Fault(path, f"holds {found}, its stage counted {counted}")


def _counts(look: SidecarLook, folder: str, rows_in: int) -> Counts | None:
    """Count rows and dead letters, as a footer does; None where the letters could not be read."""
    table = look.tables[folder]
    if look.corpus.stages[folder].judges:
        dropped = Counter(filter(None, column(table, "reason")))
        return Counts(rows_in=rows_in, kept=table.num_rows - dropped.total(), dropped=dropped)
    if folder not in look.letters:
        return None
    outcomes: dict[str, Counter[str]] = {"dropped": Counter(), "failed": Counter()}
    letters = look.letters[folder]
    for outcome, reason in zip(column(letters, "outcome"), column(letters, "reason"), strict=True):
        outcomes.setdefault(outcome, Counter())[reason] += 1
    kept = len(set(column(table, "key")))
    return Counts(rows_in=rows_in, kept=kept, **outcomes)  # type: ignore[arg-type]


def conserved(look: SidecarLook, folder: str, before: str) -> Iterator[Fault]:
    """Check that every row a stage got from the stage before has exactly one outcome there."""
    keys = look.kept(before)
    outcomes = Counter({*look.column(folder, "key")}) + Counter(column(look.letters[folder], "id"))
    if lost := sorted({*keys} - {*outcomes}):
        yield look.fault(folder, f"{len(lost)} rows lost, first {lost[0]}")
    if twice := sorted(key for key, times in outcomes.items() if times > 1):
        yield look.fault(folder, f"{twice[0]} has two outcomes")
    if new := sorted({*outcomes} - {*keys}):
        yield look.fault(folder, f"{new[0]} is not a row of the stage before")
    if folder in look.origins and look.origins[folder].counts.rows_in != len(keys):
        counted = look.origins[folder].counts.rows_in
        yield look.fault(folder, f"its footer counts {counted:,} rows in, there were {len(keys):,}")
