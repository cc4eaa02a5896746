import torch

from model.vargpt.guidance import draw_without

KEYS = [f"key {number}" for number in range(2000)]


def test_about_a_tenth_goes_without_and_key_and_salt_decide() -> None:
    rows = torch.arange(2000)
    first = draw_without(KEYS, rows, "epoch 0")
    assert 160 < first.sum() < 240
    assert torch.equal(first, draw_without(KEYS, rows, "epoch 0"))
    assert not torch.equal(first, draw_without(KEYS, rows, "epoch 1"))
    assert torch.equal(first[:7], draw_without(KEYS[:7], rows[:7], "epoch 0"))


def test_images_of_one_sequence_are_drawn_each() -> None:
    rows = torch.arange(2000).repeat_interleave(2)
    both = draw_without(KEYS, rows, "epoch 0", rate=0.5).view(2000, 2)
    assert 850 < (both[:, 0] != both[:, 1]).sum() < 1150


def test_rates_of_0_and_1_are_none_and_all() -> None:
    rows = torch.arange(50)
    assert not draw_without(KEYS, rows, "", rate=0.0).any()
    assert draw_without(KEYS, rows, "", rate=1.0).all()
