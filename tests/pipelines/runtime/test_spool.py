"""What came in any order is read back by name, and nothing of it stays on disk."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.runtime.spool import Spool

BODIES = st.dictionaries(st.text("abc", max_size=3), st.binary(max_size=30), max_size=9)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(bodies=BODIES, data=st.data())
def test_bytes_are_read_back_in_any_order(
    bodies: dict[str, bytes], data: st.DataObject, tmp_path_factory
) -> None:
    with Spool(tmp_path_factory.getbasetemp()) as spool:
        for name, body in bodies.items():
            spool.add(name, body)
        for name in data.draw(st.permutations(list(bodies))):
            assert name in spool
            assert spool.read(name) == bodies[name]


def test_bytes_may_come_between_reads_and_the_last_of_a_name_count(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.add("a", b"first")
        assert spool.read("a") == b"first"
        spool.add("b", b"another")
        spool.add("a", b"second")
        assert (spool.read("a"), spool.read("b")) == (b"second", b"another")
        assert "c" not in spool


def test_its_file_has_no_name(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.add("a", b"body")
        assert not list(tmp_path.iterdir())
