"""The samples that each output shard must hold, in local files that are written and read once.

A shard of side-cars has samples of every output shard. The reference of each sample, about 2 KB,
is appended to a file of its output shard. So work and disk grow with the corpus, and memory holds
one shard.
"""

import gzip
import json
import os
from collections.abc import Iterator
from glob import escape, glob
from typing import Any

from pipelines.shards.write_shard import output_name
from pipelines.stages.shard import ByOutputShard, ReadSamples, stored_scores
from pipelines.verify.faults import Fault
from pipelines.verify.look import Look, ShardLook
from schemas.keys import output_shard
from schemas.subsets import Subset


def write_samples(look: ShardLook) -> Iterator[Fault]:
    """Write the reference of every sample of a shard's side-cars into the exchange folder."""
    subset = look.corpus.subset(look.shard)
    for of in look.corpus.outputs:
        if of.subset.kind == subset:
            _write_samples(look, of.subset, of.outputs)
    yield from ()


def _write_samples(look: ShardLook, subset: Subset, outputs: int) -> None:
    corpus = look.corpus
    reader = ReadSamples(
        corpus.store,
        corpus.recipe.fingerprint(),
        corpus.recipe.shard.short_side,
        ByOutputShard(outputs, 1),  # `references` sends nothing
        subset=subset,
        scores=stored_scores(corpus.recipe),
        blur=corpus.recipe.blur,
        all_captions=corpus.recipe.caption.all,
        is_split=corpus.recipe.shard.held_out > 0,
    )
    by_output: dict[int, list[str]] = {}
    for reference in reader.references(look.shard):
        number = output_shard(reference["key"], outputs, corpus.recipe.shard.shuffle)
        by_output.setdefault(number, []).append(f"{json.dumps([look.shard, reference])}\n")
    for number, lines in by_output.items():
        # One file a process: lines that two processes append at once could mix.
        name = output_name(subset.name, number)
        with open(f"{corpus.exchange}/{name}-{os.getpid()}", "ab") as file:
            file.write(gzip.compress("".join(lines).encode("ascii"), compresslevel=1))


def read_samples(
    corpus: Look, subset: Subset, number: int
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the samples of an output shard, by key in order, and keys that two shards have."""
    found: dict[str, tuple[int, dict[str, Any]]] = {}
    twice: set[str] = set()
    for name in sorted(glob(f"{escape(corpus.exchange)}/{output_name(subset.name, number)}-*")):
        with gzip.open(name, "rt", encoding="ascii") as file:
            for line in file:
                shard, reference = json.loads(line)
                # A shard may be here twice: written by a worker that died, then by another.
                if found.setdefault(reference["key"], (shard, reference))[0] != shard:
                    twice.add(reference["key"])
    return {key: found[key][1] for key in sorted(found)}, sorted(twice)
