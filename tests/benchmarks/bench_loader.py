"""Samples a second and core of the loader, beside plain webdataset and tokenizing online.

    python tests/benchmarks/bench_loader.py [--runs 3] [--samples 2000]

One process with one thread, and its CPU seconds: what else the machine does counts little. Shards
hold real images (bundled ones, as 512 px JPEGs), their titles, and what the bundled tokenizer makes
of them, each some times over under keys of their own, in the page cache.

`read` is members to Python values; `batches` goes on to token ids, inputs and targets. Plain
webdataset reads the same shards from start to end, decodes neither images nor features it does not
need, and makes the same batches with the loader's own code. `online` is a training step that
decodes and encodes the images itself, as the published code does; d32 is the published size, with
random weights and few images, as neither changes its speed.
"""

import argparse
import io
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from bench_tokens import pixels
from measuring import ROOT, report, spread
from PIL import Image

from model.data.collate import Collator
from model.data.images import StoredImage, Targets, draw_flips
from model.data.loader import Loader
from model.data.manifest import Source
from model.data.order import windows
from model.data.plan import LoadPlan, SelfCorrection, Shuffle
from model.data.samples import Message, decode
from model.data.shards import ShardReader
from model.data.sources import open_sources
from model.data.text import Conversation, Encoded, TextEncoder
from model.data.text_tokenizer import bundled_text_tokenizer
from model.data.worker import Sample
from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.load import load_tokenizer
from model.tokenizers.prepare import cover_crop, to_model_input
from schemas.sample import encode_json
from schemas.subsets import T2I

sys.path.insert(0, str(ROOT / "tests/corpus"))
from training_shards import ShardMaker

BATCH = 32
DISTINCT = 48  # images
SHARDS = 4
ONLINE = {"bundled": 8, "d32": 1}  # images timed of each online tokenizer
BLANK = {str: "", int: 1, float: 1.0, dict: {}, list: []}


class RealShards(ShardMaker):
    """Writes samples that are copies of a few real ones."""

    def encode(self) -> None:
        """Make the real ones; `tokenizer` is that of the codes."""
        images = pixels(512, DISTINCT)
        small = torch.nn.functional.interpolate(images, size=(256, 256), mode="area")
        features = self.tokenizer.features(small.clamp(-1, 1))
        codes = self.tokenizer.quantize(features).pack()
        self.real = [
            {
                "jpg": jpeg(image),
                "tokens256.npy": npy(code),
                "features256.npy": npy(feature.half().numpy()),
            }
            for image, code, feature in zip(images, codes, features, strict=True)
        ]
        rows = map(json.loads, (ROOT / "tests/corpus/demo.jsonl").read_text().splitlines())
        self.titles = [row["title"] for row in rows if row.get("title")]

    def members(self, subset: str, key: str) -> dict[str, bytes]:
        number = int(key, 16)
        jpg, *arrays = self.real[number % DISTINCT].items()
        title = self.titles[number % len(self.titles)]
        user, answer = f"Please render a photo of {title}", f"Here's a photo of {title}<image_gen>"
        messages = [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]
        fields = {name: BLANK[type_] for name, type_ in T2I.fields.items()}
        body = encode_json(fields | {"key": key, "messages": messages, "caption": title}, T2I)
        return dict([jpg, ("json", body), *arrays])


class Bench:
    """The shards, and every way to read them."""

    def __init__(self, folder: Path, samples: int) -> None:
        tokenizer = load_tokenizer("infinity_bsq", preset="bundled")
        assert isinstance(tokenizer, InfinityBsq)
        self.tokenizer = tokenizer
        maker = RealShards(tokenizer=tokenizer, features=True, schedules={1.0: tokenizer.schedule})
        maker.encode()
        self.images = [sample["jpg"] for sample in maker.real]
        self.folder = maker.write(folder / "corpus", {"t2i": [samples // SHARDS] * SHARDS})
        self.tars = sorted(map(str, self.folder.glob("shards/*.tar")))
        self.text = TextEncoder(bundled_text_tokenizer())

    def plan(self, kind: SelfCorrection) -> LoadPlan:
        source = Source(url=str(self.folder))
        return LoadPlan(sources=(source,), batch=BATCH, epochs=1, self_correction=kind)

    def batches(self, kind: SelfCorrection) -> Iterator[int]:
        loader = Loader(self.plan(kind), text=self.text, tokenizer=self.tokenizer)
        return (len(batch.keys) for batch in loader)

    def read(self, kind: SelfCorrection) -> Iterator[int]:
        """Yield the size of each window that was read and decoded, in an epoch's order."""
        opened, _ = open_sources(self.plan(kind), self.tokenizer, None)
        sizes = [shard.samples for shard in opened[0].shards]
        reader = ShardReader(opened[0].source, opened[0].shards, opened[0].members, keep=SHARDS)
        for window in windows(sizes, range(sum(sizes)), shuffle=Shuffle(), salt=()):
            found = [
                decode(key, members, "t2i")
                for shard in np.unique(window.shards_n).tolist()
                for key, members in reader.read(
                    shard, sorted(window.rows_n[window.shards_n == shard].tolist())
                )
            ]
            yield len(found)

    def plain_read(self, kind: SelfCorrection) -> Iterable[dict[str, Any]]:
        """Yield decoded samples as webdataset's users get them."""
        names = ["json", "tokens256.npy", *(["features256.npy"] if kind == "exact" else [])]
        found = webdataset.WebDataset(self.tars, shardshuffle=SHARDS, seed=0)
        return found.shuffle(512).decode(only=names)

    def plain_batches(self, kind: SelfCorrection) -> Iterator[int]:
        """Yield the size of each batch of what plain webdataset reads."""
        collate = Collator(self.text, Targets(self.tokenizer, kind), loss="answers", device="cpu")
        samples = iter(self.plain_read(kind))
        while group := list(itertools.islice(samples, BATCH)):
            made = [self._sample(each, kind) for each in group]
            yield len(collate(made, self.tokenizer.schedule).keys)

    def _sample(self, read: dict[str, Any], kind: SelfCorrection) -> Sample:
        key, schedule = read["__key__"], self.tokenizer.schedule
        messages = [Message(**message) for message in read["json"]["messages"]]
        (text,) = self.text.encode([Conversation(messages, read["tokens256.npy"].shape[0])])
        assert isinstance(text, Encoded)
        image = StoredImage(
            schedule=schedule,
            codes=read["tokens256.npy"],
            features=read["features256.npy"] if kind == "exact" else None,
            flips=draw_flips(schedule, 32, 0, 0, key, "flips"),
        )
        return Sample(key=key, text=text, image=image, patches=None)

    def targets(self, kind: SelfCorrection) -> Callable[[], Iterator[int]]:
        """Return the making of inputs and targets alone, of samples in memory."""
        samples = [self._sample(each, kind) for each in itertools.islice(self.plain_read(kind), 96)]
        images = [sample.image for sample in samples if sample.image]
        make = Targets(self.tokenizer, kind)
        parts = [images[first : first + BATCH] for first in range(0, len(images), BATCH)]
        return lambda: (len(make(part)[0]) for part in parts)

    def online(self, tokenizer: InfinityBsq, images: int) -> Iterator[int]:
        """Decode, crop and encode images, and correct them with flips, in the training step."""
        for body in self.images[:images]:
            image = Image.open(io.BytesIO(body)).convert("RGB")
            features = tokenizer.features(to_model_input(cover_crop(image, 256, 256)[None]))
            packed = draw_flips(tokenizer.schedule, 32, "x")
            flips = torch.from_numpy(np.unpackbits(packed, axis=-1).astype(bool))
            yield len(tokenizer.self_correct(features, flips[None]).labels_BPD)


def jpeg(image_3HW: torch.Tensor) -> bytes:
    file = io.BytesIO()
    values = ((image_3HW + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    Image.fromarray(values).save(file, "JPEG", quality=95)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def timed(work: Callable[[], Iterable[int]], runs: int) -> dict[str, float]:
    """Return samples a CPU second over some runs, after one that warms up."""
    sum(work())
    speeds: list[float] = []
    for _ in range(runs):
        started = time.process_time()
        samples = sum(work())
        speeds.append(samples / (time.process_time() - started))
    return spread(speeds)


def compare(bench: Bench, kind: SelfCorrection, runs: int) -> dict[str, Any]:
    """Time the loader and plain webdataset."""
    cases: dict[str, Callable[[], Iterable[int]]] = {
        "read": lambda: bench.read(kind),
        "read_plain_webdataset": lambda: (1 for _ in bench.plain_read(kind)),
        "batches": lambda: bench.batches(kind),
        "batches_plain_webdataset": lambda: bench.plain_batches(kind),
        "targets_alone": bench.targets(kind),
    }
    figures: dict[str, Any] = {name: timed(work, runs) for name, work in cases.items()}
    for name in ("read", "batches"):
        ratio = figures[name]["median"] / figures[f"{name}_plain_webdataset"]["median"]
        figures[f"{name}_speed_up"] = round(ratio, 2)
    return figures


def saved_a_step(stored: float, online: float) -> dict[str, float]:
    """Return CPU seconds that a step of a batch takes for its images, from samples a second."""
    seconds = {"stored_s": BATCH / stored, "online_s": BATCH / online}
    seconds["saved_s"] = seconds["online_s"] - seconds["stored_s"]
    return {name: float(f"{value:.3g}") for name, value in seconds.items()}


def main() -> None:
    """Time every case and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--samples", type=int, default=2000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    figures: dict[str, Any] = {
        "torch": torch.__version__,
        "webdataset": webdataset.__version__,
        "load_average": os.getloadavg()[0],
        "batch": BATCH,
        "samples": options.samples,
    }
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.samples)
        kinds: Sequence[SelfCorrection] = ("approximate", "exact")
        figures |= {
            f"samples_per_core_s, {kind}": compare(bench, kind, options.runs) for kind in kinds
        }
        stored = figures["samples_per_core_s, exact"]["targets_alone"]["median"]
        d32 = load_tokenizer("infinity_bsq", preset="d32")
        for name, tokenizer in (("bundled", bench.tokenizer), ("d32", d32)):
            assert isinstance(tokenizer, InfinityBsq)
            speed = timed(lambda of=tokenizer, n=ONLINE[name]: bench.online(of, n), options.runs)
            figures[f"online, {name}"] = {
                "images_per_core_s": speed,
                f"step of {BATCH}": saved_a_step(stored, speed["median"]),
            }
    report("loader", figures)


if __name__ == "__main__":
    main()
