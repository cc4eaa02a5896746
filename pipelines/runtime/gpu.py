"""A GPU that was asked for is there, or nothing is computed on a CPU that is paid as one."""

import socket

from schemas.store.errors import CorpusError


def require_gpu(stage: str, asked: str, without: str) -> None:
    """Check that this worker has what was asked for.

    Args:
        stage: that needs it.
        asked: for what, and by which word.
        without: what to say in order to do without.

    Raises:
        CorpusError: if torch finds no GPU on this machine.
    """
    import torch

    if not torch.cuda.is_available():
        raise CorpusError(
            f"{stage}: {asked} asks for a GPU, and torch {torch.__version__} finds none on "
            f"{socket.gethostname()}, or no driver that fits; {without} goes on without"
        )


def device_name() -> str:
    """Return torch's name of the device to compute on: CUDA if there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
