"""The captions to learn: titles in lower case, without what tells nothing about the image."""

from model.image_text.pairs import Pair


def caption_of(pair: Pair) -> str:
    """Return the title of a pair in lower case, without punctuation, skin tones and numbers.

    >>> caption_of(Pair(name="a", title="Red Apples 02", text="", tags=()))
    'red apples'
    """
    words = pair.subject.split()
    return " ".join(word for word in words if not word.isdigit()) or pair.subject
