"""Balance: of the rows with a common entry of a list, a share stays, as in MetaCLIP.

The rows that no step removed as duplicates are counted by entry. A row stays if, for any of its
entries, a hash of its key and the entry, in [0, 1), is below p = min(1, per_entry / rows). So an
entry keeps about `per_entry` rows, more where its rows have rarer entries too.

As for caps, each task counts its own rows (`offer`), one task adds up the counts of an entry and
replies with those over `per_entry` (`total`), and each task draws (`draw`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from filters.entries import entry_index
from filters.text import primary_text
from pipelines.dedup.benchmark_files import LISTS
from pipelines.dedup.caps import without
from pipelines.dedup.rows import KEY, TEXTS, digest, numbers, standing_alone
from pipelines.runtime.exchange import Outputs, Tables, partition_of, scramble
from pipelines.runtime.sidecar import Counts, Origin, column, write_sidecar
from schemas.fingerprint import content_digest
from schemas.list_config import BalanceConfig
from schemas.store.storage import Storage
from schemas.tables import BALANCE as BALANCE_SCHEMA

BALANCE, UNMATCHED = "balance", "balance_unmatched"  # reasons
ENTRIES = "entries"  # column: hashes of the entries of a row, as bytes
WORD = 8  # bytes of a hash


PATH = f"{LISTS}/balance.parquet"  # below the corpus: the rows of each entry
NO_ROWS = "entry without a row"  # counted in its footer


def balance_table(totals: pa.Table | None, config: BalanceConfig) -> pa.Table:
    """Return the entries that rows have, those of most rows first: a table of BALANCE_SCHEMA.

    Args:
        totals: the output of `BalanceTasks.total`, None if no row has an entry.
        config: names the entries.
    """
    if totals is None:
        return BALANCE_SCHEMA.empty_table()
    index = entry_index(config.entries, config.entries_sha256)
    known = pa.Table.from_pydict(
        {"entry": index.hashes, "name": pa.array(index.entries, pa.string())}
    )
    named = totals.join(known, "entry", join_type="inner", use_threads=False)
    ordered = named.sort_by([("total", "descending"), ("name", "ascending")])
    return pa.table([ordered["name"], ordered["total"]], schema=BALANCE_SCHEMA)


def write_balance(store: Storage, fingerprint: str, table: pa.Table, config: BalanceConfig) -> None:
    """Write the file of the entries."""
    listed = len(entry_index(config.entries, config.entries_sha256).entries)
    origin = Origin(
        stage="dedup",
        fingerprint=fingerprint,
        content=content_digest(table),
        counts=Counts(rows_in=listed, kept=len(table), dropped={NO_ROWS: listed - len(table)}),
    )
    write_sidecar(store, PATH, table, origin)


def with_entries(rows: pa.Table, config: BalanceConfig) -> pa.Table:
    """Append the column ENTRIES to rows with the columns TEXTS."""
    index = entry_index(config.entries, config.entries_sha256)
    texts = map(primary_text, *(column(rows, name) for name in TEXTS))
    packed = [index.find(text).tobytes() for text in texts]
    return rows.append_column(ENTRIES, pa.array(packed, pa.binary()))


@dataclass(frozen=True, kw_only=True)
class BalanceTasks:
    """The tasks of a balance, plain functions of tables."""

    config: BalanceConfig
    partitions: int

    def offer(self, tables: Tables) -> Outputs:
        """Leave out what was removed; count the rows of each entry."""
        rows = tables["capped"]
        if "resolved" in tables:
            rows = without(rows, tables["resolved"])
        if not rows.num_rows:
            return {}
        reply_to = int(self._by(rows.slice(0, 1), KEY)[0])
        _, entries = unpacked(rows)
        entries, counts = np.unique(entries, return_counts=True)
        counted = pa.Table.from_pydict({"entry": entries, "rows": counts.astype(np.int64)})
        counted = counted.append_column("reply_to", pa.array(np.full(len(counted), reply_to)))
        return {
            "rows": (rows, self._by(rows, KEY)),
            "counts": (counted, self._by(counted, ["entry"])),
        }

    def total(self, tables: Tables) -> Outputs:
        """Add up the rows of each entry; reply with common ones; send all to be written."""
        counts = tables["counts"]
        total = counts.group_by("entry", use_threads=False).aggregate([("rows", "sum")])
        total = total.rename_columns(["entry", "total"])
        common = total.filter(pa.array(total["total"].to_numpy() > self.config.per_entry))
        replies = counts.select(["entry", "reply_to"]).join(
            common, "entry", join_type="inner", use_threads=False
        )
        return {
            "common": (replies.drop_columns("reply_to"), replies["reply_to"].to_numpy()),
            "totals": (total, np.zeros(len(total), np.int64)),
        }

    def draw(self, tables: Tables) -> Outputs:
        """Draw the rows that stay."""
        rows = tables["rows"]
        owners, entries = unpacked(rows)
        shares = self._shares(entries, tables.get("common"))
        drawn = draws(rows.take(owners), entries) < shares
        stays, matched = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
        matched[owners] = True
        stays[owners[drawn]] = True
        if self.config.unmatched == "keep":
            stays |= ~matched
        reasons = pa.array(np.where(matched, BALANCE, UNMATCHED), pa.string())
        left = rows.append_column("reason", reasons).filter(pa.array(~stays))
        dropped = standing_alone(left, left["reason"])
        kept = rows.filter(pa.array(stays)).drop_columns(ENTRIES)
        return {
            "rows": (kept, self._by(kept, KEY)),
            "verdicts": (dropped, dropped["shard"].to_numpy() % self.partitions),
        }

    def _shares(self, entries: np.ndarray, common: pa.Table | None) -> np.ndarray:
        """Return p of each entry: float64 `[n]`."""
        shares = np.ones(len(entries))
        if common is None:
            return shares
        order = np.argsort(common["entry"].to_numpy())
        known, totals = (common[name].to_numpy()[order] for name in ("entry", "total"))
        places = np.minimum(np.searchsorted(known, entries), len(known) - 1)
        there = known[places] == entries
        shares[there] = self.config.per_entry / totals[places[there]]
        return shares

    def _by(self, rows: pa.Table, identity: Sequence[str]) -> np.ndarray:
        return partition_of(numbers(rows, identity), self.partitions)


def unpacked(rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of the row and the hash of each entry that a row has."""
    packed = column(rows, ENTRIES)
    owners = np.repeat(np.arange(len(packed)), [len(each) // WORD for each in packed])
    return owners, np.frombuffer(b"".join(packed), np.uint64)


def draws(rows: pa.Table, entries: np.ndarray) -> np.ndarray:
    """Return a number in [0, 1) for each row and entry, of 53 bits: float64 `[n]`."""
    salt, _ = digest(BALANCE)
    first, second = numbers(rows, KEY)
    hashed = scramble(scramble(scramble(first ^ np.uint64(salt)) ^ second) ^ entries)
    return (hashed >> np.uint64(11)) / 2.0**53
