"""Sizes of the tokenizers, and values that follow from them without weights.

Without torch, so that a manifest can be checked without it.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from model.tokenizers.protocol import Schedule
from model.tokenizers.schedules import bsq_schedule, double
from schemas.store.errors import SettingsError

BUNDLED: Final = "bundled"
"""The preset that ships with weights."""

PATCH_NUMS: Final = {
    256: (1, 2, 3, 4, 5, 6, 8, 10, 13, 16),
    512: (1, 2, 3, 4, 6, 9, 13, 18, 24, 32),
}
"""Side of every scale, by image resolution in pixels (VAR, utils/arg_util.py)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BsqConfig:
    """Size of a BSQ-VAE; the defaults are those of d32, which VARGPT-v1.1 uses.

    Raises:
        ValueError: bits are not 1 to 64, which two words hold.
    """

    bits: int = 32  # bits per position, and channels of the features
    ch: int = 128  # width of the highest resolution
    ch_mult: tuple[int, ...] = (1, 2, 4, 4, 4)  # width of each level, in ch
    num_res_blocks: int = 2  # per level
    norm_groups: int | None = None  # of every norm; 0 for no norm, None for the published rule
    patchify: bool = False  # the next-scale model sees 2 x 2 positions as one

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 64:
            raise ValueError(f"expected 1 to 64 bits per position, got {self.bits}")

    @property
    def stride(self) -> int:
        """Pixels per feature, on both axes."""
        return 2 ** (len(self.ch_mult) - 1)

    @property
    def channels(self) -> int:
        """Channels of the features."""
        return self.bits

    @property
    def stored(self) -> dict[str, str | int]:
        """The manifest's fields for stored codes: type, upper bound and words."""
        limit, words = 2 ** min(self.bits, 32), -(-self.bits // 32)
        return {"codes_dtype": "uint32", "codes_limit": limit, "code_words": words}

    @property
    def meaning(self) -> dict[str, str | int]:
        """The manifest's fields for the meaning of codes."""
        return {"bits": self.bits, "patchify": int(self.patchify)}


BSQ_PRESETS: Final = {
    "d16": BsqConfig(bits=16),
    "d24": BsqConfig(bits=24),
    "d32": BsqConfig(),
    "d64": BsqConfig(bits=64),
    "d14_patchify": BsqConfig(bits=14, ch_mult=(1, 2, 4, 4), patchify=True),
    BUNDLED: BsqConfig(ch=16, ch_mult=(1, 1, 2, 4, 6), num_res_blocks=1, norm_groups=0),
}
"""The published sizes, 110 M parameters each (d14_patchify 82 M), and `bundled`, the size of the
checkpoint that ships with this package."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VarConfig:
    """Size of a VAR VQVAE; the defaults are the published checkpoint's.

    Raises:
        ValueError: the vocabulary does not fit uint16.
    """

    vocab: int = 4096
    z_channels: int = 32
    ch: int = 160  # width of the highest resolution
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)  # width of each level, in ch
    num_res_blocks: int = 2  # per level
    norm_groups: int | None = None  # of every norm; 0 for no norm, None for the published rule
    phis: int = 4  # convolutions shared by the scales; 1: one for all, 0: one per scale
    phi_strength: float = 0.5
    patch_nums: tuple[int, ...] = PATCH_NUMS[256]  # side of every scale, in codes

    def __post_init__(self) -> None:
        if self.vocab > 2**16:
            raise ValueError(f"expected a vocabulary of up to 65536 for uint16, got {self.vocab}")

    @property
    def schedule(self) -> Schedule:
        """Height and width of every scale."""
        return tuple((side, side) for side in self.patch_nums)

    @property
    def stride(self) -> int:
        """Pixels per feature, on both axes."""
        return 2 ** (len(self.ch_mult) - 1)

    @property
    def channels(self) -> int:
        """Channels of the features."""
        return self.z_channels

    @property
    def stored(self) -> dict[str, str | int]:
        """The manifest's fields for stored codes: type, upper bound and words."""
        return {"codes_dtype": "uint16", "codes_limit": self.vocab, "code_words": 1}

    @property
    def meaning(self) -> dict[str, str | int]:
        """The manifest's fields for the meaning of codes: none."""
        return {}


VAR_PRESETS: Final = {
    "full": VarConfig(),
    "small": VarConfig(ch=32, ch_mult=(1, 1, 1, 1, 2), num_res_blocks=1),
    BUNDLED: VarConfig(ch=16, ch_mult=(1, 1, 2, 4, 5), num_res_blocks=1, norm_groups=0),
}
"""`full` is the published size (109 M parameters), `bundled` the size of the checkpoint that ships
with this package, `small` (1.1 M) the size for the golden data."""

PRESETS: Final[dict[str, dict[str, BsqConfig | VarConfig]]] = {
    "infinity_bsq": {**BSQ_PRESETS},
    "var_vqvae": {**VAR_PRESETS},
}
"""By the name of the tokenizer."""

_BUNDLED_FOLDER: Final = Path(__file__).parents[1] / "bundled"


def schedule_of(config: BsqConfig | VarConfig, resolution: int, aspect: float = 1.0) -> Schedule:
    """Return a tokenizer's schedule for images of this size and aspect.

    Raises:
        SettingsError: the tokenizer has no schedule for the resolution or the aspect.
    """
    if isinstance(config, BsqConfig):
        schedule = bsq_schedule(aspect, resolution)
        return double(schedule) if config.patchify else schedule
    if aspect != 1.0:
        raise SettingsError(f"var_vqvae has square schedules only, but the aspect is {aspect}")
    if resolution not in PATCH_NUMS:
        known = sorted(PATCH_NUMS)
        raise SettingsError(
            f"unknown resolution {resolution} of var_vqvae, expected one of {known}"
        )
    return replace(config, patch_nums=PATCH_NUMS[resolution]).schedule


def bundled_checkpoint(name: str) -> str:
    """Return the path of the checkpoint of a tokenizer, `infinity_bsq` or `var_vqvae`."""
    return str(_BUNDLED_FOLDER / name / "tokenizer.safetensors")
