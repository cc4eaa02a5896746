"""Changes to a built corpus, as by someone who rewrites every hash that tells of them."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from corpus import Corpus

from pipelines.runtime.sidecar import (
    Origin,
    make_origin,
    read_origin,
    read_origins,
    read_table,
    write_sidecar,
)
from pipelines.runtime.stage import MapStage, SidecarStage, wanted_fingerprint
from pipelines.shards.manifest import inputs_fingerprint, manifest_bytes
from pipelines.shards.tar_writer import TarWriter, describe_tar
from pipelines.shards.write_shard import npy
from pipelines.stage_table import make_stages, sidecar_stages
from pipelines.stages.dedup import Dedup
from schemas.recipe import Recipe
from schemas.recipe_file import load_recipe
from schemas.store.storage import Storage
from schemas.tables import SHARD_INDEX

Members = dict[str, bytes]
Samples = dict[str, Members]  # members by key, in the tar's order
Row = dict[str, Any]


def store_of(corpus: Corpus) -> Storage:
    return Storage(str(corpus.out))


def schema_of(folder: str, recipe: Recipe) -> pa.Schema:
    """Return the schema of a folder's side-cars."""
    stages = (stage for stage in make_stages(recipe) if isinstance(stage, SidecarStage))
    return next(stage.schema() for stage in stages if stage.folder == folder)


def read_samples(path: Path) -> Samples:
    samples: Samples = {}
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, extension = member.name.partition(".")
            samples.setdefault(key, {})[extension] = tar.extractfile(member).read()  # type: ignore[union-attr]
    return samples


def forge_shard(
    corpus: Corpus, change: Callable[[Samples], None], number: int = 0, subset: str = "t2i"
) -> str:
    """Write an output shard of changed samples, its index, and all that tells of its bytes."""
    name = f"shards/{subset}-{number:06d}"
    samples = read_samples(Path(corpus.out) / f"{name}.tar")
    change(samples)
    with TarWriter(Path(corpus.out) / f"{name}.tar") as tar:
        places = [row for key in samples for row in tar.add_sample(key, samples[key])]
    forge_index(corpus, number, places, subset)
    return f"{name}.tar"


def forge_bytes(corpus: Corpus, change: Callable[[bytes], bytes], number: int = 0) -> str:
    """Change the bytes of an output shard, and all that tells of them but where members lie."""
    path = Path(corpus.out) / f"shards/t2i-{number:06d}.tar"
    path.write_bytes(change(path.read_bytes()))
    forge_index(corpus, number)
    return f"shards/{path.name}"


def forge_index(
    corpus: Corpus, number: int, places: list[Row] | None = None, subset: str = "t2i"
) -> None:
    """Tell index, list and manifest of the tar that lies there."""
    store, name = store_of(corpus), f"shards/{subset}-{number:06d}"
    table, origin = read_table(store, f"{name}.parquet"), read_origin(store, f"{name}.parquet")
    assert origin is not None
    if places is not None:
        table = pa.Table.from_pylist(places, schema=SHARD_INDEX)
    tar = describe_tar(Path(corpus.out) / f"{name}.tar")
    made = make_origin(origin.stage, origin.fingerprint, table, origin.counts, tar=tar)
    write_sidecar(store, f"{name}.parquet", table, made)

    def retell(manifest: Row) -> None:
        told = manifest["subsets"][subset]
        told["shards"][number] |= tar
        told["bytes"] = sum(line["bytes"] for line in told["shards"])

    forge_manifest(corpus, retell)
    listing = json.loads(store.read(f"shards/{subset}.json"))
    listing[number][1:3] = [tar["bytes"], tar["sha256"]]
    store.commit_bytes(f"shards/{subset}.json", json.dumps(listing, indent=1).encode())


def forge_manifest(corpus: Corpus, change: Callable[[Row], None]) -> str:
    """Change the manifest, written as the build writes it."""
    manifest = corpus.manifest
    change(manifest)
    store_of(corpus).commit_bytes("manifest.json", manifest_bytes(manifest))
    return "manifest.json"


def forge_json(corpus: Corpus, change: Callable[[Row], None]) -> str:
    """Change the record of the first sample of the first shard."""

    def first(samples: Samples) -> None:
        members = next(iter(samples.values()))
        sample = json.loads(members["json"])
        change(sample)
        members["json"] = json.dumps(sample, ensure_ascii=False).encode()

    return forge_shard(corpus, first)


def forge_array(corpus: Corpus, change: Callable[[np.ndarray], np.ndarray]) -> str:
    """Change the codes of the first sample of the first shard."""

    def first(samples: Samples) -> None:
        members = next(iter(samples.values()))
        members["tokens256.npy"] = npy(change(np.load(io.BytesIO(members["tokens256.npy"]))))

    return forge_shard(corpus, first)


def forge_rows(corpus: Corpus, folder: str, shard: int, change: Callable[[list[Row]], None]) -> str:
    """Change rows of a side-car, and make every fingerprint from there on fit."""
    store, path = store_of(corpus), f"{folder}/{shard:05d}.parquet"
    table, origin = read_table(store, path), read_origin(store, path)
    assert origin is not None
    rows = table.to_pylist()
    change(rows)
    recipe = load_recipe(str(Path(corpus.out) / "recipe.yaml"))
    _rewrite(store, path, pa.Table.from_pylist(rows, schema=schema_of(folder, recipe)), origin)
    reseal(corpus)
    return path


def forge_codes(corpus: Corpus, shard: int) -> None:
    """Change a code of the first image of a shard, in its array file."""
    folder = Path(corpus.out) / "tokens"
    body = bytearray((folder / f"{shard:05d}.tokens256.npy").read_bytes())

    def change(rows: list[Row]) -> None:
        mine = slice(rows[0]["offset"], rows[0]["offset"] + rows[0]["length"])
        body[mine.start] ^= 1
        rows[0]["sha256"] = hashlib.sha256(body[mine]).hexdigest()

    forge_rows(corpus, "tokens", shard, change)
    (folder / f"{shard:05d}.tokens256.npy").write_bytes(body)


def reseal(corpus: Corpus) -> None:
    """Write the fingerprints of all side-cars, and of the manifest's inputs, anew."""
    store = store_of(corpus)
    recipe = load_recipe(str(Path(corpus.out) / "recipe.yaml"))
    shards = range(len(store.listing("raw")) and len(corpus.files("raw/*.parquet")))
    for stage in make_stages(recipe):
        if isinstance(stage, MapStage):
            _reseal(store, stage, shards)
        elif isinstance(stage, Dedup):
            origins = {folder: read_origins(store, folder, shards) for folder in stage.inputs}
            for shard in shards:
                path = f"{stage.folder}/{shard:05d}.parquet"
                _rename(store, path, stage.fingerprint(origins))
    every = {folder: read_origins(store, folder, shards) for folder in sidecar_stages()}
    inputs = inputs_fingerprint(recipe, every)
    forge_manifest(corpus, lambda manifest: manifest.update(inputs=inputs))


def _reseal(store: Storage, stage: Any, shards: range) -> None:
    for shard in shards:
        path = f"{stage.folder}/{shard:05d}.parquet"
        _rename(store, path, wanted_fingerprint(stage, shard, store))


def _rename(store: Storage, path: str, fingerprint: str) -> None:
    origin = read_origin(store, path)
    assert origin is not None
    if origin.fingerprint != fingerprint:
        # The footer alone: a table that was read is written otherwise.
        table = read_table(store, path)
        recipe = load_recipe(store.fs.unstrip_protocol(store.locate("recipe.yaml")[1]))
        table = pa.table(table.columns, schema=schema_of(path.partition("/")[0], recipe))
        _rewrite(store, path, table, origin, fingerprint)


def _rewrite(
    store: Storage, path: str, table: pa.Table, origin: Origin, fingerprint: str = ""
) -> None:
    made_by = fingerprint or origin.fingerprint
    made = make_origin(origin.stage, made_by, table, origin.counts, files=origin.files)
    write_sidecar(store, path, table, made)
