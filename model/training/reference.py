"""Log-likelihoods of pairs under the reference model, computed once before training.

They never change while the policy learns. Precomputed, they take 16 bytes per pair, and training
needs neither memory nor time for a second model. They are valid for one reference and one set of
labels; a file with others is refused.
"""

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from model.data.batch import Batch
from model.data.loader import Loader
from model.data.manifest import DataError
from model.data.plan import LoadPlan
from model.training.log_probs import check_pairs, image_log_probs
from model.training.parallel import Processes
from model.vargpt.vargpt import Vargpt
from schemas.store.whole_file import publish

SCHEMA: Final = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("chosen", pa.float64(), nullable=False),  # log p, nats
        pa.field("rejected", pa.float64(), nullable=False),
    ]
)
FOLDER: Final = "reference"  # folder inside a training, with the values of its pairs
_MADE_OF: Final = b"vargpt_reference"


class Reference(Protocol):
    """Log-likelihoods of a batch's images before training."""

    def __call__(self, batch: Batch) -> Tensor:
        """Return log p of chosen and then rejected images, float64 [2 P], without gradient."""
        ...


class ModelReference:
    """The reference model, in memory beside the policy."""

    def __init__(self, model: Vargpt) -> None:
        self._model = model.requires_grad_(False)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        """Return log p of chosen and then rejected images, float64 [2 P]."""
        check_pairs(batch)
        return image_log_probs(self._model, batch)


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeOf:
    """The reference and the labels that precomputed values are valid for."""

    model: str  # sha256 of the reference
    labels: str  # from `labels_of`
    pairs: str  # sha256 of each source's shards, in order


def labels_of(plan: LoadPlan, self_correction: str) -> str:
    """Return the settings that, with the shards, decide the labels of a loader's pairs.

    The bits flipped for self-correction depend on seed and key; they are the same in every epoch.
    """
    if self_correction == "off":
        return plan.member
    return f"{plan.member}, self-correction {self_correction}, seed {plan.seed}"


def reference_made_of(model: str, pairs: Loader) -> MadeOf:
    """Return the `MadeOf` of a loader's pairs and a reference; `model` is its identity."""
    return MadeOf(
        model=model,
        labels=labels_of(pairs.plan, pairs.self_correction),
        pairs=" ".join(pairs.contents),
    )


class CachedReference:
    """Precomputed values by key."""

    def __init__(self, made_of: MadeOf) -> None:
        self.made_of = made_of
        self._values: dict[str, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __call__(self, batch: Batch) -> Tensor:
        """Return log p of chosen and then rejected images, float64 [2 P], on the batch's device.

        Raises:
            DataError: the values of a pair are missing.
        """
        keys = batch.keys[: check_pairs(batch)]
        if missing := [key for key in keys if key not in self._values]:
            raise DataError(
                f"no reference log-likelihood of {len(missing)} pairs ({missing[0]}, ...) among "
                f"{len(self)}; compute them again over these shards"
            )
        values_2P = torch.tensor([self._values[key] for key in keys], dtype=torch.float64).T
        return values_2P.flatten().to(batch.input_ids_BS.device)

    def add(self, batch: Batch, values_2P: Tensor) -> None:
        """Add the values of a batch."""
        pairs = check_pairs(batch)
        both = zip(values_2P[:pairs].tolist(), values_2P[pairs:].tolist(), strict=True)
        self._values |= dict(zip(batch.keys[:pairs], both, strict=True))

    def save(self, path: Path) -> None:
        """Write the values to a file, completely or not at all."""
        rows = [
            {"key": key, "chosen": chosen, "rejected": rejected}
            for key, (chosen, rejected) in sorted(self._values.items())
        ]
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        described = {_MADE_OF: json.dumps(asdict(self.made_of)).encode()}
        sink = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(described), sink)
        publish(path, sink.getvalue())

    def load(self, paths: Sequence[Path]) -> "CachedReference":
        """Read files of values, one per process that wrote them.

        Raises:
            DataError: a file is missing or damaged, or made for another reference or labels.
        """
        for path in paths:
            self._read(path)
        return self

    def _read(self, path: Path) -> None:
        try:
            table = pq.read_table(path, schema=SCHEMA)
            found = MadeOf(**json.loads((pq.read_schema(path).metadata or {})[_MADE_OF]))
        except (OSError, pa.ArrowInvalid, KeyError, ValueError, TypeError) as error:
            raise DataError(f"{path}: no file of reference log-likelihoods: {error!r}") from error
        if found != self.made_of:
            raise DataError(f"{path}: made for {found}, expected {self.made_of}")
        for row in table.to_pylist():
            if row["key"] in self._values:
                raise DataError(_repeated_key(row["key"]))
            self._values[row["key"]] = row["chosen"], row["rejected"]


def _repeated_key(key: str) -> str:
    return (
        f"two pairs have the key {key}, as in two corpora with the same prompt: "
        "train on one corpus after the other, or make one corpus from a file of all prompts"
    )


def precompute(
    model: Vargpt, batches: Iterable[Batch], made_of: MadeOf, path: Path, *, save_every: int = 100
) -> CachedReference:
    """Compute the reference's values for every pair of an epoch, and write them to a file.

    After a kill, the same call resumes: it skips pairs that the file has.

    Args:
        model: the reference.
        batches: batches of pairs; one epoch of a `Loader`.
        made_of: the reference and labels that the values are valid for.
        path: the file; each process has its own.
        save_every: number of computed batches between two writes of the file.

    Raises:
        DataError: the existing file was made for another reference or labels, or two pairs have
            the same key.
    """
    reference, cached = ModelReference(model), CachedReference(made_of)
    if path.exists():
        cached.load([path])
    unsaved = 0
    met: set[str] = set()
    for batch in batches:
        if repeated := met.intersection(batch.keys):
            raise DataError(_repeated_key(min(repeated)))
        met.update(batch.keys)
        if all(key in cached for key in batch.keys):
            continue
        cached.add(batch, reference(batch))
        unsaved += 1
        if unsaved == save_every:
            cached.save(path)
            unsaved = 0
    cached.save(path)
    return cached


def compute_reference(
    model: Vargpt, pairs: Loader, made_of: MadeOf, out: Path, processes: Processes, precision: str
) -> CachedReference:
    """Compute the reference's values for all pairs, each process its part, and return all of them.

    A later run computes only the values that are not in the files yet.

    Args:
        model: the reference, on the device.
        pairs: one epoch of this process's part.
        made_of: the reference and labels that the values are valid for.
        out: folder of the training, shared by all processes.
        processes: this process and the number of processes.
        precision: the precision of the training, so that the policy's values are comparable.
    """
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{rank:05}-of-{processes.count:05}.parquet" for rank in range(processes.count)]
    device_type = torch.device(processes.device).type
    with torch.autocast(device_type, torch.bfloat16, enabled=precision == "bf16"):
        precompute(model.eval(), pairs, made_of, folder / names[processes.rank])
    processes.wait()
    return CachedReference(made_of).load([folder / name for name in names])
