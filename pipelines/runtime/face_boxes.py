"""The faces that a recipe has blurred, from the side-cars of scores."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from filters.face_blur import NO_BLUR, FaceBlur
from pipelines.runtime.sidecar import column, read_table, sidecar_path
from schemas.recipe import BlurConfig
from schemas.store.storage import Storage

BOXES = pa.list_(pa.list_(pa.float32()))  # of one image, each as `filters.face_blur.Box`


def read_boxes(
    store: Storage, shard: int, blur: BlurConfig | None
) -> Mapping[str, Sequence[Sequence[float]]]:
    """Return the boxes of the faces to blur, by key of the images that have some.

    Every row that `select` kept was scored, so a row that is missing has no face.
    """
    if blur is None:
        return {}
    name = f"{blur.scorer}_boxes"
    scores = read_table(store, sidecar_path("scores", shard), ["key", name])
    found = zip(column(scores, "key"), column(scores, name), strict=True)
    return {key: boxes for key, boxes in found if boxes}


def face_blur(boxes: Sequence[Sequence[float]], blur: BlurConfig | None) -> FaceBlur:
    """Return what blurs the faces of one image."""
    if blur is None or not boxes:
        return NO_BLUR
    return FaceBlur(boxes=tuple(map(tuple, boxes)), margin=blur.margin)
