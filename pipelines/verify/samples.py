"""What each output shard must hold, as the side-cars tell: local files, written and read once.

A shard of side-cars has samples of every output shard. What the writer of an output shard was
given of each sample, about 2 KB, is appended to a file of that output shard, so work and disk
grow as the corpus does, and memory holds one shard.
"""

import gzip
import json
import os
from collections.abc import Iterator
from glob import escape, glob
from typing import Any

from pipelines.stages.shard import ByOutputShard, ReadSamples
from pipelines.verify.faults import Fault
from pipelines.verify.look import Look, ShardLook
from schemas.keys import output_shard


def write_samples(look: ShardLook) -> Iterator[Fault]:
    """Write down every sample that a shard's side-cars make."""
    corpus = look.corpus
    reader = ReadSamples(
        corpus.store,
        corpus.recipe.fingerprint(),
        corpus.recipe.shard.short_side,
        ByOutputShard(corpus.outputs, 1),
    )
    by_output: dict[int, list[str]] = {}
    for reference in reader.references(look.shard):
        number = output_shard(reference["key"], corpus.outputs)
        by_output.setdefault(number, []).append(f"{json.dumps([look.shard, reference])}\n")
    for number, lines in by_output.items():
        # A file for each process: what two append at once could be torn.
        with open(f"{corpus.exchange}/{number:06d}-{os.getpid()}", "ab") as file:
            file.write(gzip.compress("".join(lines).encode("ascii"), compresslevel=1))
    yield from ()


def read_samples(corpus: Look, number: int) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the samples of an output shard, by key in order, and the keys of two shards."""
    found: dict[str, tuple[int, dict[str, Any]]] = {}
    twice: set[str] = set()
    for name in sorted(glob(f"{escape(corpus.exchange)}/{number:06d}-*")):
        with gzip.open(name, "rt", encoding="ascii") as file:
            for line in file:
                shard, reference = json.loads(line)
                # A worker that died is replaced, and may have told of a shard already.
                if found.setdefault(reference["key"], (shard, reference))[0] != shard:
                    twice.add(reference["key"])
    return {key: found[key][1] for key in sorted(found)}, sorted(twice)
