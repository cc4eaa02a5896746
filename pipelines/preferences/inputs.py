"""Inputs of the model: tokenized prompts, with the images and codes that they refer to."""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL.Image import Image

from filters.decode import DecodeError
from model.data.samples import BadSample, Message
from model.preferences.sampling import Question
from model.tokenizers.prepare import cover_crop, to_model_input
from model.tokenizers.protocol import CodeArray, Codes, count_codes
from pipelines.preferences.tools import Tools
from pipelines.runtime.active_images import active_images
from pipelines.runtime.images import decode_image
from pipelines.runtime.sidecar import Reject
from schemas.recipe import DecodeConfig
from schemas.store.storage import CorpusError, Storage

if TYPE_CHECKING:
    from model.tokenizers.network_tokenizer import NetworkTokenizer
    from model.vargpt.generate import Prompt

MAX_BYTES = 50_000_000  # an image file


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prepared:
    """A prompt with its inputs, ready to be drawn."""

    row: dict[str, Any]  # of schema PROMPTS
    prompt: "Prompt"
    given: Image | None  # the image that is chosen over the model's own
    codes: CodeArray | None  # codes of `given`, [L]
    edited: Image | None  # the image to edit


class UnusableError(Exception):
    """An error of a prompt that cannot be used, with its reason."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """Read and decode the images of a prompt, and tokenize its words."""

    tools: Tools
    store: Storage
    decode: DecodeConfig
    samples: int
    with_given: bool

    def __call__(self, row: dict[str, Any]) -> Prepared | Reject:
        """Return the inputs of a prompt, or a reject with the reason why there are none."""
        try:
            return self._prepared(row)
        except (DecodeError, UnusableError) as error:
            return Reject(id=row["key"], reason=error.reason, detail=error.detail)

    def _prepared(self, row: dict[str, Any]) -> Prepared:
        try:
            tokenizer = self.tools.tokenizer(row["aspect"])
        except ValueError as error:
            raise UnusableError("bad_aspect", str(error)) from error
        edited = self._image(row, "edited")
        given = self._image(row, "given") if self.with_given else None
        messages = [Message(**message) for message in row["messages"]]
        question = Question(key=row["key"], messages=messages, edited=edited)
        prompt = self.tools.sampler.prompt(question, self.samples, tokenizer)
        if isinstance(prompt, BadSample):
            raise UnusableError("long_prompt", str(prompt))
        codes = None if given is None else self._codes(row, given, tokenizer)
        return Prepared(row=row, prompt=prompt, given=given, codes=codes, edited=edited)

    def _image(self, row: dict[str, Any], name: str) -> Image | None:
        if not row[name]["file"]:
            return None
        body = self._read(row[name])
        with active_images(row["key"]):
            return decode_image(body, self.decode)

    def _codes(self, row: dict[str, Any], given: Image, tokenizer: "NetworkTokenizer") -> CodeArray:
        """Return the stored codes of an image, or encode it as a build would."""
        if not row["codes"]["file"]:
            pixels_HWC = cover_crop(given, *tokenizer.image_size)
            return tokenizer.encode(to_model_input(pixels_HWC[None])).pack()[0]
        body = self._read(row["codes"])
        try:
            array = np.load(io.BytesIO(body), allow_pickle=False)
            centre = array if array.shape[0] == count_codes(tokenizer.schedule) else array[0]
            codes = Codes.unpack([centre], tokenizer.schedule)
            tokenizer.to_indices(codes)
        except (ValueError, EOFError, IndexError) as error:
            raise UnusableError("bad_codes", str(error)) from error
        return codes.pack()[0]

    def _read(self, place: dict[str, Any]) -> bytes:
        file, offset, length = place["file"], place["offset"], place["length"]
        try:
            if length:
                return self.store.read_ranges([(file, offset, length)])[0]
            fs, path = self.store.locate(file)
            if (size := fs.size(path)) > MAX_BYTES:
                raise UnusableError("too_many_bytes", f"{file}: {size:,}, up to {MAX_BYTES:,}")
            return fs.cat_file(path)
        except (FileNotFoundError, IsADirectoryError, CorpusError) as error:
            raise UnusableError("unreadable_bytes", f"{file}: {error}") from error
