"""The device that a training is told to use."""

import torch

from model.tokenizers.compute import best_device
from pipelines.runtime.gpu import require_gpu
from schemas.store.storage import CorpusError


def device_of(command: str, asked: str | None) -> str:
    """Return the device asked for, or the best there is.

    Raises:
        CorpusError: if it is not there, or no name that torch knows.
    """
    if asked is None:
        return best_device()
    if asked.startswith("cuda"):
        require_gpu(command, f"--device {asked}", "--device cpu")
    if asked == "cuda":  # of several, each process takes its own later
        return asked
    try:
        torch.empty(0, device=asked)
    # A name that torch does not know, a device it was not built for, or one that is not there.
    except (RuntimeError, AssertionError) as error:
        raise CorpusError(f"--device {asked}: {str(error).splitlines()[0]}") from error
    return asked
