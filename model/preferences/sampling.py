"""Generation of several images for each prompt, each image from its own seed.

Shapes: B images, H and W pixels, L codes per image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import torch
from PIL import Image

from model.data.images import cut_patches
from model.data.samples import BadSample, Message
from model.data.text import Conversation, TextEncoder
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.tokenizers.prepare import to_pixels
from model.tokenizers.protocol import CodeArray, Codes, count_codes
from model.vargpt.generate import Prompt, generate
from model.vargpt.sampling import Sampling
from model.vargpt.vargpt import Vargpt

if TYPE_CHECKING:
    from transformers import Qwen2VLImageProcessorPil


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Question:
    """A conversation whose answer marks one image to generate."""

    key: str
    messages: Sequence[Message]
    edited: Image.Image | None = None  # RGB, the input image that `<image>` marks


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Drawn:
    """One generated image of a question."""

    seed: str
    codes: CodeArray  # [L], as a shard holds them
    image: Image.Image  # RGB


def sample_seed(key: str, index: int, seed: str) -> str:
    """Return the seed of one image of a prompt, 32 hex digits."""
    return blake2b(f"{seed}\n{key}\n{index}".encode(), digest_size=16).hexdigest()


class Sampler:
    """Generates images, batch by batch.

    Args:
        model: in evaluation mode.
        seed: part of the seed of every image, such as the hash of the model.
        text: the model's text tokenizer; its `pad_multiple` must be the model's.
        sampling: guidance, temperature, top-k and top-p of each element.
        image_processor: of the backbone, for prompts with an image.
    """

    def __init__(
        self,
        model: Vargpt,
        seed: str,
        text: TextEncoder,
        sampling: Sampling,
        image_processor: "Qwen2VLImageProcessorPil",
    ) -> None:
        self._model, self._seed = model, seed
        self._text, self._sampling = text, sampling
        self._image_processor = image_processor

    def prompt(
        self, question: Question, samples: int, tokenizer: NetworkTokenizer
    ) -> Prompt | BadSample:
        """Return the tokens of a question, up to the start of its image.

        They are the same tokens that precede the image in training on the pair.
        """
        patches = None
        if question.edited is not None:
            patches = cut_patches(question.edited, self._image_processor)
        conversation = Conversation(
            question.messages,
            generated=count_codes(tokenizer.model_schedule),
            input_tokens=patches.tokens if patches else 0,
        )
        (encoded,) = self._text.encode([conversation])
        if isinstance(encoded, BadSample):
            return encoded
        assert encoded.image_start is not None, "a question marks an image"
        return Prompt(
            ids=encoded.ids_S[: encoded.image_start].tolist(),
            keys=[sample_seed(question.key, index, self._seed) for index in range(samples)],
            pixel_values=torch.from_numpy(patches.pixel_values) if patches else None,
            image_grid_thw=torch.tensor([patches.grid_thw]) if patches else None,
        )

    def draw(self, prompts: Sequence[Prompt], tokenizer: NetworkTokenizer) -> list[list[Drawn]]:
        """Generate the images of all prompts in one batch, with the schedule of `tokenizer`."""
        answers = generate(self._model, tokenizer, prompts, self._sampling)
        rows = [answer.images[0].values_BL[0] for answer in answers]
        pixels_BHWC = to_pixels(tokenizer.decode(Codes.unpack(rows, tokenizer.schedule)))
        drawn = iter(
            Drawn(seed=answer.key, codes=codes_L, image=Image.fromarray(pixels_HWC))
            for answer, codes_L, pixels_HWC in zip(answers, rows, pixels_BHWC, strict=True)
        )
        return [[next(drawn) for _ in prompt.keys] for prompt in prompts]
