"""Settings of scorers that pydantic alone does not check."""

import pytest
from pydantic import ValidationError

from schemas.score_config import ClipModel


def test_a_clip_with_weights_of_its_own_names_no_others() -> None:
    assert ClipModel(model="bundled").weights == ClipModel(model="local-dir:a").weights == ""
    assert ClipModel(model="ViT-B-32").weights == "openai"
    with pytest.raises(ValidationError, match="bundled has its own weights: remove weights 'x'"):
        ClipModel(model="bundled", weights="x")
