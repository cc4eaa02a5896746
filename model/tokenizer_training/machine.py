"""A description of the machine that a training ran on."""

import os
import platform
from pathlib import Path

import torch

_CPUINFO = Path("/proc/cpuinfo")  # only on Linux


def describe_machine(device: str, *, cpuinfo: Path = _CPUINFO) -> str:
    """Return a description of a device, given by torch's name, and of torch for a model card."""
    if torch.device(device).type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    return (
        f"{_cpu_name(cpuinfo)}, {os.cpu_count()} cores, torch {torch.__version__} with "
        f"{torch.get_num_threads()} threads"
    )


def _cpu_name(cpuinfo: Path) -> str:
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
