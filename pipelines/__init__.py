"""Stages, engines, the build and its audit. `__all__` is for users."""

from typing import TYPE_CHECKING

from schemas.lazy_names import lazily

if TYPE_CHECKING:
    from pipelines.build import build as build_corpus
    from pipelines.engines.engine import Engine
    from pipelines.engines.profile import load_profile
    from pipelines.runtime.sidecar import Reject
    from pipelines.runtime.stage import MapStage, ShardResult
    from pipelines.stage_table import STAGES, make_stages
    from pipelines.verify.faults import Fault
    from pipelines.verify.job import verify as verify_corpus

__all__ = [
    "STAGES",
    "Engine",
    "Fault",
    "MapStage",
    "Reject",
    "ShardResult",
    "build_corpus",
    "load_profile",
    "make_stages",
    "verify_corpus",
]

__getattr__ = lazily(__name__, __file__)
