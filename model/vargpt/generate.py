"""Generation of answers to prompts: text, and an image at each start mark.

Shapes: P prompts, B answers, M answers active in a call, S tokens, n positions of a scale, K and V
as in codes.py, C H W of the tokenizer's features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.tokenizers.protocol import Codes, count_codes
from model.vargpt.check import check_model_schedule
from model.vargpt.image_decoding import ImageDecoding
from model.vargpt.sampling import Sampling, choose, generators
from model.vargpt.stream import Stream
from model.vargpt.vargpt import Vargpt


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prompt:
    """A prompt with one answer per key; the key decides all random numbers of its answer.

    The prompt may contain the beginning of the answer: if it ends with the start mark of an image,
    the answer continues with that image.
    """

    ids: Sequence[int]
    keys: Sequence[str]
    pixel_values: Tensor | None = None  # of input images, as the processor returns them
    image_grid_thw: Tensor | None = None


@dataclass(kw_only=True, slots=True, eq=False)
class Answer:
    """The generated answer of a key."""

    key: str
    ids: list[int] = field(default_factory=list)  # after the prompt; pads of images included
    images: list[Codes] = field(default_factory=list)  # of one image each
    ended: bool = False  # True: complete; False: cut off


@torch.inference_mode()
def generate(
    model: Vargpt,
    tokenizer: NetworkTokenizer,
    prompts: Sequence[Prompt],
    sampling: Sampling | None = None,
    *,
    max_text: int = 256,
    max_images: int = 1,
) -> list[Answer]:
    """Answer prompts, in order of their keys.

    Args:
        model: in evaluation mode.
        tokenizer: the tokenizer of the model's codes, with the schedule of the images.
        prompts: the prompts; all answers of all keys must fit in memory together.
        sampling: how to sample; None for the released code's settings.
        max_text: most text tokens of an answer, marks included.
        max_images: most images of an answer; the answer ends after the last.

    Raises:
        ValueError: the model is in training mode, codes or schedule are not the model's, a prompt
            has unknown tokens, or a key is repeated.
    """
    if model.training:
        raise ValueError("expected the model in evaluation mode, got training mode")
    model.config.codes.check_tokenizer(tokenizer)
    check_model_schedule(tokenizer.model_schedule, model.config)
    _check_prompts(model, prompts)
    answering = _Answering(model, tokenizer, sampling or Sampling(), prompts)
    while True:
        answering.write(max_text)
        if not any(answering.starting()):
            return answering.answers
        answering.draw(max_images)


def _check_prompts(model: Vargpt, prompts: Sequence[Prompt]) -> None:
    vocab = model.config.backbone.vocab
    keys = [key for prompt in prompts for key in prompt.keys]
    if not keys or len(set(keys)) < len(keys):
        raise ValueError(f"expected one or more different keys, got {keys[:3]}...")
    for prompt in prompts:
        if len(prompt.ids) < 2 or not 0 <= min(prompt.ids) <= max(prompt.ids) < vocab:
            raise ValueError(
                f"expected prompts of 2 tokens or more, each below {vocab}, the rows of the "
                f"embedding, got {list(prompt.ids[:8])}... of {len(prompt.ids)} tokens"
            )
        if model.config.marks.image_pad in prompt.ids:
            raise ValueError("a prompt must not contain a generated image; use `<image>`")


class _Answering:
    """The state of all answers during generation."""

    def __init__(
        self,
        model: Vargpt,
        tokenizer: NetworkTokenizer,
        sampling: Sampling,
        prompts: Sequence[Prompt],
    ) -> None:
        keys = [key for prompt in prompts for key in prompt.keys]
        self._model, self._tokenizer, self._sampling = model, tokenizer, sampling
        self._marks = model.config.marks
        self._random = generators(keys)
        self.answers = [Answer(key=key) for key in keys]
        self._device = model.decoder.head.weight.device
        self._stream, self._last_BH = self._prefilled(prompts)
        self._last_ids = [prompt.ids[-1] for prompt in prompts for _ in prompt.keys]

    def starting(self) -> list[bool]:
        """Return for each answer whether an image starts now."""
        return [
            last == self._marks.image_start and not answer.ended
            for last, answer in zip(self._last_ids, self.answers, strict=True)
        ]

    def write(self, max_text: int) -> None:
        """Write text until every answer starts an image, has ended or has `max_text` tokens."""
        while any(writing := self._writing(max_text)):
            rows = [row for row, on in enumerate(writing) if on]
            for row, token in zip(rows, self._choose(rows), strict=True):
                self._append(row, token)
            self._feed(writing)

    def draw(self, max_images: int) -> None:
        """Generate the started images, and write their end marks."""
        drawing = self.starting()
        rows = [row for row, on in enumerate(drawing) if on]
        codes = self._draw(rows)
        pads = self._model.config.pads(count_codes(self._tokenizer.model_schedule))
        for row, values_L in zip(rows, codes.values_BL, strict=True):
            answer = self.answers[row]
            answer.images.append(Codes(values_BL=values_L[None], schedule=codes.schedule))
            answer.ids += [self._marks.image_pad] * pads
            self._append(row, self._marks.image_end)
            answer.ended = len(answer.images) >= max_images
        if not all(answer.ended for answer in self.answers):
            self._feed(drawing)

    def _writing(self, max_text: int) -> list[bool]:
        pad = self._marks.image_pad
        return [
            not (answer.ended or starts) and sum(i != pad for i in answer.ids) < max_text
            for answer, starts in zip(self.answers, self.starting(), strict=True)
        ]

    def _choose(self, rows: list[int]) -> list[int]:
        """Choose the next token of some answers."""
        logits_MV = self._model.backbone.text_logits(self._last_BH[rows]).float()
        # Only `draw` writes these tokens.
        logits_MV[:, [self._marks.image_pad, self._marks.image_end]] = -torch.inf
        random, temperature = self._streams(rows), self._sampling.text_temperature
        return choose(logits_MV[:, None, None], random, temperature=temperature).flatten().tolist()

    def _streams(self, rows: list[int]) -> list[torch.Generator]:
        # Only the active answers: an answer's random numbers must not depend on other answers.
        return [self._random[row] for row in rows]

    def _append(self, row: int, token: int) -> None:
        self.answers[row].ids.append(token)
        self.answers[row].ended |= token == self._marks.answer_end
        self._last_ids[row] = token

    def _feed(self, rows: list[bool]) -> None:
        """Feed the last token of the answers that have a new one."""
        used_B1 = torch.tensor(rows, device=self._device)[:, None]
        ids_B1 = torch.tensor(self._last_ids, device=self._device)[:, None]
        embeds_B1H = self._model.backbone.embed(ids_B1, None, None)
        hidden_B1H = self._stream.feed(embeds_B1H, used_B1)
        self._last_BH = torch.where(used_B1, hidden_B1H[:, 0], self._last_BH)

    def _draw(self, rows: list[int]) -> Codes:
        """Generate an image for each of M answers."""
        tokenizer, sampling, codes = self._tokenizer, self._sampling, self._model.config.codes
        schedule = tokenizer.model_schedule
        drawing_B = torch.zeros(len(self.answers), dtype=torch.bool, device=self._device)
        drawing_B[rows] = True
        decoding = ImageDecoding(self._model, self._stream, drawing_B, schedule, sampling.guidance)
        inputs_BnD = sum_MCHW = None
        drawn: list[Tensor] = []
        for scale in range(len(schedule)):
            logits_MnKV = codes.split(decoding.logits(inputs_BnD))[drawing_B]
            targets_MnK = choose(
                logits_MnKV,
                self._streams(rows),
                temperature=sampling.temperature,
                top_k=sampling.top_k,
                top_p=sampling.top_p,
            )
            drawn.append(targets_MnK)
            if scale + 1 < len(schedule):
                moved_MnK = targets_MnK.to(tokenizer.compute.device)
                sum_MCHW = tokenizer.add_scale(sum_MCHW, moved_MnK, scale)
                inputs_MnD = tokenizer.scale_inputs(sum_MCHW, scale + 1).to(self._device)
                inputs_BnD = inputs_MnD.new_zeros(len(self.answers), *inputs_MnD.shape[1:])
                inputs_BnD[rows] = inputs_MnD
        decoding.finish()
        return tokenizer.to_codes(torch.cat(drawn, dim=1))

    def _prefilled(self, prompts: Sequence[Prompt]) -> tuple[Stream, Tensor]:
        """Return the stream after the prompts, one row per answer, and its last hidden states."""
        ids = [torch.tensor(prompt.ids) for prompt in prompts]
        ids_PS = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True).to(self._device)
        length_P = torch.tensor([len(each) for each in ids], device=self._device)
        used_PS = torch.arange(ids_PS.shape[1], device=self._device) < length_P[:, None]
        pixels, grid = _input_images(prompts, self._device)
        backbone = self._model.backbone
        plain = self._model.config.image_positions == "plain"
        positions_3PS = backbone.positions(ids_PS, used_PS, None if plain else grid)
        stream = Stream(backbone, torch.zeros_like(length_P))
        hidden_PSH = stream.feed(backbone.embed(ids_PS, pixels, grid), used_PS, positions_3PS)
        last_PH = hidden_PSH[torch.arange(len(ids)), length_P - 1]
        counts = torch.tensor([len(prompt.keys) for prompt in prompts], device=self._device)
        rows_B = torch.arange(len(ids), device=self._device).repeat_interleave(counts)
        stream.select(rows_B)
        return stream, last_PH[rows_B]


def _input_images(
    prompts: Sequence[Prompt], device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    pixels = [prompt.pixel_values for prompt in prompts if prompt.pixel_values is not None]
    grids = [prompt.image_grid_thw for prompt in prompts if prompt.image_grid_thw is not None]
    if not pixels:
        return None, None
    return torch.cat(pixels).to(device), torch.cat(grids).to(device)
