"""A labelled grid of images that the model generates for fixed prompts.

Shapes: B images, H and W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Final

import torch
from PIL import Image, ImageDraw, ImageFont

from model.data.samples import Message
from model.data.text import Conversation, Encoded, TextEncoder
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.tokenizers.prepare import to_pixels
from model.vargpt.generate import Prompt, generate
from model.vargpt.sampling import Sampling
from model.vargpt.vargpt import Vargpt

COLUMNS: Final = 4
LINE: Final = 22  # px, of a caption
FONT_SIZE: Final = 13  # px
AT_ONCE: Final = 16  # images


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleGrid:
    """Generates images for the same prompts each time, each prompt with its own random numbers."""

    tokenizer: NetworkTokenizer  # with the schedule of the images
    text: TextEncoder
    prompts: Sequence[str]
    sampling: Sampling

    def draw(self, model: Vargpt, label: str) -> Image.Image:
        """Generate an image for each prompt and return the grid; keep the model's mode."""
        training = model.training
        model.eval()
        images: list[Image.Image] = []
        for start in range(0, len(self.prompts), AT_ONCE):
            images += self._generate(model, self.prompts[start : start + AT_ONCE])
        model.train(training)
        return grid(images, self.prompts, label)

    def _generate(self, model: Vargpt, prompts: Sequence[str]) -> list[Image.Image]:
        requests = [
            Prompt(ids=ids, keys=[f"{number} {prompt}"])
            for number, (prompt, ids) in enumerate(
                zip(prompts, prompt_ids(self.text, prompts), strict=True)
            )
        ]
        answers = generate(model, self.tokenizer, requests, self.sampling)
        decoded = [self.tokenizer.decode(answer.images[0])[0] for answer in answers]
        return [to_image(image_3HW) for image_3HW in decoded]


def prompt_ids(text: TextEncoder, prompts: Sequence[str]) -> list[list[int]]:
    """Return the tokens of each prompt, up to and including the mark that starts the image."""
    conversations = [
        Conversation(
            (
                Message("user", f"Please illustrate a picture of {prompt}"),
                Message("assistant", f"Here's a picture of {prompt}<image_gen>"),
            ),
            generated=1,
        )
        for prompt in prompts
    ]
    ids: list[list[int]] = []
    for encoded in text.encode(conversations):
        assert isinstance(encoded, Encoded), f"a prompt is too long: {encoded}"
        ids.append(encoded.ids_S[: encoded.image_start].tolist())
    return ids


def to_image(image_3HW: torch.Tensor) -> Image.Image:
    """Convert an image in [-1, 1] to Pillow's."""
    return Image.fromarray(to_pixels(image_3HW[None])[0])


def grid(images: Sequence[Image.Image], captions: Sequence[str], label: str) -> Image.Image:
    """Draw images of one size in rows, a caption below each and a label at the top."""
    width, height = images[0].size
    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    picture = Image.new("RGB", (columns * width, LINE + rows * (height + LINE)), "white")
    font = ImageFont.load_default(FONT_SIZE)
    pen = ImageDraw.Draw(picture)
    pen.text((4, 3), label, "black", font)
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = number % columns * width, LINE + number // columns * (height + LINE)
        picture.paste(image, (x, y))
        pen.text((x + 4, y + height + 3), fitting(caption, width - 8, font), "black", font)
    return picture


def fitting(caption: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """Shorten a caption until it is no wider than `width` px."""
    length = len(caption)
    while length > 1 and font.getlength(caption) > width:
        length -= 1
        caption = shorten(caption, length, placeholder="...")
    return caption
