"""Which samples of an epoch a node reads: exact, however few or uneven the shards."""


def node_span(samples: int, node: int, nodes: int) -> range:
    """Return the positions of an epoch's order that belong to a node.

    Nodes get one run of positions each, which differ in length by one at most and together hold
    every position once. A shard that a border cuts is read by both its nodes, each its part.
    Workers of a node need no split: they are handed windows of its span in turn.

    Args:
        samples: in the epoch.
        node: from 0.
        nodes: how many processes train on different samples.

    Raises:
        ValueError: no such node, or too few samples to give each node one.

    >>> [node_span(10, node, 3) for node in range(3)]
    [range(0, 3), range(3, 6), range(6, 10)]
    """
    if not 0 <= node < nodes:
        raise ValueError(f"node {node} of {nodes}: expected 0 to {nodes - 1}")
    if samples < nodes:
        raise ValueError(f"{samples} samples cannot be split over {nodes} nodes")
    return range(samples * node // nodes, samples * (node + 1) // nodes)
