"""The model and the scorer that a worker uses, loaded once a process."""

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from model.preferences.scorers import Scorer, ScorerPlan
from schemas.fingerprint import fingerprint
from schemas.store.storage import CorpusError

if TYPE_CHECKING:
    from model.preferences.sampling import Sampler
    from model.tokenizers.network_tokenizer import NetworkTokenizer
    from model.vargpt.folder import Trained
    from model.vargpt.sampling import Sampling

_loaded: dict[str, "Tools"] = {}
_loading = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class ToolsPlan:
    """The model, its sampling settings and the scorer, in plain values."""

    model: str  # URL of its folder
    model_sha256: str
    sampling: "Sampling"
    scorer: ScorerPlan | None = None
    dtype: str = "float32"  # of the model's weights
    seed: str = ""  # seed of all random numbers; "" for the model's sha256

    def settings(self) -> dict[str, Any]:
        """Return the settings that decide images and scores, as JSON values."""
        return {
            "model": self.model_sha256,
            "dtype": self.dtype,
            "sampling": asdict(self.sampling),
            "scorer": self.scorer.identity() if self.scorer else None,
        }


@dataclass(kw_only=True)
class Tools:
    """A loaded model, its tokenizers, and a scorer."""

    trained: "Trained"
    sampler: "Sampler"
    scorer: Scorer | None
    device: str
    _tokenizers: dict[float, "NetworkTokenizer"] = field(default_factory=dict)

    def tokenizer(self, aspect: float) -> "NetworkTokenizer":
        """Return the image tokenizer for an aspect.

        Raises:
            ValueError: the tokenizer has no schedule for this aspect.
        """
        if aspect not in self._tokenizers:
            self._tokenizers[aspect] = self._with_aspect(aspect)
        return self._tokenizers[aspect]

    def _with_aspect(self, aspect: float) -> "NetworkTokenizer":
        from filters.compute import best_compute
        from model.tokenizers.sizes import PRESETS, schedule_of

        images = self.trained.images
        config = PRESETS[images.tokenizer][images.preset]
        schedule = schedule_of(config, images.resolution, aspect)
        for loaded in self._tokenizers.values():
            return loaded.with_schedule(schedule)
        return images.load(aspect, best_compute())


def described_sampling(sampling: Mapping[str, Any]) -> str:
    """Describe the sampling settings of a plan in one line."""
    line = "guidance {guidance}, temperature {temperature}, top-k {top_k}, top-p {top_p}"
    return line.format_map(sampling)


def tools(plan: ToolsPlan) -> Tools:
    """Return the loaded model and scorer of a plan, on the best device; load them on first use.

    Raises:
        UserError: model or scorer cannot be loaded, or the model changed since the plan was made.
    """
    key = fingerprint(plan.model, plan.seed, plan.settings())
    with _loading:
        if key not in _loaded:
            _loaded.clear()  # memory has room for one model of full size
            _loaded[key] = _load(plan)
        return _loaded[key]


def _load(plan: ToolsPlan) -> Tools:
    import torch
    from transformers import Qwen2VLImageProcessorPil

    from filters.compute import best_device
    from model.data.text import TextEncoder
    from model.preferences.sampling import Sampler
    from model.training.start import INPUT_IMAGE_PIXELS
    from model.training.trained import load_trained

    # Processes share the cores; and another number of threads would round sums differently.
    torch.set_num_threads(1)
    device = best_device()
    trained = load_trained(plan.model, device=device, dtype=getattr(torch, plan.dtype))
    scorer = plan.scorer.load(device) if plan.scorer else None
    text = TextEncoder(trained.text, pad_multiple=trained.model.config.pad_multiple)
    if trained.sha256 != plan.model_sha256:
        raise CorpusError(
            f"{plan.model}: sha256 is {trained.sha256}, it was {plan.model_sha256} at the start"
        )
    patch = trained.model.config.backbone.patch
    processor = Qwen2VLImageProcessorPil(patch_size=patch, max_pixels=INPUT_IMAGE_PIXELS)
    seed = plan.seed or trained.sha256
    sampler = Sampler(trained.model, seed, text, plan.sampling, processor)
    return Tools(trained=trained, sampler=sampler, scorer=scorer, device=device)
