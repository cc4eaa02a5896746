"""A small corpus, and trainings on it that take seconds; a tiny model and batches of pairs."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_shards import ShardMaker

from model.data.batch import Batch
from model.data.loader import Loader
from model.data.manifest import Source
from model.data.plan import LoadPlan
from model.data.text import TextEncoder
from model.data.text_tokenizer import bundled_text_tokenizer
from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.load import load_tokenizer
from model.training.loop import Trainer
from model.training.parallel import Processes
from model.training.recipe import stage_recipe
from model.training.start import make_trainer
from model.vargpt.codes import head_of
from model.vargpt.config import TINY, VargptConfig, with_vocabulary
from model.vargpt.vargpt import Vargpt

SETS = (
    "size=tiny",
    "resolution=256",
    "precision=fp32",
    "checkpointing=false",
    "batch=2",
    "steps=4",
    "lr=0.003",
    "log_every=1",
    "sample_every=0",
)

FINISHED = ("steps=2", "save_every=1", "keep=2")

MakeTrainer = Callable[..., Trainer]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Codes of the bundled BSQ tokenizer, all random, images 64 px; tests must not change it."""
    folder = tmp_path_factory.mktemp("corpora") / "square"
    maker = ShardMaker(tokenizer=load_tokenizer("infinity_bsq", preset="bundled"))
    return maker.write(folder, {"t2i": [5, 1, 7, 3], "edit": [4], "understand": [4]})


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of random codes of the bundled tokenizer; tests must not change them."""
    folder = tmp_path_factory.mktemp("corpora") / "pairs"
    maker = ShardMaker(tokenizer=load_tokenizer("infinity_bsq", preset="bundled"))
    return maker.write(folder, {"preference": [3, 1]})


@pytest.fixture(scope="session")
def make(corpus: Path) -> MakeTrainer:
    """Return a function that makes a tiny training of a stage, to be run."""

    def make(
        out: Path, *sets: str, stage: str = "sft256", data: Path = corpus, init: Path | None = None
    ) -> Trainer:
        recipe = stage_recipe(stage, [*SETS, *sets])
        return make_trainer(recipe, [str(data)], out, processes=Processes(), init=init)

    return make


@pytest.fixture(scope="session")
def finished(make: MakeTrainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training of two steps, with a checkpoint of each; tests copy it."""
    out = tmp_path_factory.mktemp("trainings") / "finished"
    make(out, *FINISHED).run()
    return out


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished training, which a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "copied"))


@pytest.fixture(scope="session")
def load_pairs(pairs_tokenizer: InfinityBsq, pairs_corpus: Path) -> Callable[..., Loader]:
    """Return a function that makes a loader of pairs; keywords are the plan's fields."""
    from transformers import Qwen2VLImageProcessorPil

    text = TextEncoder(bundled_text_tokenizer())
    processor = Qwen2VLImageProcessorPil()

    def make(subset: str = "preference", **fields) -> Loader:
        source = Source(url=str(pairs_corpus), subset=subset)
        plan = LoadPlan(**{"sources": (source,), "batch": 2, "epochs": 1, **fields})
        return Loader(plan, text=text, tokenizer=pairs_tokenizer, image_processor=processor)

    return make


@pytest.fixture(scope="session")
def two_pairs(load_pairs: Callable[..., Loader]) -> Batch:
    """Two pairs."""
    return next(iter(load_pairs()))


@pytest.fixture(scope="session")
def pairs_config(pairs_tokenizer: InfinityBsq) -> VargptConfig:
    config = with_vocabulary(TINY, bundled_text_tokenizer().get_vocab())
    decoder = replace(config.decoder, drop_path=0.5)
    return replace(config, codes=head_of(pairs_tokenizer), decoder=decoder)


@pytest.fixture
def make_policy(pairs_config: VargptConfig) -> Callable[..., Vargpt]:
    """Return a function that builds a tiny model in training mode, the same for the same seed."""

    def make(seed: int = 0) -> Vargpt:
        torch.manual_seed(seed)
        return Vargpt(pairs_config).train()

    return make
