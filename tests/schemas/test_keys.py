import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.keys import draw, output_shard, rank, sample_key, shard_name, unit

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def test_keys_and_draws_never_change():
    key = sample_key("web", "https://example.org/a.png")
    assert key == "db51071f71def750108b242bd6e24be7"
    assert rank(key, "quota") == "89458289c722359030c4f15ccebb98c0"
    assert unit(key, "split") == 0.2180290967379177
    assert [draw(key, str(salt), 1000) for salt in range(4)] == [911, 968, 97, 742]
    assert output_shard(key, 16) == 6


@settings(deadline=None)
@given(TEXT, TEXT)
def test_a_key_is_32_hex_digits_of_source_and_locator(source: str, locator: str):
    key = sample_key(source, locator)
    assert len(key) == 32
    assert set(key) <= set("0123456789abcdef")
    assert key != sample_key(source, locator + "x")
    assert key != sample_key(source + "x", locator)


@settings(deadline=None)
@given(TEXT, TEXT)
def test_a_unit_draw_is_at_least_zero_and_below_one(key: str, salt: str):
    assert 0 <= unit(key, salt) < 1


def test_the_largest_digest_draws_below_one(monkeypatch: pytest.MonkeyPatch):
    class Largest:
        def __init__(self, *_, **__) -> None: ...

        def digest(self) -> bytes:
            return b"\xff" * 8

    monkeypatch.setattr("schemas.keys.blake2b", Largest)
    assert unit("", "") == 1 - 2**-53
    assert draw("", "", 1 << 40) == (1 << 40) - 1


@settings(deadline=None)
@given(TEXT, TEXT, st.integers(1, 10**9))
def test_a_draw_is_within_its_range(key: str, salt: str, n: int):
    assert 0 <= draw(key, salt, n) < n


@pytest.mark.parametrize("n", [0, -1])
def test_there_is_no_draw_from_nothing(n: int):
    with pytest.raises(ValueError, match=f"cannot draw from {n} values"):
        draw("key", "salt", n)


def test_draws_spread_evenly():
    counts = [0] * 8
    for number in range(8000):
        counts[output_shard(sample_key("web", str(number)), 8)] += 1
    assert min(counts) > 900
    assert max(counts) < 1100


def test_salts_draw_independently_of_each_other():
    keys = [sample_key("web", str(number)) for number in range(1000)]
    same = sum((unit(key, "a") < 0.5) == (unit(key, "b") < 0.5) for key in keys)
    assert 430 < same < 570


def test_shard_names_have_five_digits_and_grow():
    assert [shard_name(n) for n in (0, 42, 123_456)] == ["00000", "00042", "123456"]
