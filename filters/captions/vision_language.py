"""A model of transformers that reads an image and a text and writes a text."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from PIL import Image
from torch import Tensor

from filters.captioner import Asked, EngineError, FinishReason
from filters.captions.model_files import load
from filters.captions.next_tokens import NextTokens
from filters.compute import Compute, best_device, one_thread
from filters.scores.process_cache import once_a_process

# Prompts are padded to a multiple of it, so that many rows have one length.
PROMPT_TOKENS: Final = 32
DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}

Shape = tuple[Any, ...]


class UnpreparedError(ValueError):
    """A request that the model's processor refuses, such as an image too long for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRow:
    """A request as tensors, on the CPU."""

    asked: Asked
    inputs: Mapping[str, Tensor]
    prompt_tokens: int  # those of the image included

    @property
    def shape(self) -> Shape:
        """What rows of one pass have in common."""
        sizes = sorted((name, tuple(value.shape)) for name, value in self.inputs.items())
        return (self.asked.max_new_tokens, *sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What the model wrote for a row."""

    text: str
    finish_reason: FinishReason
    tokens: int  # the one that ends the answer included


class VisionLanguageModel:
    """A model and its processor, on the best device.

    Args:
        name: path of a folder, or a name on the hub. No code and no pickle of it is run.
        revision: of a name on the hub; '' for the newest.
        precision: of the weights and of all arithmetic.
        sha256: of the folder's files, by which answers call the model; '' for a name on the hub.

    Raises:
        EngineError: transformers or the model is missing, the model is damaged, or takes no images.
    """

    def __init__(self, name: str, revision: str, precision: str, sha256: str) -> None:
        self.name = f"sha256:{sha256[:16]}" if sha256 else name
        self._where = name
        self._compute = Compute(device=best_device())
        self._device = torch.device(self._compute.device)
        self._processor, self._model = load(name, revision, DTYPES[precision])
        try:
            self._model = self._model.to(self._device).eval().requires_grad_(False)
        except torch.OutOfMemoryError as error:
            raise EngineError(
                f"{name}: too large for {self._device}; give precision bf16"
            ) from error
        self._tokenizer = self._processor.tokenizer
        self._is_chat = bool(getattr(self._processor, "chat_template", None))
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._ends = _ends(self._model)
        self._unwritten = _unwritten(self._model, self._tokenizer) | self._ends
        self._check()

    def prepare(self, asked: Asked) -> PreparedRow:
        """Return a request as the tensors that the model reads.

        The padding of a row depends on the row alone.

        Raises:
            UnpreparedError: the processor refuses it.
        """
        images = [Image.open(io.BytesIO(asked.image)).convert("RGB")] if asked.image else []
        ask = self._chat if self._is_chat else self._plain
        try:
            inputs = dict(ask(images, asked))
        except (ValueError, TypeError, KeyError) as error:
            raise UnpreparedError(" ".join(str(error).split())) from error
        other = [name for name, value in inputs.items() if not isinstance(value, Tensor)]
        if other:
            raise UnpreparedError(f"expected tensors of the model's processor, got {other}")
        mask = inputs.get("attention_mask")
        return PreparedRow(
            asked=asked, inputs=inputs, prompt_tokens=0 if mask is None else int(mask.sum())
        )

    def write(
        self, rows: Sequence[PreparedRow], *, temperature: float, top_p: float
    ) -> list[Written]:
        """Return the answers to rows of one shape.

        Raises:
            torch.OutOfMemoryError: there is not enough memory for so many rows.
            EngineError: the model cannot read what its processor prepared.
        """
        chosen = NextTokens(
            [row.asked.seed for row in rows],
            temperature=temperature,
            top_p=top_p,
            device=self._device,
        )
        most = rows[0].asked.max_new_tokens
        inputs = {
            name: self._moved(torch.cat([row.inputs[name] for row in rows]))
            for name in rows[0].inputs
        }
        with one_thread(), self._compute.arithmetic():
            try:
                tokens = self._model.generate(
                    **inputs,
                    max_new_tokens=most,
                    do_sample=False,
                    num_beams=1,
                    logits_processor=[chosen],
                )
            except (ValueError, TypeError, IndexError) as error:
                raise self._unreadable(rows[0], error) from error
        return [self._written(row, most) for row in tokens[:, chosen.first :].tolist()]

    def _unreadable(self, row: PreparedRow, error: Exception) -> EngineError:
        """Return the error of a row that the processor took and the model does not."""
        asked, settings = row.asked, self._model.config.get_text_config()
        ids = row.inputs.get("input_ids")
        read = row.prompt_tokens if ids is None else ids.shape[-1]
        limit = getattr(settings, "max_position_embeddings", None)
        said = f"{self._where}: style {asked.style}: cannot read {asked.prompt!r:.80}: "
        if limit is None or read + asked.max_new_tokens <= limit:
            return EngineError(said + " ".join(str(error).split()))
        return EngineError(
            f"{said}{read} tokens are read and {asked.max_new_tokens} may be written, the model "
            f"has {limit} positions; give a shorter prompt or fewer max_new_tokens"
        )

    def _check(self) -> None:
        """Prepare an image as any other, to tell a model of another kind from an odd request.

        Raises:
            EngineError: the processor refuses it.
        """
        grey = io.BytesIO()
        Image.new("RGB", (64, 64), "grey").save(grey, "JPEG")
        request = Asked(
            digest="", prompt="a photo of", image=grey.getvalue(), seed=0, max_new_tokens=1
        )
        try:
            self.prepare(request)
        except UnpreparedError as error:
            template = "may be of texts alone" if self._is_chat else "is missing"
            raise EngineError(
                f"{self._where}: reads no image with a text: {error}; its chat template {template}"
            ) from error

    def _chat(self, images: list[Image.Image], asked: Asked) -> Mapping[str, Any]:
        content = [{"type": "image", "image": image} for image in images]
        content.append({"type": "text", "text": asked.prompt})
        return self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            # Control tokens in the prompt stay words.
            sanitize_control_tokens=True,
            processor_kwargs={
                "padding": True,
                "padding_side": "left",
                "pad_to_multiple_of": PROMPT_TOKENS,
            },
        )

    def _plain(self, images: list[Image.Image], asked: Asked) -> Mapping[str, Any]:
        if not images:
            raise ValueError("a model without a chat template answers only about images")
        if self._model.config.model_type == "vision-encoder-decoder":  # it reads no text
            return self._processor.image_processor(images=images, return_tensors="pt")
        return self._processor(images=images, text=[asked.prompt], return_tensors="pt")

    def _moved(self, batch: Tensor) -> Tensor:
        dtype = self._model.dtype if batch.is_floating_point() else batch.dtype
        return batch.to(self._device, dtype)

    def _written(self, tokens: list[int], most: int) -> Written:
        end = next((place for place, token in enumerate(tokens) if token in self._ends), None)
        own = tokens if end is None else tokens[: end + 1]
        text = self._tokenizer.decode([token for token in own if token not in self._unwritten])
        reason: FinishReason = "stop" if end is not None else "length"
        return Written(text=text.strip(), finish_reason=reason, tokens=min(len(own), most))


@once_a_process
def vision_language_model(
    name: str, revision: str, precision: str, sha256: str
) -> VisionLanguageModel:
    """Return the model of this process; engines that sample in other ways share it.

    Raises:
        EngineError: as `VisionLanguageModel`.
    """
    return VisionLanguageModel(name, revision, precision, sha256)


def _ids(*found: int | list[int] | None) -> set[int]:
    """Return token ids that are given alone, in lists, or not at all."""
    ids: set[int] = set()
    for each in found:
        ids.update(each if isinstance(each, list) else [] if each is None else [each])
    return ids


def _ends(model: Any) -> set[int]:
    """Return the tokens that end an answer."""
    if model.config.model_type == "blip":  # its own `generate` ends there
        return _ids(model.config.text_config.sep_token_id)
    return _ids(model.generation_config.eos_token_id)


def _unwritten(model: Any, tokenizer: Any) -> set[int]:
    """Return tokens that frame an answer; others, such as places, are of the answer."""
    settings = model.generation_config
    return _ids(
        settings.bos_token_id,
        settings.pad_token_id,
        settings.decoder_start_token_id,
        tokenizer.pad_token_id,
        tokenizer.bos_token_id,
        tokenizer.cls_token_id,
        tokenizer.sep_token_id,
    )
