"""Whether the codes of a corpus are a tokenizer's own."""

import pytest
from training_shards import SQUARE

from model.data.manifest import DataError, Source, TokenMember
from model.data.sources import check_tokenizer
from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.load import make_infinity_bsq
from model.tokenizers.protocol import Schedule, schedule_text
from model.tokenizers.sizes import BsqConfig

SCHEDULE = SQUARE[1.0]


def described(tokenizer: InfinityBsq, *schedules: Schedule, **changes) -> TokenMember:
    texts = {"1.0": schedule_text(schedules[0] if schedules else SCHEDULE)}
    return TokenMember.model_validate(
        {"member": "m", "kind": "codes", "schedules": texts, **tokenizer.describe(), **changes}
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "var_vqvae"}, "name 'var_vqvae' in the shards, 'infinity_bsq' in the tokenizer"),
        ({"checkpoint_sha256": "ab"}, "checkpoint_sha256 'ab' in the shards, '' in the tokenizer"),
        (
            {"checkpoint": "random weights, seed 1"},
            "seed 1' in the shards, 'random weights, seed 0",
        ),
        ({"codes_limit": 2}, "codes_limit 2 in the shards, 256 in the tokenizer"),
        ({"bits": 1}, "bits 1 in the shards, 8 in the tokenizer"),
        ({"patchify": 1}, "patchify 1 in the shards, 0 in the tokenizer"),
    ],
)
def test_codes_of_another_tokenizer_are_refused_with_both_sides(bsq, changes, message) -> None:
    check_tokenizer(described(bsq), Source(url="corpus"), bsq)
    with pytest.raises(DataError, match=message):
        check_tokenizer(described(bsq, **changes), Source(url="corpus"), bsq)


def test_a_schedule_that_the_tokenizer_cannot_do_is_refused() -> None:
    config = BsqConfig(bits=2, ch=24, ch_mult=(1, 1, 1, 1), num_res_blocks=1, patchify=True)
    tokenizer = make_infinity_bsq(config, None)
    member = described(tokenizer, ((1, 1), (4, 4)))
    message = (
        r"corpus t2i: m of aspect 1\.0 has scales .*the tokenizer .* cannot use: with patchify"
    )
    with pytest.raises(DataError, match=message):
        check_tokenizer(member, Source(url="corpus"), tokenizer)
