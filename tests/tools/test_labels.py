from collections import Counter
from pathlib import Path

import labels
import pytest
from labels import RECIPE, emoji_family, read_images, read_pairs

from schemas.recipe_file import load_recipe

IMAGES_IN_CORPUS = 6_885  # that can be decoded


def test_three_hundred_images_stand_for_the_whole_corpus() -> None:
    images = read_images()
    assert len({image.paths for image in images}) == len(images) == 300
    assert sum({image.stratum: image.stratum_size for image in images}.values()) == IMAGES_IN_CORPUS
    assert sum(image.weight for image in images) == pytest.approx(IMAGES_IN_CORPUS)


def test_no_stratum_is_smaller_than_what_was_drawn_of_it() -> None:
    for rows in (read_images(), read_pairs()):
        drawn = Counter(row.stratum for row in rows)
        assert all(1 <= drawn[row.stratum] <= row.stratum_size for row in rows)
        assert all(len({r.stratum_size for r in rows if r.stratum == s}) == 1 for s in drawn)


def test_every_image_has_a_label_and_fine_stands_alone() -> None:
    for image in read_images():
        assert image.labels
        assert labels.FINE not in image.labels or len(image.labels) == 1


def test_pairs_are_labelled_once_in_order_with_one_label() -> None:
    pairs = read_pairs()
    assert len({pair.paths for pair in pairs}) == len(pairs) >= 150
    assert all(a < b for a, b in (pair.paths for pair in pairs))
    assert all(len(pair.labels) == 1 for pair in pairs)


def test_an_unknown_label_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "images.csv"
    file.write_text("path,stratum,stratum_rows,labels\na.png,none,2,fine\nb.png,none,2,blnak\n")
    monkeypatch.setattr(labels, "IMAGES", file)
    with pytest.raises(ValueError, match=r"images\.csv:3: expected blank, .*, got blnak"):
        read_images()


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("1f44b", "1f44b-1f3ff"),
        ("1f468-200d-1f680", "1f9d1-1f3fc-200d-1f680"),
        ("1f3c3", "1f3c3-1f3fb-200d-2640-fe0f"),
        ("1f474", "1f475-1f3fe"),
        ("a9-fe0f", "00a9-fe0f"),
    ],
)
def test_skin_tones_and_genders_are_one_family(a: str, b: str) -> None:
    assert emoji_family(a) == emoji_family(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [("1f44b", "1f44c"), ("1f3fb", "1f3fc"), ("2640-fe0f", "2642-fe0f"), ("1f466", "1f468")],
)
def test_other_emoji_are_another_family(a: str, b: str) -> None:
    assert emoji_family(a) != emoji_family(b)


def test_the_recipe_of_the_comparison_is_valid() -> None:
    recipe = load_recipe(str(RECIPE))
    assert [source.name for source in recipe.sources] == ["openclipart", "fluent-emoji"]
