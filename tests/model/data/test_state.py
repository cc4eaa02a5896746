"""What a checkpoint holds of a loader."""

import json

import pytest

from model.data.manifest import DataError
from model.data.state import LoaderState, Waiting

ORDER = {"seed": 0, "node": "0 of 2", "sources": [{"shards": "ab", "samples": 3}]}


def saved(**changes) -> dict:
    waiting = (Waiting(source=0, position=4, bucket=1),)
    state = LoaderState(order=ORDER, taken=(7,), waiting=waiting, seen=7, bad=1)
    return json.loads(json.dumps(state.model_dump(mode="json"))) | changes


def test_it_comes_back_from_json() -> None:
    assert LoaderState.load(saved(), ORDER).model_dump(mode="json") == saved()


def test_a_state_of_another_order_is_refused_with_both_sides() -> None:
    other = ORDER | {"node": "1 of 3", "seed": 5}
    expected = "node: '0 of 2' in the checkpoint, '1 of 3' here; seed: 0 in the checkpoint, 5 here"
    with pytest.raises(DataError, match=expected):
        LoaderState.load(saved(), other)


@pytest.mark.parametrize("changes", [{"taken": "seven"}, {"taken": [1], "more": 2}])
def test_what_is_no_state_is_refused(changes: dict) -> None:
    with pytest.raises(DataError, match="the loader's state in the checkpoint"):
        LoaderState.load(saved(**changes), ORDER)
