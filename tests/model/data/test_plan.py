"""Which positions a node reads, and plans that make no sense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.plan import Shuffle, node_span


@given(st.integers(1, 300), st.integers(1, 20))
def test_spans_hold_every_position_once_and_differ_by_one_at_most(samples: int, nodes: int) -> None:
    if samples < nodes:
        with pytest.raises(ValueError, match=f"{samples} samples cannot be split over {nodes}"):
            node_span(samples, 0, nodes)
        return
    spans = [node_span(samples, node, nodes) for node in range(nodes)]
    assert [position for span in spans for position in span] == list(range(samples))
    assert max(map(len, spans)) - min(map(len, spans)) <= 1


@pytest.mark.parametrize("node", [-1, 3])
def test_a_node_that_is_none_is_refused(node: int) -> None:
    with pytest.raises(ValueError, match=f"node {node} of 3: expected 0 to 2"):
        node_span(10, node, 3)


@pytest.mark.parametrize("field", ["open_shards", "block", "window"])
def test_a_shuffle_of_nothing_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match="expected 1 or more everywhere"):
        Shuffle(**{field: 0})
