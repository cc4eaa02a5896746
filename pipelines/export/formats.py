"""All formats, by the names that the command takes."""

from collections.abc import Mapping
from types import MappingProxyType

from pipelines.export.energon import Energon
from pipelines.export.format import Format
from pipelines.export.hugging_face import Datasets
from pipelines.export.llama_factory import LlamaFactory
from pipelines.export.mds import Mds
from pipelines.export.parquet import Parquet
from pipelines.export.trl import Trl

FORMATS: Mapping[str, Format] = MappingProxyType(
    {each.name: each for each in (LlamaFactory(), Trl(), Datasets(), Parquet(), Energon(), Mds())}
)
