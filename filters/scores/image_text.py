"""Text drawn in an image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from filters.scorer import Batch, Device, Scores, Subject
from filters.scores.packages import package_identity, packages_of
from filters.scores.process_cache import once_a_process
from filters.scores.stock_sites import names_stock_site
from filters.signal import Column
from schemas.score_config import ImageTextScore

if TYPE_CHECKING:
    from rapidocr_onnxruntime import RapidOCR

PACKAGE: Final = "rapidocr-onnxruntime"
MODELS: Final = tuple(
    f"rapidocr_onnxruntime/models/{name}.onnx"
    for name in (
        "ch_PP-OCRv4_det_infer",
        "ch_PP-OCRv4_rec_infer",
        "ch_ppocr_mobile_v2.0_cls_infer",
    )
)
LONG_SIDE: Final = 736  # pixels at most; smaller images keep their size
STEP: Final = 32  # sides are filled up to multiples of it
LEAST_SIDE: Final = 64
MAX_LINES: Final = 200  # of an image
# A line is read at a height of 48 px; all lines of a printed page would take 20 s of a core.
READ_HEIGHT: Final = 48
READ_WIDTH: Final = 5_120  # of all lines of an image together, about a second
MIN_CONFIDENCE: Final = 0.5  # of words that were read


class Text(NamedTuple):
    """The text in one image."""

    area: float  # share of the picture
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTextScorer:
    """Share of the area with text, the words, and whether they name a site of stock photos.

    Lines of text are found by PP-OCRv4 in the image brought to 736 pixels, and the largest of them
    are read, up to about a second of work. A line that cannot be read does not count; a line for
    which there is no time counts for the area alone. Words are of Latin script or Chinese.
    """

    config: ImageTextScore
    device: Device

    needs_image = True
    clips = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """Area, words, and whether they name a stock site."""
        name = self.config.name
        return (
            Column(
                name=f"{name}_area",
                type=pa.float32(),
                meaning="share of the picture that lines of text take",
            ),
            Column(name=name, type=pa.string(), meaning="words in the picture, line by line"),
            Column(
                name=f"{name}_stock",
                type=pa.bool_(),
                meaning="the words name a site of stock photos",
            ),
        )

    def identity(self) -> Mapping[str, Any]:
        """Return package, site names and preprocessing."""
        return {
            "scorer": "image_text",
            "version": 1,
            **package_identity(PACKAGE, *MODELS),
            "stock_sites": list(self.config.stock_sites),
            "preprocessing": f"at most {LONG_SIDE} px, filled up to multiples of {STEP}",
        }

    def prepare(self, subject: Subject) -> Text:
        """Return the text in an image."""
        return text_in(subject.image)

    def score(self, batch: Batch) -> Scores:
        """Return area, words and stock sites of each image."""
        name, texts = self.config.name, batch.prepared
        return {
            f"{name}_area": [text.area for text in texts],
            name: [text.words for text in texts],
            f"{name}_stock": [
                names_stock_site(text.words, self.config.stock_sites) for text in texts
            ],
        }


def text_in(image: Image.Image) -> Text:
    """Find and read the text in an image.

    Raises:
        ScorerError: a package is missing.
    """
    engine = rapidocr()
    small = _resized(image)
    # RapidOCR takes pixels in OpenCV's order of colours.
    pixels = np.ascontiguousarray(np.asarray(_filled_up(small))[:, :, ::-1])
    boxes, _ = engine.auto_text_det(pixels)
    if boxes is None:
        return Text(area=0.0, words="")
    chosen = _chosen(boxes)
    read = _read(engine, pixels, [boxes[number] for number in chosen])
    words = dict(zip(chosen, read, strict=True))
    legible = [box for number, box in enumerate(boxes) if words.get(number) != ""]
    lines = [words[number] for number in sorted(words) if words[number]]
    return Text(area=_share(legible, small.size), words="\n".join(lines))


@once_a_process
def rapidocr() -> "RapidOCR":
    """Return the engine; it computes in one thread of the CPU.

    Raises:
        ScorerError: a package is missing.
    """
    with packages_of("scores"):
        from rapidocr_onnxruntime import RapidOCR
    return RapidOCR(
        intra_op_num_threads=1,
        inter_op_num_threads=1,
        det_limit_type="max",  # the image is not enlarged
        det_max_candidates=MAX_LINES,
    )


def _resized(image: Image.Image) -> Image.Image:
    scale = LONG_SIDE / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _filled_up(image: Image.Image) -> Image.Image:
    """Return the image with grey to its right and below, so that the engine does not resize it."""
    width, height = (max(LEAST_SIDE, -(-side // STEP) * STEP) for side in image.size)
    canvas = Image.new("RGB", (width, height), "grey")
    canvas.paste(image)
    return canvas


def _chosen(boxes: Sequence[NDArray[np.float32]]) -> list[int]:
    """Return the numbers of the lines to read: the largest ones, up to a width in total."""
    sizes = [_size(box) for box in boxes]
    left, chosen = READ_WIDTH, list[int]()
    for number in sorted(range(len(boxes)), key=lambda number: -sizes[number][0]):
        width = sizes[number][1]
        if width <= left:
            left -= width
            chosen.append(number)
    return sorted(chosen)


def _size(box: NDArray[np.float32]) -> tuple[float, float]:
    """Return the area of a line in pixels, and its width when it is read."""
    across = max(1.0, float(np.linalg.norm(box[0] - box[1])))
    down = max(1.0, float(np.linalg.norm(box[0] - box[3])))
    # A line that is half as high again as wide is turned before it is read.
    ratio = down / across if down / across >= 1.5 else across / down
    return across * down, READ_HEIGHT * ratio


def _read(
    engine: "RapidOCR", pixels: NDArray[np.uint8], boxes: Sequence[NDArray[np.float32]]
) -> list[str]:
    """Return the words of each line; '' for one that cannot be read."""
    if not boxes:
        return []
    upright, *_ = engine.text_cls(engine.get_crop_img_list(pixels, list(boxes)))
    read, _ = engine.text_rec(upright)
    return [words if confidence >= MIN_CONFIDENCE else "" for words, confidence, *_ in read]


def _share(boxes: Sequence[NDArray[np.float32]], size: tuple[int, int]) -> float:
    """Return the share of an image that quadrilaterals cover, each pixel counted once."""
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for box in boxes:
        draw.polygon([(float(x), float(y)) for x, y in box], fill=1)
    return float(np.asarray(mask).mean())
