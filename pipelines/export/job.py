"""The export job: shard by shard, each once, and then the files that describe the folder."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from model.data.manifest import DataError, Manifest, read_manifest
from pipelines.export.format import Exported, Format
from pipelines.export.marks import FOLDER, Marks, check_folder
from pipelines.export.samples import Sample, Shard
from schemas.fingerprint import fingerprint
from schemas.store.lock import build_lock
from schemas.store.storage import Storage, absolute
from schemas.subsets import SUBSETS


@dataclass(frozen=True, kw_only=True)
class SubsetCount:
    """What became of the samples of one subset."""

    subset: str
    samples: int
    written: int = 0  # shards that this run wrote
    skipped: int = 0  # shards that an earlier run had written
    refusal: str = ""  # why the format cannot hold it; then nothing was written


@dataclass(kw_only=True)
class _Tally:
    """Counts samples while a format reads them."""

    samples: int = 0
    licences: Counter[str] = field(default_factory=Counter)

    def over(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        for sample in samples:
            self.samples += 1
            self.licences[str(sample.fields.get("licence", ""))] += 1
            yield sample


def export(
    url: str,
    format_: Format,
    to: str,
    subsets: Sequence[str] = (),
    *,
    force_unlock: bool = False,
) -> list[SubsetCount]:
    """Write the samples of a corpus in another format, or resume a killed run.

    A shard that was exported is skipped; one that has changed since is written again. Subsets of
    the folder that are not exported now are left as they are.

    Args:
        url: folder of a corpus or of pairs; any fsspec URL.
        format_: the format.
        to: folder of the export; any fsspec URL.
        subsets: to export; all that the corpus has if empty.
        force_unlock: whether to break the lock of a command that is dead.

    Returns:
        a count of each subset, those included that the format cannot hold.

    Raises:
        DataError: there is nothing that the format can hold, a shard is damaged, or the folder
            holds anything else.
        StoreError: a store cannot be reached.
    """
    manifest = read_manifest(url)
    chosen = _chosen(url, manifest, subsets)
    refusals = {name: format_.refusal(SUBSETS[name]) for name in chosen}
    shards = {name: _shards(url, manifest, name) for name in chosen if not refusals[name]}
    if not shards:
        raise DataError(f"{url}: {'; '.join(f'{n}: {why}' for n, why in refusals.items())}")
    store = Storage(absolute(to))
    if store.root.startswith(f"{absolute(url).rstrip('/')}/"):
        raise DataError(f"{to}: lies in the corpus {url}, which holds no other files")
    check_folder(store, format_.name)
    with build_lock(store, force_unlock=force_unlock):
        every = [shard for listed in shards.values() for shard in listed]
        folders = {folder for shard in every for folder in format_.folders(shard)}
        store.sweep(["", FOLDER, *sorted(folders)])
        marks = Marks(store)
        marks.claim(format_.name)
        before = marks.all()
        written = {name: _export(shards[name], format_, store, marks, before) for name in shards}
        format_.finish(_by_subset(marks.all()), store)
    return [
        SubsetCount(
            subset=name,
            samples=manifest.subsets[name].samples,
            written=written.get(name, 0),
            skipped=len(shards.get(name, ())) - written.get(name, 0),
            refusal=refusals[name],
        )
        for name in chosen
    ]


def _chosen(url: str, manifest: Manifest, subsets: Sequence[str]) -> list[str]:
    """Return the subsets to export, in the order of `SUBSETS`."""
    there = [name for name in SUBSETS if name in manifest.subsets]
    there = [name for name in there if manifest.subsets[name].samples]
    for name in subsets:
        if name not in there:
            raise DataError(f"{url}: no samples of {name!r}; it has: {', '.join(there) or 'none'}")
    if not there:
        raise DataError(f"{url}: has no samples; nothing to export")
    return [name for name in there if name in subsets or not subsets]


def _shards(url: str, manifest: Manifest, subset: str) -> list[Shard]:
    tokens, files = manifest.tokens, manifest.subsets[subset].shards
    return [Shard(url=url, subset=SUBSETS[subset], file=file, tokens=tokens) for file in files]


def _export(
    shards: Sequence[Shard],
    format_: Format,
    store: Storage,
    marks: Marks,
    before: Mapping[str, Exported],
) -> int:
    """Write the shards of one subset that are not there; return their number."""
    subset = shards[0].subset.name
    names = {shard.name for shard in shards}
    for name, mark in before.items():
        if mark.subset == subset and name not in names:
            marks.forget(name, mark)
    written = 0
    for shard in shards:
        made, mark = _fingerprint(shard, format_), before.get(shard.name)
        if mark and mark.fingerprint == made and marks.is_whole(mark):
            continue
        if mark:
            marks.forget(shard.name, mark)
        marks.write(shard.name, _write(shard, format_, store, made))
        written += 1
    return written


def _write(shard: Shard, format_: Format, store: Storage, made: str) -> Exported:
    tally = _Tally()
    files = format_.write(shard, tally.over(shard.samples(format_.members(shard))), store)
    if tally.samples != shard.file.samples:
        raise DataError(
            f"{shard.file.path}: {tally.samples:,} samples, the manifest counts "
            f"{shard.file.samples:,}"
        )
    return Exported(
        fingerprint=made,
        subset=shard.subset.name,
        samples=tally.samples,
        licences=dict(sorted(tally.licences.items())),
        files=files,
    )


def _fingerprint(shard: Shard, format_: Format) -> str:
    tokens = [member.model_dump(mode="json") for member in shard.tokens]
    return fingerprint(format_.name, format_.version, shard.name, shard.file.sha256, tokens)


def _by_subset(marks: Mapping[str, Exported]) -> dict[str, list[Exported]]:
    return {
        name: listed
        for name in SUBSETS
        if (listed := [mark for mark in marks.values() if mark.subset == name])
    }
