import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from model.tokenizers.bit_codes import pack_bits, unpack_bits, words


@st.composite
def grids(draw: st.DrawFn) -> tuple[int, list[list[int]]]:
    """Draw d, and integers of d bits [B, L]."""
    bits = draw(st.integers(1, 64))
    length = draw(st.integers(1, 3))
    row = st.lists(st.integers(0, 2**bits - 1), min_size=length, max_size=length)
    return bits, draw(st.lists(row, min_size=1, max_size=3))


def bits_of(value: int, bits: int) -> list[bool]:
    """Spell an integer, the most significant bit first."""
    return [digit == "1" for digit in f"{value:0{bits}b}"]


def words_of(value: int, bits: int) -> int | list[int]:
    """Split an integer as it is stored: one word, or two of 32 bits where it takes more."""
    return value if bits <= 32 else [value // 2**32, value % 2**32]


@given(grids())
@example((32, [[2**32 - 1, 0]]))
@example((33, [[2**33 - 1, 2**32]]))
@example((64, [[2**64 - 1, 2**63]]))
def test_packing_is_that_of_a_big_endian_integer(grid: tuple[int, list[list[int]]]) -> None:
    bits, values = grid
    spelled = [[bits_of(value, bits) for value in row] for row in values]
    stored = [[words_of(value, bits) for value in row] for row in values]
    packed = pack_bits(torch.tensor(spelled))
    assert packed.dtype == torch.int64
    assert packed.tolist() == stored
    assert packed.shape[2:] == ((words(bits),) if bits > 32 else ())
    assert unpack_bits(torch.tensor(stored), bits).tolist() == spelled


@given(st.integers(1, 63).flatmap(lambda d: st.tuples(st.just(d), st.integers(2**d, 2**64 - 1))))
@example((32, 2**32))
@example((33, 2**33))
@example((63, 2**63))
def test_an_integer_of_more_bits_is_refused(case: tuple[int, int]) -> None:
    bits, value = case
    if bits <= 32:
        value = min(value, 2**63 - 1)  # all that an int64 holds
    with pytest.raises(ValueError, match=f"expected codes of {bits} bits"):
        unpack_bits(torch.tensor([words_of(value, bits)]), bits)


@pytest.mark.parametrize(
    ("packed", "bits"), [([-1], 32), ([-1], 1), ([[0, -1]], 64), ([[0, 2**32]], 33)]
)
def test_a_word_that_is_no_unsigned_integer_of_32_bits_is_refused(packed: list, bits: int) -> None:
    with pytest.raises(ValueError, match=f"expected codes of {bits} bits"):
        unpack_bits(torch.tensor(packed), bits)
