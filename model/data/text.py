r"""Token ids of messages in the backbone's chat template, and which tokens are learnt.

    <|im_start|>system\nYou are a helpful assistant.<|im_end|>\n
    <|im_start|>user\nPlease draw a cat<|im_end|>\n
    <|im_start|>assistant\nHere is a cat<|image_gen_start|><|image_gen_pad|>...<|image_gen_end|>
    <|im_end|>\n

Only the assistant's tokens are learnt, up to and including <|im_end|>; pads are not learnt.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from model.data.manifest import DataError
from model.data.samples import BadSample, Message
from model.data.text_tokenizer import (
    ADDED,
    IMAGE_GEN_END,
    IMAGE_GEN_PAD,
    IMAGE_GEN_START,
    SYSTEM_PROMPT,
)
from schemas.sample import IMAGE, IMAGE_GEN

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_PROBE: Final = (Message("user", "Draw a cat."), Message("assistant", "Here it is."))
_SPECIAL: Final = (
    *("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>", "<|vision_end|>"),
    *ADDED,
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Encoded:
    """The S tokens of one sample."""

    ids_S: NDArray[np.int32]
    learnt_S: NDArray[np.bool_]  # whether the token has a text loss
    image_start: int | None  # position of the first <|image_gen_pad|>


class Conversation(NamedTuple):
    """Messages of one sample, and the number of tokens for their images."""

    messages: Sequence[Message]
    generated: int = 0  # number of <|image_gen_pad|> for `<image_gen>`
    input_tokens: int = 0  # number of <|image_pad|> for `<image>`


class _Text(NamedTuple):
    text: str
    learnt_from: int | None = None  # first character that is learnt; None: no character


class _Special(NamedTuple):
    token: str
    learnt: bool = False
    count: int = 1


_Piece = _Text | _Special
_Tokens = tuple[list[int], NDArray[np.int64]]  # ids, and the character each token starts at


def with_image_tokens(tokenizer: "PreTrainedTokenizerFast") -> "PreTrainedTokenizerFast":
    """Add VARGPT's missing tokens to a Qwen2-VL tokenizer, in place.

    In Qwen2-VL's own tokenizer they get the ids 151657, 151658 and 151659.
    """
    lacking = [token for token in ADDED if token not in tokenizer.get_vocab()]
    tokenizer.add_tokens(lacking, special_tokens=True)
    return tokenizer


class TextEncoder:
    """Turns messages into token ids in the form of Qwen2-VL's chat template.

    Args:
        tokenizer: of the backbone, as `AutoTokenizer.from_pretrained` loads it.
        max_length: in tokens; longer samples are bad samples.
        pad_multiple: the number of <|image_gen_pad|> of an image is rounded up to a multiple of
            it; 128 in the published code, 1 for no rounding.

    Raises:
        DataError: the tokenizer lacks a special token, or has another chat template.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerFast", *, max_length: int = 8192, pad_multiple: int = 1
    ) -> None:
        self._tokenizer = tokenizer
        self._max_length, self._pad_multiple = max_length, pad_multiple
        vocabulary = tokenizer.get_vocab()
        lacking = [token for token in _SPECIAL if token not in vocabulary]
        if lacking:
            raise DataError(
                f"the text tokenizer {tokenizer.name_or_path!r} lacks {', '.join(lacking)}, "
                "expected Qwen2-VL's tokens and VARGPT's; with_image_tokens adds VARGPT's"
            )
        self._ids: Mapping[str, int] = {token: vocabulary[token] for token in _SPECIAL}
        self.image_gen_pad_id = self._ids[IMAGE_GEN_PAD]
        self.pad_id: int = _pad_id(tokenizer)
        self.vocabulary = len(tokenizer)
        self._check_template()

    def encode(self, conversations: Sequence[Conversation]) -> list[Encoded | BadSample]:
        """Tokenize samples in one call, which is faster; one that is too long gives BadSample."""
        pieces = [list(self._pieces(conversation)) for conversation in conversations]
        texts = list(
            {piece.text: None for each in pieces for piece in each if isinstance(piece, _Text)}
        )
        tokens = dict(zip(texts, self._tokenize(texts), strict=True))
        return [self._assembled(each, tokens) for each in pieces]

    def _pieces(self, conversation: Conversation) -> Iterator[_Piece]:
        messages = conversation.messages
        if messages[0].role != "system":
            messages = [Message("system", SYSTEM_PROMPT), *messages]
        for message in messages:
            learnt = message.role == "assistant"
            yield _Special("<|im_start|>")
            text, start = f"{message.role}\n{message.content}", len(message.role) + 1
            yield from self._with_marks(text, start if learnt else None, conversation)
            yield _Special("<|im_end|>", learnt)
            yield _Text("\n")

    def _with_marks(
        self, text: str, learnt_from: int | None, conversation: Conversation
    ) -> Iterator[_Piece]:
        """Split the text of a turn at its image marks."""
        before, mark, after = _first_mark(text)
        if before:
            yield _Text(before, learnt_from)
        if not mark:
            return
        if mark == IMAGE_GEN:
            learnt = learnt_from is not None
            yield _Special(IMAGE_GEN_START, learnt)
            yield _Special(IMAGE_GEN_PAD, count=self._padded(conversation.generated))
            yield _Special(IMAGE_GEN_END, learnt)
        else:
            yield _Special("<|vision_start|>")
            yield _Special("<|image_pad|>", count=conversation.input_tokens)
            yield _Special("<|vision_end|>")
        rest_from = None if learnt_from is None else 0
        yield from self._with_marks(after, rest_from, conversation)

    def _padded(self, positions: int) -> int:
        return -(-positions // self._pad_multiple) * self._pad_multiple

    def _tokenize(self, texts: Sequence[str]) -> Iterator[_Tokens]:
        """Yield the token ids of each text, and the first character of each token."""
        if not texts:
            return
        # Split special tokens: otherwise a caption that contains <|im_end|> would end its turn.
        found = self._tokenizer(
            list(texts),
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
        for ids, offsets in zip(found["input_ids"], found["offset_mapping"], strict=True):
            yield ids, np.array([start for start, _ in offsets], np.int64)

    def _assembled(
        self, pieces: Sequence[_Piece], tokens: Mapping[str, _Tokens]
    ) -> Encoded | BadSample:
        ids: list[int] = []
        learnt: list[bool] = []
        image_start = None
        for piece in pieces:
            if isinstance(piece, _Special):
                if piece.token == IMAGE_GEN_PAD:
                    image_start = len(ids)
                ids += [self._ids[piece.token]] * piece.count
                learnt += [piece.learnt] * piece.count
            else:
                new, starts = tokens[piece.text]
                from_ = piece.learnt_from
                ids += new
                learnt += [False] * len(new) if from_ is None else (starts >= from_).tolist()
        if len(ids) > self._max_length:
            return BadSample(f"{len(ids)} tokens, expected at most {self._max_length}")
        return Encoded(
            ids_S=np.array(ids, np.int32), learnt_S=np.array(learnt), image_start=image_start
        )

    def _check_template(self) -> None:
        """Compare our ids of a short conversation with those of the tokenizer's chat template."""
        messages: list[Any] = [message._asdict() for message in _PROBE]
        try:
            text = cast(str, self._tokenizer.apply_chat_template(messages, tokenize=False))
        except ValueError as error:  # the tokenizer has no template
            raise DataError(f"the text tokenizer's chat template: {error}") from error
        expected = self._tokenizer.encode(text, add_special_tokens=False)
        found = self.encode([Conversation(_PROBE)])[0]
        if not isinstance(found, Encoded) or found.ids_S.tolist() != expected:
            ours = self._tokenizer.decode(found.ids_S) if isinstance(found, Encoded) else ""
            raise DataError(
                f"the chat template of {self._tokenizer.name_or_path!r} writes {text!r}, "
                f"but this loader writes {ours!r}; expected the template of Qwen2-VL"
            )


def _first_mark(text: str) -> tuple[str, str, str]:
    """Return the text before the first image mark, the mark or '', and the text after it."""
    places = [(text.index(mark), mark) for mark in (IMAGE, IMAGE_GEN) if mark in text]
    if not places:
        return text, "", ""
    place, mark = min(places)
    return text[:place], mark, text[place + len(mark) :]


def _pad_id(tokenizer: "PreTrainedTokenizerFast") -> int:
    if not isinstance(tokenizer.pad_token_id, int):
        raise DataError(f"the text tokenizer {tokenizer.name_or_path!r} has no padding token")
    return tokenizer.pad_token_id
