import torch

from model.image_text.augment import augment

COUNT, SIDE = 64, 32


def changed(images: torch.Tensor, *, flip: bool = True, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return augment(images, torch.full((len(images),), flip), SIDE, generator)


def test_a_seed_decides_all_changes() -> None:
    images = torch.randint(0, 256, (COUNT, 3, 40, 40), dtype=torch.uint8)
    found = changed(images)
    assert found.shape == (COUNT, 3, SIDE, SIDE)
    assert 0 <= found.min() < found.max() <= 1
    torch.testing.assert_close(found, changed(images), rtol=0, atol=0)
    assert not torch.equal(found, changed(images, seed=1))


def test_around_a_white_image_it_is_as_white_as_inside() -> None:
    found = changed(torch.full((COUNT, 3, 40, 40), 255, dtype=torch.uint8))
    spread = found.amax(dim=(2, 3)) - found.amin(dim=(2, 3))
    plain = spread[spread.amax(dim=1) < 0.01]
    assert len(plain) > COUNT // 3  # the others are tinted, with a white rectangle


def test_only_images_that_may_be_mirrored_are() -> None:
    images = torch.full((COUNT, 3, 40, 40), 255, dtype=torch.uint8)
    images[..., :20] = 0  # the left half is black

    def darker_left(found: torch.Tensor) -> torch.Tensor:
        return found[..., : SIDE // 2].mean(dim=(1, 2, 3)) < found[..., SIDE // 2 :].mean((1, 2, 3))

    assert darker_left(changed(images, flip=False)).all()
    assert 0.25 < darker_left(changed(images)).float().mean() < 0.75
