"""The parts that sections of the recipe are made of."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=64)]


class Model(BaseModel):
    """Values that reject unknown keys and cannot be changed."""

    # YAML's .inf and .nan cannot be written as JSON, so they have no fingerprint.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Section(Model):
    """A section of the recipe."""

    # Keys that decide the effort, but no byte of the output.
    EFFORT_FIELDS: ClassVar[frozenset[str]] = frozenset()


class StageConfig(Section):
    """The section of a stage; its key is the stage's name."""

    # Default of `max_failed_fraction`: the share of failed rows above which the stage stops the
    # build; None if no row can fail.
    MAX_FAILED: ClassVar[float | None] = 0.05


class Gpu(Model):
    """The GPU of a worker, for runners that choose machines by resource hints."""

    type: str = Field(pattern=r"^[a-z0-9-]+$")  # the cloud's name, e.g. nvidia-l4
    count: int = Field(default=1, ge=1)  # per worker
    # Of the worker, if the GPU needs one, as Google's L4: g2-standard-8.
    machine_type: str = Field(default="", pattern=r"^[a-z0-9-]*$")
    min_ram: str = Field(default="16GB", pattern=r"^[0-9.]+ ?[KMGT]i?B$")  # per worker

    def hints(self) -> dict[str, str]:
        """Return Beam's resource hints that request this GPU."""
        parts = [f"type:{self.type}", f"count:{self.count}"]
        parts += [f"machine_type:{self.machine_type}"] if self.machine_type else []
        # A newer driver: torch's CUDA does not run with Dataflow's oldest.
        accelerator = ";".join([*parts, "install-nvidia-driver:5xx"])
        return {"accelerator": accelerator, "min_ram": self.min_ram}
