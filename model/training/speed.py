"""How fast a training goes."""

from model.training.flop import peak_flops
from model.training.parallel import Processes


class Speed:
    """Tokens and operations a second since it was last asked.

    Args:
        peak_tflops: of a device; None for what the table of devices says.
        processes: those whose figures are added.
    """

    def __init__(self, peak_tflops: float | None, processes: Processes) -> None:
        self._processes = processes
        self._peak = peak_tflops * 1e12 if peak_tflops else peak_flops(processes.device)
        self._tokens = self._flop = self._seconds = 0.0

    def add(self, tokens: float, flop: float, seconds: float) -> None:
        """Count what was computed: tokens and floating-point operations of all processes."""
        self._tokens += tokens
        self._flop += flop
        self._seconds += seconds

    def take(self) -> dict[str, float]:
        """Return the figures by name, MFU among them where the device's peak is known."""
        flops = self._flop / self._seconds / self._processes.count
        speed = {
            "speed/tokens a second": self._tokens / self._seconds,
            "speed/TFLOP/s a device": flops / 1e12,
        }
        self._tokens = self._flop = self._seconds = 0.0
        return speed | ({"speed/MFU": flops / self._peak} if self._peak else {})
