"""The engines that run on one machine, each with the marks of what it needs."""

import pytest

EMBEDDED = [
    pytest.param("spark", marks=(pytest.mark.engine("spark"), pytest.mark.spark)),
    pytest.param("flink", marks=pytest.mark.engine("flink")),
    pytest.param("prism", marks=pytest.mark.engine("prism")),
]
