from pathlib import Path

import torch

from model.tokenizer_training.machine import describe_machine


def test_a_cpu_is_named_with_its_cores_and_the_threads_that_worked(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Abacus: 9000\n")
    told = describe_machine("cpu", cpuinfo=cpuinfo)
    assert told.startswith("Abacus: 9000, ")
    assert f"torch {torch.__version__} with 1 threads" in told


def test_a_system_without_cpuinfo_has_some_name_too(tmp_path: Path) -> None:
    assert not describe_machine("cpu", cpuinfo=tmp_path / "none").startswith(",")
