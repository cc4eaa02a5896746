"""Sizes of the tokenizers, and what follows from them alone: no weight is read, nothing computed.

Free of torch, so that a manifest can be checked without it.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from model.tokenizers.protocol import Schedule
from model.tokenizers.schedules import bsq_schedule, double
from schemas.store.errors import SettingsError

BUNDLED: Final = "bundled"
"""The preset that comes with its own weights."""

PATCH_NUMS: Final = {
    256: (1, 2, 3, 4, 5, 6, 8, 10, 13, 16),
    512: (1, 2, 3, 4, 6, 9, 13, 18, 24, 32),
}
"""Side of every scale, by image resolution in pixels (VAR, utils/arg_util.py)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BsqConfig:
    """Size of a BSQ-VAE; the defaults are those of d32, which VARGPT-v1.1 uses.

    Raises:
        ValueError: more bits a position than two words of 32 hold.
    """

    bits: int = 32  # a position, and channels of the features
    ch: int = 128  # width of the highest resolution
    ch_mult: tuple[int, ...] = (1, 2, 4, 4, 4)  # width of each level, in ch
    num_res_blocks: int = 2  # a level
    norm_groups: int | None = None  # of every norm; 0 for none, None for the published rule
    patchify: bool = False  # the next-scale model sees 2 x 2 positions as one

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 64:
            raise ValueError(f"expected 1 to 64 bits a position, not {self.bits}")

    @property
    def stride(self) -> int:
        """Pixels a feature, on either axis."""
        return 2 ** (len(self.ch_mult) - 1)

    @property
    def channels(self) -> int:
        """Channels of the features."""
        return self.bits

    @property
    def stored(self) -> dict[str, str | int]:
        """How codes are stored, as the manifest says it."""
        limit, words = 2 ** min(self.bits, 32), -(-self.bits // 32)
        return {"codes_dtype": "uint32", "codes_limit": limit, "code_words": words}

    @property
    def meaning(self) -> dict[str, str | int]:
        """What a reader of the codes must know besides, as the manifest says it."""
        return {"bits": self.bits, "patchify": int(self.patchify)}


BSQ_PRESETS: Final = {
    "d16": BsqConfig(bits=16),
    "d24": BsqConfig(bits=24),
    "d32": BsqConfig(),
    "d64": BsqConfig(bits=64),
    "d14_patchify": BsqConfig(bits=14, ch_mult=(1, 2, 4, 4), patchify=True),
    BUNDLED: BsqConfig(ch=16, ch_mult=(1, 1, 2, 4, 6), num_res_blocks=1, norm_groups=0),
}
"""The published sizes, 110 M parameters each (d14_patchify 82 M), and `bundled`, that of the
trained checkpoint that ships with this package."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VarConfig:
    """Size of a VAR VQVAE; the defaults are the published checkpoint's.

    Raises:
        ValueError: a vocabulary whose codes do not fit uint16.
    """

    vocab: int = 4096
    z_channels: int = 32
    ch: int = 160  # width of the highest resolution
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)  # width of each level, in ch
    num_res_blocks: int = 2  # a level
    norm_groups: int | None = None  # of every norm; 0 for none, None for the published rule
    phis: int = 4  # convolutions shared by the scales; 1 for all, 0 for one a scale
    phi_strength: float = 0.5
    patch_nums: tuple[int, ...] = PATCH_NUMS[256]  # side of every scale, in codes

    def __post_init__(self) -> None:
        if self.vocab > 2**16:
            raise ValueError(f"codes are stored as uint16, a vocabulary of {self.vocab} overflows")

    @property
    def schedule(self) -> Schedule:
        """Height and width of every scale."""
        return tuple((side, side) for side in self.patch_nums)

    @property
    def stride(self) -> int:
        """Pixels a feature, on either axis."""
        return 2 ** (len(self.ch_mult) - 1)

    @property
    def channels(self) -> int:
        """Channels of the features."""
        return self.z_channels

    @property
    def stored(self) -> dict[str, str | int]:
        """How codes are stored, as the manifest says it."""
        return {"codes_dtype": "uint16", "codes_limit": self.vocab, "code_words": 1}

    @property
    def meaning(self) -> dict[str, str | int]:
        """What a reader of the codes must know besides, as the manifest says it: nothing."""
        return {}


VAR_PRESETS: Final = {
    "full": VarConfig(),
    "small": VarConfig(ch=32, ch_mult=(1, 1, 1, 1, 2), num_res_blocks=1),
    BUNDLED: VarConfig(ch=16, ch_mult=(1, 1, 2, 4, 5), num_res_blocks=1, norm_groups=0),
}
"""`full` is the published size (109 M parameters), `bundled` that of the trained checkpoint that
ships with this package, `small` (1.1 M) that of the golden data."""

PRESETS: Final[dict[str, dict[str, BsqConfig | VarConfig]]] = {
    "infinity_bsq": {**BSQ_PRESETS},
    "var_vqvae": {**VAR_PRESETS},
}
"""By the name of the tokenizer."""

_BUNDLED_FOLDER: Final = Path(__file__).parents[1] / "bundled"


def schedule_of(config: BsqConfig | VarConfig, resolution: int, aspect: float = 1.0) -> Schedule:
    """Return the schedule that a tokenizer codes an image of this size and shape in.

    Raises:
        ValueError: a resolution or an aspect that the tokenizer has no schedule for.
    """
    if isinstance(config, BsqConfig):
        schedule = bsq_schedule(aspect, resolution)
        return double(schedule) if config.patchify else schedule
    if aspect != 1.0:
        raise SettingsError(f"var_vqvae has square schedules only, none of aspect {aspect}")
    if resolution not in PATCH_NUMS:
        known = sorted(PATCH_NUMS)
        raise SettingsError(
            f"unknown resolution {resolution} of var_vqvae, expected one of {known}"
        )
    return replace(config, patch_nums=PATCH_NUMS[resolution]).schedule


def bundled_checkpoint(name: str) -> str:
    """Return the path of the checkpoint of a tokenizer, `infinity_bsq` or `var_vqvae`."""
    return str(_BUNDLED_FOLDER / name / "tokenizer.safetensors")
