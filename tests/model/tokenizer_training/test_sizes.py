import pytest

from model.tokenizer_training.sizes import Trainee


def test_small_crops_have_the_scales_up_to_their_own() -> None:
    bsq = Trainee.of_preset("infinity_bsq", "bundled")
    assert bsq.schedule(128) == ((1, 1), (2, 2), (4, 4), (6, 6), (8, 8))
    assert [size[0] for size in bsq.schedule(256)] == [1, 2, 4, 6, 8, 12, 16]
    patchified = Trainee.of_preset("infinity_bsq", "d14_patchify")
    assert patchified.schedule(64) == ((2, 2), (4, 4), (8, 8))
    var = Trainee.of_preset("var_vqvae", "bundled")
    assert [size[0] for size in var.schedule(128)] == [*range(1, 9)]
    assert [size[0] for size in var.schedule(256)] == [1, 2, 3, 4, 5, 6, 8, 10, 13, 16]


@pytest.mark.parametrize("name", ["infinity_bsq", "var_vqvae"])
def test_a_side_without_a_schedule_is_refused_with_those_that_have_one(name: str) -> None:
    with pytest.raises(ValueError, match=r"no schedule for crops of 100 px, .*128.*256"):
        Trainee.of_preset(name, "bundled").schedule(100)


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown preset 'd32' of var_vqvae, .*'full'"):
        Trainee.of_preset("var_vqvae", "d32")
