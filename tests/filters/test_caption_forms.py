import pytest

from filters.caption_forms import LONGEST, is_noun_phrase, is_one_line

PHRASES = [
    "A red fox in the snow.",
    "a red fox",
    "The old bridge over the river",
    "Two dogs in a park",
    "Three small birds on a wire.",
    "Several people in front of a house",
    "A boy eating an apple",
    "My dog on the sofa",
    "An owl, a hen and two mice",
    "A table covered with snow",
    "A brick building near the sea",
    "A glass of water",
    "A well-known tower at night",
    "Many red fish in a pond",
    "A cup with the year 1999 on the side",
]
OTHERS = [
    # Sentences.
    *("Two dogs run.", "A fox runs through the snow.", "A man holds a ball", "The dog sleeps."),
    *("A man in a red hat holds a ball.", "A dog slept on a bench", "The children play in a park"),
    *("A fox with cubs sits on a hill", "A storm loomed over the town", "The dogs gallop"),
    *("A man jumped high", "It rains.", "There is a fox", "A fox that runs", "The cat has a bone"),
    *(
        "A man and a woman dance",
        "A fox is red",
        "A red building sits on a hill",
        "Two dogs gallop",
    ),
    # Without a determiner, or in another form.
    *("fox", "Red foxes in the snow", "fox, snow, winter", "Photo of a fox", "IMG_1234", "", "."),
    *("A", "A.", "The", "A fox (old)", "A fox: a story", 'A sign with the word "Open"', "A fox?"),
    *("The Beatles", "A Clockwork Orange", "A is for apple", "A fox. A hen.", "A fox\nA hen"),
    # Other languages.
    *("Ein roter Fuchs im Schnee.", "Der Fuchs", "A raposa vermelha na neve", "A r\u00f3ka"),
    *("\u4e00\u53ea\u7ea2\u72d0\u72f8\u3002", "Un renard dans la neige", "An caf\u00e9"),
]


@pytest.mark.parametrize("caption", PHRASES)
def test_a_noun_phrase_fits_inside_a_sentence(caption: str):
    assert is_noun_phrase(caption)
    assert is_one_line(caption)


@pytest.mark.parametrize("caption", OTHERS)
def test_what_may_be_no_noun_phrase_does_not_fit(caption: str):
    assert not is_noun_phrase(caption)


@pytest.mark.parametrize(
    ("words", "fits"), [(LONGEST - 1, True), (LONGEST, True), (LONGEST + 1, False)]
)
def test_long_captions_do_not_fit(words: int, fits: bool):
    caption = "a fox and " + ", ".join(["hen"] * (words - 3))
    assert is_noun_phrase(caption) == fits
    assert is_one_line(caption) == fits


@pytest.mark.parametrize(
    "caption", ["Two dogs run.", "fox, snow", "\u4e00\u53ea\u7ea2\u72d0\u72f8\u3002", "Der Fuchs."]
)
def test_a_line_fits_into_quotation_marks(caption: str):
    assert is_one_line(caption)


@pytest.mark.parametrize(
    "caption",
    [
        *("", ".", "Who?", "A fox!", "A fox. A hen.", 'A sign "Open"', "\u201cA fox\u201d"),
        *("A fox\nA hen", "\u00abUn renard\u00bb", "Main St.", "\u72d0\u3002\u72f8\u3002"),
    ],
)
def test_other_texts_do_not_fit_into_quotation_marks(caption: str):
    assert not is_one_line(caption)
