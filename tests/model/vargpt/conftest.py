from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from model.data.batch import Batch
from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.load import load_tokenizer
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.tokenizers.protocol import Codes, count_codes
from model.vargpt.codes import head_of
from model.vargpt.config import TINY, VargptConfig
from model.vargpt.vargpt import Vargpt

SCHEDULE = ((1, 1), (2, 2), (3, 3))
TOKENIZERS = ("infinity_bsq", "var_vqvae")
MakeBatch = Callable[..., Batch]


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, NetworkTokenizer]:
    """The two trained tokenizers that ship with the package, for images of 48 px."""
    return {
        name: load_tokenizer(name, preset="bundled").with_schedule(SCHEDULE) for name in TOKENIZERS
    }


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest, tokenizers) -> NetworkTokenizer:
    return tokenizers[request.param]


@pytest.fixture(scope="session")
def bsq(tokenizers) -> NetworkTokenizer:
    return tokenizers["infinity_bsq"]


def tiny_config(tokenizer: NetworkTokenizer, **choices) -> VargptConfig:
    return replace(TINY, codes=head_of(tokenizer), **choices)


@pytest.fixture
def make_model() -> Callable[..., Vargpt]:
    """Return a function that builds a tiny model for a tokenizer, the same each time."""

    def make(tokenizer: NetworkTokenizer, **choices) -> Vargpt:
        torch.manual_seed(0)
        model = Vargpt(tiny_config(tokenizer, **choices)).eval()
        # The condition would not matter yet, nor would weights that begin as zeros.
        for name, weight in model.named_parameters():
            if name.endswith(("modulation.weight", "head_norm.lin.weight", "bias")):
                torch.nn.init.normal_(weight, std=0.1)
        return model

    return make


def draw_codes(tokenizer: NetworkTokenizer, count: int, seed: int = 0) -> Codes:
    """Encode images of noise at several sizes of grain."""
    generator = torch.Generator().manual_seed(seed)
    height, width = tokenizer.image_size
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    images = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return tokenizer.encode(images * 2 - 1)


@pytest.fixture(scope="session")
def targets_of() -> Callable[[NetworkTokenizer, Codes], torch.Tensor]:
    """Return a function that makes of codes what a model predicts, int64 [N, L, K]."""

    def make(tokenizer: NetworkTokenizer, codes: Codes) -> torch.Tensor:
        if isinstance(tokenizer, InfinityBsq):
            return tokenizer.labels(codes).long()
        return tokenizer.to_indices(codes).unsqueeze(-1)

    return make


@pytest.fixture
def make_batch(targets_of) -> MakeBatch:
    """Return a function that makes a batch of one image a sequence, prompts of given lengths."""

    def make(
        tokenizer: NetworkTokenizer,
        config: VargptConfig,
        before: Sequence[int] = (5, 8),
        after: Sequence[int] | None = None,
        seed: int = 0,
    ) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        marks, schedule = config.marks, tokenizer.model_schedule
        pads = [marks.image_pad] * config.pads(count_codes(schedule))
        rows: list[torch.Tensor] = []
        for prompt, rest in zip(before, after or [0] * len(before), strict=True):
            text = torch.randint(0, 100, (prompt + rest,), generator=generator).tolist()
            image = [marks.image_start, *pads, marks.image_end]
            rows.append(torch.tensor(text[:prompt] + image + text[prompt:]))
        ids_BS = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        steps = torch.arange(ids_BS.shape[1])
        used_BS = steps < torch.tensor([len(row) for row in rows])[:, None]
        learnt_BS = used_BS & (steps >= torch.tensor(before)[:, None])
        codes = draw_codes(tokenizer, len(rows), seed)
        return Batch(
            keys=tuple(f"key {number}" for number in range(len(rows))),
            input_ids_BS=ids_BS,
            labels_BS=torch.where(learnt_BS & (ids_BS != marks.image_pad), ids_BS, -100),
            attention_mask_BS=used_BS,
            image_rows_N=torch.arange(len(rows)),
            image_starts_N=torch.tensor(before) + 1,
            inputs_NLD=tokenizer.next_scale_inputs(codes),
            targets_NLK=targets_of(tokenizer, codes),
            schedule=schedule,
        )

    return make
