"""The device of a training."""

import torch

from filters.compute import best_device
from pipelines.runtime.gpu import require_gpu
from schemas.store.storage import CorpusError


def device_of(command: str, requested: str | None) -> str:
    """Return the requested device, or the best one if None.

    Raises:
        CorpusError: the device is not available, or torch does not know the name.
    """
    if requested is None:
        return best_device()
    if requested.startswith("cuda"):
        require_gpu(command, f"--device {requested}", "--device cpu")
    if requested == "cuda":  # each process later chooses one of several
        return requested
    try:
        torch.empty(0, device=requested)
    # The name is unknown, torch was built without the device, or it is not available.
    except (RuntimeError, AssertionError) as error:
        raise CorpusError(f"--device {requested}: {str(error).splitlines()[0]}") from error
    return requested
