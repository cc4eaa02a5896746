"""Arrays come in any order and stand in the order asked for."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.runtime.spool import Spool
from pipelines.tokens.token_arrays import TokenArrays

SHAPES = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), min_size=1, max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(SHAPES, st.randoms(use_true_random=False))
def test_every_array_is_read_back_from_where_its_row_says(
    tmp_path: Path, shapes: list[tuple[int, int]], random
) -> None:
    images = {
        f"{number:03d}": np.arange(h * w, dtype=np.uint16).reshape(h, w) + 100 * number
        for number, (h, w) in enumerate(shapes)
    }
    order = [*images]
    random.shuffle(order)
    with Spool(tmp_path) as spool:
        arrays = TokenArrays(spool=spool)
        for key in order:
            arrays.add(key, "a.npy", images[key], {"aspect": 1.0})
            arrays.add(key, "b.npy", images[key] * 2, {"aspect": 1.0})
        for member, factor in (("a.npy", 1), ("b.npy", 2)):
            path = tmp_path / member
            rows = arrays.write(member, sorted(images), path)
            data = path.read_bytes()
            for row, (key, array) in zip(rows, images.items(), strict=True):
                body = data[row["offset"] : row["offset"] + row["length"]]
                found = np.frombuffer(body, row["dtype"]).reshape(row["shape"])
                np.testing.assert_array_equal(found, array * factor)
                assert (row["key"], row["member"], row["aspect"]) == (key, member, 1.0)
            whole = np.load(path)
            if len(set(shapes)) == 1:
                np.testing.assert_array_equal(whole, np.stack([*images.values()]) * factor)
            else:
                assert whole.shape == (sum(h * w for h, w in shapes),)


def test_it_knows_what_it_holds(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        arrays = TokenArrays(spool=spool)
        arrays.add("k", "a.npy", np.zeros(3, np.float16), {})
        assert ("k", "a.npy") in arrays
        assert ("k", "b.npy") not in arrays
        with pytest.raises(KeyError):
            arrays.write("b.npy", ["k"], tmp_path / "b.npy")
