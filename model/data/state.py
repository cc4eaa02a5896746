"""Where a loader stands: what goes into a checkpoint, and whether it fits the loader there."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from model.data.manifest import DataError


class Waiting(BaseModel):
    """A sample that was read and is in no batch yet, because none of its schedule was full."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: int
    position: int  # in the source's stream of this node
    bucket: int  # where it waits: number of its schedule


class LoaderState(BaseModel):
    """A few integers: the next sample of every source, and those that wait.

    What the order hangs on stands beside them, so that a state is not taken up by a loader of
    another order. The number of workers is not among it: no order hangs on that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: Mapping[str, Any]  # as `Loader` describes it
    taken: tuple[int, ...]  # positions passed of each source's stream, over all epochs
    waiting: tuple[Waiting, ...] = ()  # in order of arrival; none where all images are square
    seen: int = 0  # samples read, the bad ones included
    bad: int = 0  # of them skipped

    @classmethod
    def load(cls, saved: Mapping[str, Any], order: Mapping[str, Any]) -> Self:
        """Read a state as a checkpoint holds it.

        Raises:
            DataError: it is none, or one of another order.
        """
        try:
            state = cls.model_validate(saved)
        except ValidationError as error:
            raise DataError(f"the loader's state in the checkpoint: {error}") from error
        differing = [
            f"{name}: {state.order.get(name)!r} in the checkpoint, {order.get(name)!r} here"
            for name in sorted({*state.order, *order})
            if state.order.get(name) != order.get(name)
        ]
        if differing:
            raise DataError(
                "cannot go on from this checkpoint, samples would be lost or doubled: "
                + "; ".join(differing)
            )
        return state
