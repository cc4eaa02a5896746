"""Builds that are disturbed, those that finish what they left, and what must have come of it."""

from collections.abc import Callable

from corpus import Corpus
from disturbances import Moment, descendants, start, wait, wait_for

MOST_BUILDS = 4  # that it may take until one gets through


def assert_as_undisturbed(corpus: Corpus, undisturbed: Corpus) -> None:
    """Byte for byte what a quiet build makes, sound, every row accounted for, nothing left over."""
    made, expected = corpus.contents(), undisturbed.contents()
    assert made.keys() == expected.keys()  # no `.partial-` file, no mark of an attempt
    assert [name for name in made if made[name] != expected[name]] == []
    assert corpus.faults() == []
    for line in corpus.manifest["funnel"]:
        out = line["kept"] + sum(line["dropped"].values()) + sum(line["failed"].values())
        assert line["rows_in"] == out, line


def finish(corpus: Corpus, *words: str) -> None:
    """Build until a build gets through."""
    for _ in range(MOST_BUILDS):
        code, said = wait(start(corpus, *words))
        if code == 0:
            return
    raise AssertionError(f"no build of {MOST_BUILDS} got through: {said}")


def disturbed(
    corpus: Corpus, moment: Moment, disturb: Callable[..., object], *words: str
) -> tuple[int, str]:
    """Build, and disturb it at a moment; return the exit code and what was said."""
    build = start(corpus, *words)
    try:
        assert wait_for(moment, build, corpus.out), f"the build ended before {moment}"
        family = descendants(build)  # which a dead parent no longer names
        assert disturb(build) is not False, "the build ended before it was disturbed"
        return wait(build, family)
    finally:
        build.kill()
