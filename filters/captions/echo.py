"""Whether an answer repeats its prompt."""

from filters.text import normalised_text
from filters.words import split_words

RUN = 8  # words of the prompt in a row, anywhere in the answer
START = 3  # least words of a whole prompt, at the answer's beginning


def echo_in(answer: str, instructions: str) -> str:
    """Return the words of a prompt that an answer repeats, or ''.

    These are 8 words in a row, or a whole shorter prompt of 3 words or more at the beginning. Case
    and punctuation do not count.

    Args:
        answer: as the model wrote it.
        instructions: the prompt without the source's words, which a caption may repeat; a line
            for each part between them.

    >>> echo_in("Describe the image. A red fox.", "Describe the image.")
    'describe the image'
    """
    words = split_words(normalised_text(answer))
    # Counted by line: words on both sides of a source's text do not follow each other.
    parts = [split_words(normalised_text(line)) for line in instructions.split("\n")]
    runs = {tuple(part[n : n + RUN]) for part in parts for n in range(len(part) - RUN + 1)}
    for n in range(len(words) - RUN + 1):
        if (run := tuple(words[n : n + RUN])) in runs:
            return " ".join(run)
    short = [part for part in parts if START <= len(part) < RUN]
    return next((" ".join(part) for part in short if words[: len(part)] == part), "")
