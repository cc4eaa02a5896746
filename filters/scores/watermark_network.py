"""The network of LAION's watermark detector.

Dimensions: B batch, H height, W width.
"""

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from filters.compute import Passes, compute_on, one_thread
from filters.scorer import Device
from filters.scores.packages import packages_of
from filters.scores.process_cache import once_a_process
from schemas.store.checkpoint import check_fit, read_checkpoint

WATERMARK: Final = 0  # index of the class; 1 is clear
MEAN: Final = (0.485, 0.456, 0.406)  # ImageNet's, of RGB from 0 to 1
DEVIATION: Final = (0.229, 0.224, 0.225)


class WatermarkNetwork:
    """EfficientNet-B3 with a head of three layers, on a device.

    Args:
        weights: `.pt`, `.pth` or `.safetensors`, a path or any fsspec URL; no pickle is run.
        sha256: expected of the file; not checked if empty.
        device: where, and with which precision.

    Raises:
        ScorerError: timm is missing.
        CheckpointError: the weights cannot be read, do not fit, or have another sha256.
        ValueError: the device does not have the precision.
    """

    def __init__(self, weights: str, sha256: str, device: Device) -> None:
        self._compute = compute_on(device.name, device.precision)
        self._passes = Passes(self._compute)
        source = read_checkpoint(weights, sha256)
        network = _network()
        check_fit(source.tensors, network.state_dict(), source.name)
        network.load_state_dict(source.tensors)
        network.eval().requires_grad_(False).to(device.name)
        self._network = network.to(memory_format=self._compute.layout)  # pyright: ignore[reportCallIssue]
        self._mean, self._deviation = (
            torch.tensor(each, device=device.name)[:, None, None] for each in (MEAN, DEVIATION)
        )

    @property
    def halvings(self) -> int:
        """How often memory ran out, and the passes were halved."""
        return self._passes.halvings

    def __call__(self, images_BHW3: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probability of a watermark in each image, float32 [B].

        Raises:
            torch.OutOfMemoryError: there is not enough memory for one image.
        """
        with one_thread(), self._compute.arithmetic():
            found_B = self._passes.run(torch.from_numpy(images_BHW3), self._probability)
        return found_B.cpu().numpy()

    def _probability(self, part_BHW3: Tensor) -> Tensor:
        x_B3HW = (part_BHW3.permute(0, 3, 1, 2).float() / 255 - self._mean) / self._deviation
        with self._compute.network_arithmetic(matmul=True):
            classes = self._network(x_B3HW.contiguous(memory_format=self._compute.layout))
        return classes.float().softmax(dim=1)[:, WATERMARK]


@once_a_process
def watermark_network(weights: str, sha256: str, device: Device) -> WatermarkNetwork:
    """Return the network of this process.

    Raises:
        ScorerError, CheckpointError: as `WatermarkNetwork`.
    """
    return WatermarkNetwork(weights, sha256, device)


def _network() -> nn.Module:
    with packages_of("clip"):
        import timm
    # The authors say efficientnet_b3a, an older name of the same network.
    network: Any = timm.create_model("efficientnet_b3", pretrained=False, num_classes=2)
    network.classifier = nn.Sequential(
        nn.Linear(1536, 625),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(625, 256),
        nn.ReLU(),
        nn.Linear(256, 2),
    )
    return network
