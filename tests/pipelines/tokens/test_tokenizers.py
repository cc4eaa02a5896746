"""What a manifest says of tokens follows from the recipe, and is what a loaded tokenizer says."""

import subprocess
import sys

import pytest

from pipelines.tokens.tokenizers import describe_tokens, target_tokenizer, targets
from schemas.recipe import VqTokensConfig


@pytest.mark.parametrize(
    "tokenizer",
    [
        {"tokenizer": "infinity_bsq", "preset": "bundled", "resolutions": [128, 256]},
        {"tokenizer": "infinity_bsq", "preset": "d14_patchify", "seed": 3},
        {"tokenizer": "var_vqvae", "preset": "small", "features": True},
        {"tokenizer": "var_vqvae", "preset": "bundled"},
    ],
    ids=["bsq", "patchify", "var_random", "var_bundled"],
)
def test_described_without_weights_is_what_the_tokenizer_says(tokenizer: dict) -> None:
    recipe = VqTokensConfig.model_validate({"tokenizers": [tokenizer]})
    described = {made["member"]: made for made in describe_tokens(recipe)}
    for target in targets(recipe):
        loaded = target_tokenizer(target, recipe)
        expected = loaded.describe() | {
            "image_sizes": {"1.0": "{}x{}".format(*loaded.image_size)},
        }
        del expected["checkpoint_sha256"]  # pinned by a build
        for member in target.members:
            assert {name: described[member][name] for name in expected} == expected
            assert described[member].get("channels", loaded.channels) == loaded.channels


def test_tokens_are_described_without_torch() -> None:
    code = (
        "import sys; from pipelines.tokens.tokenizers import describe_tokens; "
        "from schemas.recipe import VqTokensConfig; describe_tokens(VqTokensConfig()); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
