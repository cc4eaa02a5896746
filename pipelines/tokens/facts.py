"""Facts about the arrays of a corpus: devices, and comparison with fp32."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.runtime.sidecar import each_shard, read_table, sidecar_path
from schemas.store.storage import Storage

COLUMNS = ("member", "device", "pass_images", "compared", "differing")


def made_on(store: Storage, member: str, shard_count: int) -> dict[str, Any]:
    """Sum up the rows of one member in all side-cars.

    Returns:
        `made_on`: number of arrays by device and pass size; `compared`: number of bits or indices
        that were also computed in fp32; `differing`: how many of these differ.
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
