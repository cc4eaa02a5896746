import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.tokenizers.bit_codes import pack_bits, unpack_bits, words


@given(st.integers(1, 64).flatmap(lambda d: st.lists(st.booleans(), min_size=d, max_size=d)))
def test_packing_is_that_of_a_big_endian_integer(bits: list[bool]) -> None:
    expected = int("".join("01"[bit] for bit in bits), 2)
    packed = pack_bits(torch.tensor([bits]))
    found = packed.view(-1).tolist()
    assert len(found) == words(len(bits))
    assert sum(word << 32 * place for place, word in enumerate(reversed(found))) == expected
    assert unpack_bits(packed, len(bits)).tolist() == [bits]


@pytest.mark.parametrize(("value", "bits"), [(8, 3), (2**14, 14), (2**32, 32), (-1, 32)])
def test_an_integer_that_does_not_fit_is_refused(value: int, bits: int) -> None:
    with pytest.raises(ValueError, match=f"expected codes of {bits} bits"):
        unpack_bits(torch.tensor([value]), bits)


def test_the_unused_bits_of_the_first_word_are_checked() -> None:
    assert unpack_bits(torch.tensor([[1, 0]]), 33)[0, 0]
    with pytest.raises(ValueError, match="expected codes of 33 bits"):
        unpack_bits(torch.tensor([[2, 0]]), 33)
