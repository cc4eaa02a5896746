"""Names of licences that forbid commercial use or changes, in the spellings that lists have."""

import pytest

from schemas.licences import is_restricted

RESTRICTED = (
    *("CC-BY-NC-4.0", "cc by-nd", "CCBYNC", "bync", "CC-BY-NCSA-4.0", "CC BY-N.C."),
    *("Non\u2011Commercial", "non\u2013commercial", "CC BY \uff2e\uff23", "non-derivative"),
    *("no derivatives", "not for commercial use", "academic use only", "research purposes only"),
    *("https://creativecommons.org/licenses/by-nc-nd/3.0/", "MIT, CC-BY-NC-4.0"),
)
FREE = (
    *("", "MIT", "Apache-2.0", "CC0", "CC-BY-4.0", "CC BY-SA 3.0", "public domain", "GPL-2"),
    *("Example Inc. SA", "commercial use allowed", "OpenRAIL++", "LAION research"),
)


@pytest.mark.parametrize("name", RESTRICTED)
def test_it_forbids_commercial_use_or_changes(name: str) -> None:
    assert is_restricted(name)


@pytest.mark.parametrize("name", FREE)
def test_it_does_not(name: str) -> None:
    assert not is_restricted(name)
