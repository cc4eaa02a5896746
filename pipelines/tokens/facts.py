"""How the arrays of a corpus came about: on what devices, and how exactly."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.runtime.sidecar import each_shard, read_table, sidecar_path
from schemas.store.storage import Storage

COLUMNS = ("member", "device", "pass_images", "compared", "differing")


def made_on(store: Storage, member: str, shard_count: int) -> dict[str, Any]:
    """Sum up one member's rows of all side-cars.

    Returns:
        `made_on`, how many arrays each device made in passes of how many images; `compared`, how
        many bits or indices were computed in fp32 too; `differing`, how many of those came out
        otherwise.
    """

    def summed(shard: int) -> pa.Table:
        table = read_table(store, sidecar_path("tokens", shard), columns=COLUMNS)
        mine = table.filter(pc.field("member") == member)
        return mine.group_by(["device", "pass_images"]).aggregate(
            [("member", "count"), ("compared", "sum"), ("differing", "sum")]
        )

    rows = pa.concat_tables(each_shard(summed, range(shard_count))).to_pylist()
    devices: dict[str, int] = {}
    for row in rows:
        name = f"{row['device']}, {row['pass_images']} a pass"
        devices[name] = devices.get(name, 0) + row["member_count"]
    return {
        "made_on": dict(sorted(devices.items())),
        "compared": sum(row["compared_sum"] for row in rows),
        "differing": sum(row["differing_sum"] for row in rows),
    }
