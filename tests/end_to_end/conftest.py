"""A corpus small enough that many tests can each have it as it was built, to change."""

import pytest
from tiny import Tiny, draw_images


@pytest.fixture(scope="session")
def six_images(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Six images in three shards, and a copy of all of it beside it."""
    tiny = Tiny(folder=tmp_path_factory.mktemp("tiny") / "six")
    draw_images(tiny.folder / "images", range(6))
    tiny.build()
    tiny.keep()
    return tiny


@pytest.fixture
def tiny(six_images: Tiny) -> Tiny:
    """The same, to be changed, but images that are there: laid anew, so that all of it is fresh."""
    six_images.lay_anew()
    return six_images
