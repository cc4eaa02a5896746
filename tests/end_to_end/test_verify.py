"""The verifier finds what is put into a sound corpus, whatever hashes were rewritten with it."""

import io
import json
import os
import shutil
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus import Corpus
from forging import (
    Row,
    Samples,
    forge_array,
    forge_bytes,
    forge_codes,
    forge_json,
    forge_manifest,
    forge_rows,
    forge_shard,
    read_samples,
    store_of,
)
from PIL import Image, ImageOps
from serve import CorpusServer

from pipelines.runtime.sidecar import (
    is_as_written,
    make_origin,
    read_origin,
    read_table,
    write_sidecar,
)
from pipelines.verify.files import STRAY
from pipelines.verify.job import verify
from schemas.sample import CONTRACT_VERSION
from schemas.store.errors import NotLookedError
from schemas.store.storage import Storage

# Rows of the demo list that go wrong: a failed one of crawl and of measure, a dropped one of select
# and of dedup.
WRONG = ("gone.png", "truncated.png", "same_bytes.png", "icon.png")
TAR, RAW, CODES = "shards/t2i-000000.tar", "raw/00000", "tokens/00000.tokens256.npy"
INDEX = "shards/t2i-000000.parquet"

Damage = Callable[[Corpus], Any]


@pytest.fixture(scope="module")
def small(
    server: CorpusServer, demo_rows: list[dict], tmp_path_factory: pytest.TempPathFactory
) -> Corpus:
    """A dozen rows of the demo list in two shards; tests must not change it."""
    real = [row for row in demo_rows if "expect" not in row]
    wrong = [row for row in demo_rows if row.get("url", "").endswith(WRONG)]
    rows = [*real[:4], *wrong[:2], *real[4:8], *wrong[2:]]
    folder = tmp_path_factory.mktemp("small")
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    sets = (
        f"sources.openclipart.path={folder}/rows.jsonl",
        f"sources.openclipart.base_url={server.base_url}",
        "rows_per_shard=6",
        "shard.samples=4",
        "max_failed_fraction.crawl=1",
        "max_failed_fraction.measure=1",
        "score.scorers=[{score: custom, name: bright, callable: simple_scorers:brightness}]",
        "dedup.semantic=null",
        "select.bright={max: 0.999}",
    )
    corpus = Corpus(out=folder / "out", sets=sets)
    corpus.rebuild()
    return corpus


@pytest.fixture
def copied(small: Corpus, tmp_path: Path) -> Corpus:
    """The same, which a test may change."""
    shutil.copytree(small.out, tmp_path / "out")
    return Corpus(out=tmp_path / "out", sets=small.sets)


def flip(pattern: str, at: float = 0.5) -> Damage:
    def damage(corpus: Corpus) -> None:
        path = corpus.files(pattern)[0]
        data = bytearray(path.read_bytes())
        data[int(len(data) * at)] ^= 0x40
        path.write_bytes(data)

    return damage


def unchecked(pattern: str) -> Damage:
    """Flip the first bit of a side-car with which it can still be read."""

    def damage(corpus: Corpus) -> None:
        path = corpus.files(pattern)[0]
        data, schema = path.read_bytes(), pq.read_schema(path)
        for at in range(len(data)):
            flipped = data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]
            try:
                sound = is_as_written(flipped, schema)
            except (pa.ArrowException, OSError, ValueError):
                continue
            if not sound:
                path.write_bytes(flipped)
                return

    return damage


def put(path: str, data: bytes = b"") -> Damage:
    def damage(corpus: Corpus) -> None:
        place = corpus.out / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)

    return damage


def copy_of(path: str, name: str) -> Damage:
    return lambda corpus: put(name, (corpus.out / path).read_bytes())(corpus)


def doubled(path: str) -> Damage:
    return lambda corpus: put(path, 2 * (corpus.out / path).read_bytes())(corpus)


def remove(pattern: str) -> Damage:
    return lambda corpus: corpus.files(pattern)[0].unlink()


def instead(path: str, make: Callable[[Path], Any]) -> Damage:
    """Put something else in the place of a file."""

    def damage(corpus: Corpus) -> None:
        place = corpus.out / path
        place.unlink(missing_ok=True)
        make(place)

    return damage


def replaced(path: str, old: str, new: str) -> Damage:
    def damage(corpus: Corpus) -> None:
        place = corpus.out / path
        text = place.read_text()
        assert old in text
        place.write_text(text.replace(old, new, 1))

    return damage


def appended(path: str, data: bytes) -> Damage:
    def damage(corpus: Corpus) -> None:
        with open(corpus.out / path, "ab") as file:
            file.write(data)

    return damage


def sample(change: Callable[[Row], Any]) -> Damage:
    return lambda corpus: forge_json(corpus, change)


def samples(change: Callable[[Samples], Any]) -> Damage:
    return lambda corpus: forge_shard(corpus, change)


def codes(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    return lambda corpus: forge_array(corpus, change)


def tar_bytes(change: Callable[[bytes], bytes]) -> Damage:
    return lambda corpus: forge_bytes(corpus, change)


def manifest(change: Callable[[Row], Any]) -> Damage:
    return lambda corpus: forge_manifest(corpus, change)


def rows(folder: str, change: Callable[[list[Row]], Any], shard: int = 0) -> Damage:
    return lambda corpus: forge_rows(corpus, folder, shard, change)


def first(**values: Any) -> Callable[[list[Row]], Any]:
    return lambda table: table[0].update(values)


def among(column: str, *, known: bool, **values: Any) -> Callable[[list[Row]], Any]:
    """Change the first row that has a value in a column, or that has none."""
    return lambda table: next(r for r in table if (r[column] is not None) == known).update(values)


def every(**values: Any) -> Callable[[list[Row]], Any]:
    return lambda table: [row.update(values) for row in table]


def retold(path: str, change: Callable[[Any], Any], indent: int | None = 1) -> Damage:
    """Change a JSON file, written as the build writes it."""

    def damage(corpus: Corpus) -> None:
        place = corpus.out / path
        told = json.loads(place.read_text())
        change(told)
        place.write_text(json.dumps(told, indent=indent))

    return damage


def swapped(member: str) -> Callable[[Samples], None]:
    def change(found: Samples) -> None:
        a, b = list(found.values())[:2]
        a[member], b[member] = b[member], a[member]

    return change


def redrawn(change: Callable[[Image.Image], Image.Image]) -> Damage:
    def damage(found: Samples) -> None:
        members = next(iter(found.values()))
        image, out = change(Image.open(io.BytesIO(members["jpg"]))), io.BytesIO()
        image.save(out, "JPEG", quality=95)
        members["jpg"] = out.getvalue()

    return samples(damage)


def segments(marker: int, times: int, data: bytes = b"PK" * 30_000) -> Damage:
    """Put segments into a JPEG, behind its first."""

    def damage(found: Samples) -> None:
        members = next(iter(found.values()))
        more = times * (bytes([0xFF, marker]) + (len(data) + 2).to_bytes(2, "big") + data)
        members["jpg"] = members["jpg"][:20] + more + members["jpg"][20:]

    return samples(damage)


def another_member(found: Samples) -> None:
    next(iter(found.values()))["txt"] = b"more"


def stranger(corpus: Corpus) -> None:
    others = read_samples(corpus.files("shards/*.tar")[1])
    forge_shard(corpus, lambda found: found.update([next(iter(others.items()))]))


def lost_sample(found: Samples) -> None:
    del found[next(iter(found))]


def other_order(found: Samples) -> None:
    key = next(iter(found))
    found[key] = found.pop(key)


def twice(data: bytes) -> bytes:
    """Repeat the samples, as a tar that was appended to."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for _ in range(2):
            with tarfile.open(fileobj=io.BytesIO(data)) as old:
                for member in old:
                    tar.addfile(member, old.extractfile(member))
    return out.getvalue()


def with_pax(data: bytes) -> bytes:
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar,
        tarfile.open(fileobj=io.BytesIO(data)) as old,
    ):
        for member in old:
            member.pax_headers = {"comment": "hidden"}
            tar.addfile(member, old.extractfile(member))
    return out.getvalue()


def with_link(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo("../../outside.jpg")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    return out.getvalue()[:512] + data


def gzipped(data: bytes) -> bytes:
    import gzip

    return gzip.compress(data)


def no_rows(table: list[Row]) -> None:
    table.pop(0)


def another_schema(corpus: Corpus) -> None:
    store, path = store_of(corpus), "signals/00001.parquet"
    table, origin = read_table(store, path), read_origin(store, path)
    assert origin is not None
    table = table.set_column(1, "width", table["width"].cast(pa.float64()))
    made = make_origin(origin.stage, origin.fingerprint, table, origin.counts)
    write_sidecar(store, path, table, made)


def no_footer(corpus: Corpus) -> None:
    path = corpus.out / "captions/00000.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)


def odd_footer(corpus: Corpus) -> None:
    path = corpus.out / "pairs/00000.parquet"
    footer = {b"vargpt": json.dumps({"stage": 7, "rows_in": [], "kept": None}).encode()}
    pq.write_table(pq.read_table(path).replace_schema_metadata(footer), path)


def letters(corpus: Corpus, change: Callable[[list[Row]], Any]) -> None:
    path = corpus.files("dead_letters/crawl/*.parquet")[0]
    table = pq.read_table(path)
    found = table.to_pylist()
    change(found)
    pq.write_table(pa.Table.from_pylist(found, schema=table.schema), path)


def a_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the names of sockets are short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def moved_away(path: str) -> Damage:
    """Leave a link in the place of a file."""

    def damage(corpus: Corpus) -> None:
        away = corpus.out.parent / "away"
        (corpus.out / path).rename(away)
        (corpus.out / path).symlink_to(away)

    return damage


def deep_json(path: Path) -> None:
    path.write_text("[" * 100_000)


def of_a_member(corpus: Corpus) -> None:
    """Swap two arrays of a shard's side-car, with all that tells of them."""

    def change(table: list[Row]) -> None:
        a, b = table[:2]
        for name in ("offset", "sha256"):
            a[name], b[name] = b[name], a[name]

    forge_rows(corpus, "tokens", 0, change)


def more_raw(corpus: Corpus) -> None:
    path = corpus.files("raw/*.tar")[0]
    path.write_bytes(path.read_bytes() + bytes(512))


# Name: what is done, the file that the fault names, and what it says.
DAMAGES: dict[str, tuple[Damage, str, str]] = {
    # Bytes that changed by chance.
    "flipped image": (flip("shards/*.tar"), TAR, "sha256 differs from the manifest"),
    "flipped raw image": (flip("raw/*.tar", 0.3), RAW, "are not what was fetched"),
    "flipped codes": (flip("tokens/*.npy"), CODES, "are not what was written"),
    "flipped side-car": (flip("signals/*.parquet", 0.9995), "signals/00000.parquet", "readable"),
    "flipped value": (
        unchecked("signals/*.parquet"),
        "signals/00000.parquet",
        "not written as a stage writes it",
    ),
    "cut tar": (tar_bytes(lambda data: data[:7000]), TAR, "cut short"),
    "cut raw tar": (lambda c: os.truncate(c.files("raw/*.tar")[0], 9000), RAW, "cut short"),
    "cut codes": (lambda c: os.truncate(c.out / CODES, 3000), CODES, "not what was written"),
    "cut manifest": (put("manifest.json", b'{"contract": 1'), "manifest.json", "damaged"),
    "empty tar": (put(TAR), TAR, "0 bytes, the manifest says"),
    "empty recipe": (put("recipe.yaml"), "recipe.yaml", "expected a mapping"),
    "empty plan": (put("sources/plan.json"), "sources/plan.json", "damaged"),
    "deep manifest": (instead("manifest.json", deep_json), "manifest.json", "RecursionError"),
    "deep plan": (instead("sources/plan.json", deep_json), "sources/plan.json", "Recursion"),
    "missing shard": (remove("shards/*.tar"), TAR, "missing"),
    "missing index": (remove("shards/*.parquet"), "shards/t2i-000000.parquet", "missing"),
    "missing list": (remove("shards/t2i.json"), "shards/t2i.json", "missing"),
    "missing side-car": (remove("pairs/*.parquet"), "pairs/00000.parquet", "missing"),
    "missing raw tar": (remove("raw/*.tar"), RAW, "missing"),
    "missing codes": (remove("tokens/*.npy"), CODES, "missing"),
    "missing letters": (remove("dead_letters/crawl/*"), "dead_letters/crawl/0000", "missing"),
    "missing report": (remove("report.html"), "report.html", "missing"),
    "missing plan": (remove("sources/plan.json"), "sources/plan.json", "missing"),
    "missing recipe": (remove("recipe.yaml"), "recipe.yaml", "missing"),
    "missing log": (remove("build_log.jsonl"), "build_log.jsonl", "missing"),
    # Samples, with every hash of the tar rewritten.
    "text": (sample(lambda s: s.update(text="x")), TAR, "json: text is 'x', expected"),
    "title": (sample(lambda s: s.update(title="x")), TAR, "json: title is"),
    "tags": (sample(lambda s: s.update(tags="x")), TAR, "json: tags is"),
    "caption": (sample(lambda s: s.update(caption="x")), TAR, "json: caption is"),
    "origin": (sample(lambda s: s.update(caption_origin="x")), TAR, "json: caption_origin"),
    "message": (
        sample(lambda s: s["messages"][0].update(content="x")),
        TAR,
        "json: messages.0.content is 'x'",
    ),
    "template": (sample(lambda s: s.update(template="x")), TAR, "json: template is"),
    "licence": (sample(lambda s: s.update(licence="x")), TAR, "json: licence is"),
    "author": (sample(lambda s: s.update(author="x")), TAR, "json: author is"),
    "url": (sample(lambda s: s.update(url="x")), TAR, "json: url is"),
    "source": (sample(lambda s: s.update(source="x")), TAR, "json: source is"),
    "image hash": (sample(lambda s: s.update(sha256="x")), TAR, "json: sha256 is"),
    "width": (sample(lambda s: s.update(width=7)), TAR, "json: width is 7, expected"),
    "aspect": (sample(lambda s: s.update(crop_aspect=2.0)), TAR, "json: crop_aspect is"),
    "recipe": (sample(lambda s: s.update(recipe="x")), TAR, "json: recipe is"),
    "signal": (
        sample(lambda s: s["signals"].update(sharpness=1)),
        TAR,
        "json: signals.sharpness is 1, expected",
    ),
    "further field": (sample(lambda s: s.update(more=1)), TAR, "json: more is not expected"),
    "missing field": (sample(lambda s: s.pop("licence")), TAR, "json: licence is missing"),
    "order of fields": (sample(lambda s: s.update(key=s.pop("key"))), TAR, "not written as"),
    "no json": (samples(lambda s: next(iter(s.values())).update(json=b"{")), TAR, "json: "),
    "nan": (
        sample(lambda s: s["signals"].update(sharpness=float("nan"))),
        TAR,
        "json: signals.sharpness is nan",
    ),
    "codes": (codes(lambda a: a ^ 1), TAR, "tokens256.npy: values differ from"),
    "dtype of codes": (codes(lambda a: a.astype(np.uint64)), TAR, "tokens256.npy: values"),
    "shape of codes": (codes(lambda a: a[None]), TAR, "its header is not the one that was written"),
    "swapped codes": (samples(swapped("tokens256.npy")), TAR, "tokens256.npy: values"),
    "swapped images": (samples(swapped("jpg")), TAR, "jpg: "),
    "swapped records": (samples(swapped("json")), TAR, "json: key is"),
    "other colours": (redrawn(ImageOps.invert), TAR, "jpg: another picture"),
    "grey image": (redrawn(lambda image: image.convert("L")), TAR, "jpg: L"),
    "smaller image": (redrawn(lambda image: image.reduce(2)), TAR, "jpg: RGB"),
    "no image": (samples(lambda s: next(iter(s.values())).update(jpg=b"x")), TAR, "jpg: "),
    "bytes in image": (
        samples(lambda s: next(iter(s.values())).update(jpg=next(iter(s.values()))["jpg"] + b"x")),
        TAR,
        "jpg: bytes after its end",
    ),
    "payload in image": (segments(0xE0, 3), TAR, "jpg: holds more than pixels"),
    "comments in image": (segments(0xFE, 2), TAR, "jpg: holds more than pixels"),
    "tables in image": (segments(0xDD, 5_001, bytes(2)), TAR, "jpg: holds more than pixels"),
    "missing member": (
        samples(lambda s: next(iter(s.values())).pop("json")),
        TAR,
        "expected ['jpg",
    ),
    "further member": (samples(another_member), TAR, "'txt'], expected"),
    "missing sample": (samples(lost_sample), TAR, "1 samples are missing"),
    "stranger": (stranger, TAR, "belongs to another shard"),
    "other order": (samples(other_order), TAR, "not in the order of keys"),
    # Tars that readers may read otherwise.
    "samples twice": (tar_bytes(twice), TAR, "a second sample of this key"),
    "pax headers": (tar_bytes(with_pax), TAR, "not a tar header that the build writes"),
    "link in tar": (tar_bytes(with_link), TAR, "not a tar header that the build writes"),
    "gzipped tar": (tar_bytes(gzipped), TAR, "not a tar header that the build writes"),
    "bytes after the end": (tar_bytes(lambda d: d + b"more"), TAR, "bytes after its end"),
    "two ends": (tar_bytes(lambda d: d + bytes(10240)), TAR, "bytes after its end"),
    "hidden after the mark": (
        tar_bytes(lambda d: d[:-9] + b"123456789"),
        TAR,
        "bytes after the mark of its end",
    ),
    "raw tar appended to": (more_raw, RAW, "bytes after its end"),
    # Side-cars, with every fingerprint from there on rewritten.
    "signals row": (rows("signals", every(sharpness=1.0)), TAR, "signals.sharpness"),
    "text signal": (rows("signals", first(text_chars=999)), "signals/00000", "measured again"),
    "size signal": (rows("signals", first(pixels=1)), "signals/00000.parquet", "pixels is 1"),
    "no score": (
        rows("scores", among("bright", known=True, bright=None)),
        "scores/00000",
        "missing",
    ),
    "nan score": (
        rows("scores", among("bright", known=True, bright=float("nan")), 1),
        "scores/00001",
        "bright is nan",
    ),
    "further score": (
        rows("scores", among("bright", known=False, bright=0.5), 1),
        "scores/00001",
        "bright is 0.5, not asked for",
    ),
    "scored text": (
        rows("scores", among("bright", known=True, text_digest="0" * 32)),
        "scores/00000",
        "text_digest is '000",
    ),
    "key": (rows("sources", first(url="https://x")), "sources/00000.parquet", "is not the key"),
    "source row": (rows("sources", first(source="x")), "sources/00000.parquet", "has source 'x'"),
    "caption row": (
        rows("captions", first(caption="x")),
        "captions/00000.parquet",
        "caption is 'x'",
    ),
    "pair row": (rows("pairs", first(template="x")), "pairs/00000.parquet", "template is 'x'"),
    "selection row": (
        rows("selection", lambda table: table[0].update(kept=not table[0]["kept"])),
        "selection/00000.parquet",
        "its stage makes it",
    ),
    "duplicates row": (
        rows("duplicates", first(kept_key="0" * 32)),
        "duplicates/00000",
        "its representative is",
    ),
    "text repeats": (rows("duplicates", first(text_repeats=-1)), "duplicates/00000", "-1 rows"),
    "lost row": (rows("captions", no_rows, 1), "captions/00001.parquet", "1 rows lost"),
    "swapped arrays": (of_a_member, CODES, "does not follow"),
    "codes method": (rows("tokens", first(method="0" * 32)), "tokens/00000.parquet", "method is"),
    "codes device": (rows("tokens", first(device="abacus")), "tokens/00000", "made on 'abacus'"),
    "outside file": (
        rows("raw", first(file="../../x")),
        "raw/00000.parquet",
        "not a tar of this shard",
    ),
    "url as file": (
        rows("raw", first(file="http://127.0.0.1:9/x")),
        "raw/00000.parquet",
        "its source is a list",
    ),
    "another schema": (another_schema, "signals/00001.parquet", "column width has type double"),
    "side-car twice": (doubled("pairs/00000.parquet"), "pairs/00000.parquet", "more than its rows"),
    "index twice": (doubled(INDEX), INDEX, "holds more than its rows"),
    "no footer": (no_footer, "captions/00000.parquet", "not a side-car of ours"),
    "odd footer": (odd_footer, "pairs/00000.parquet", "its footer says KeyError"),
    "text for a side-car": (put("raw/00000.parquet", b"text"), "raw/00000.parquet", "readable"),
    "letters of nobody": (
        lambda c: letters(c, lambda t: t[0].update(id="0" * 32)),
        "raw/0000",
        "is not a row of the stage before",
    ),
    "letters twice": (
        lambda c: letters(c, lambda t: t.append(t[-1])),
        "dead_letters/crawl/0000",
        "its stage counted",
    ),
    "letters for another reason": (
        lambda c: letters(c, lambda t: t[0].update(reason="x")),
        "dead_letters/crawl/0000",
        "its stage counted",
    ),
    # What tells of the whole.
    "other recipe": (
        replaced("recipe.yaml", "jpeg_quality: 95", "jpeg_quality: 94"),
        "manifest.json",
        "recipe is",
    ),
    "comment in recipe": (appended("recipe.yaml", b"# mine\n"), "recipe.yaml", "not written as"),
    "samples told": (
        manifest(lambda m: m["subsets"]["t2i"].update(samples=7)),
        "manifest.json",
        "subsets.t2i.samples is 7, expected",
    ),
    "bytes told": (
        manifest(lambda m: m["subsets"]["t2i"].update(bytes=7)),
        "manifest.json",
        "bytes is 7",
    ),
    "shard not told": (
        manifest(lambda m: m["subsets"]["t2i"]["shards"].pop()),
        "manifest.json",
        "items",
    ),
    "shard told twice": (
        manifest(lambda m: m["subsets"]["t2i"]["shards"].append(m["subsets"]["t2i"]["shards"][0])),
        "manifest.json",
        "items, expected",
    ),
    "funnel": (
        manifest(lambda m: m["funnel"][-1].update(kept=1)),
        "manifest.json",
        "funnel.9.kept",
    ),
    "failed told": (
        manifest(lambda m: m.update(selected_but_not_written=5)),
        "manifest.json",
        "selected_but_not_written is 5",
    ),
    "name": (manifest(lambda m: m.update(name="x")), "manifest.json", "name is 'x'"),
    "description": (manifest(lambda m: m.update(description="x")), "manifest.json", "description"),
    "tokens told": (
        manifest(lambda m: m["tokens"][0].update(codes_limit=2**40)),
        "manifest.json",
        "tokens.0.codes_limit",
    ),
    "devices told": (
        manifest(lambda m: m["tokens"][0].update(made_on={"cuda, 8 a pass": 1})),
        "manifest.json",
        "tokens.0.made_on",
    ),
    "versions": (
        manifest(lambda m: m["made_with"].update(numpy=[1])),
        "manifest.json",
        "made_with",
    ),
    "flag for a number": (
        manifest(lambda m: m.update(selected_but_not_written=False)),
        "manifest.json",
        "selected_but_not_written is False, expected 0",
    ),
    "list for a manifest": (put("manifest.json", b"[]"), "manifest.json", "it is []"),
    "numbers for shards": (
        manifest(lambda m: m["subsets"]["t2i"].update(shards=[1, None, {"path": []}])),
        "manifest.json",
        "subsets.t2i.shards",
    ),
    "null subsets": (
        manifest(lambda m: m.update(subsets=None)),
        "manifest.json",
        "subsets is None",
    ),
    "key twice": (
        replaced(
            "manifest.json",
            f'"contract": {CONTRACT_VERSION},',
            f'"contract": 1, "contract": {CONTRACT_VERSION},',
        ),
        "manifest.json",
        "not written as",
    ),
    "list of shards": (
        retold("shards/t2i.json", lambda files: files[0].__setitem__(3, 99)),
        "shards/t2i.json",
        "0.3 is 99",
    ),
    "script in report": (
        replaced("report.html", "</body>", "<script>alert(1)</script></body>"),
        "report.html",
        "is not the page of this corpus",
    ),
    "number in report": (
        replaced("report.html", "rows listed</dt><dd>", "rows listed</dt><dd>9"),
        "report.html",
        "is not the page of this corpus",
    ),
    "plan": (
        retold("sources/plan.json", lambda p: p["openclipart"]["units"].pop()),
        "sources/0000",
        "stray",
    ),
    "crlf in report": (
        lambda c: put("report.html", (c.out / "report.html").read_bytes().replace(b"\n", b"\r\n"))(
            c
        ),
        "report.html",
        "is not the page of this corpus",
    ),
    "version without a number": (
        manifest(lambda m: m["made_with"].update(torch="newest")),
        "manifest.json",
        "made_with.torch",
    ),
    "unit of plan": (
        retold("sources/plan.json", lambda p: p["openclipart"]["units"][0].update(start=1)),
        "sources/00000.parquet",
        "made with another recipe",
    ),
    "log": (
        appended("build_log.jsonl", b"{}\n"),
        "build_log.jsonl",
        "not a line that a build writes",
    ),
    # Files that should not be there.
    "stray shard": (copy_of(TAR, "shards/t2i-000099.tar"), "shards/t2i-000099.tar", "stray"),
    "stray tar": (copy_of(TAR, "shards/extra.tar"), "shards/extra.tar", "stray"),
    "stray suffix": (copy_of(TAR, "shards/t2i-000000.tar.gz"), "t2i-000000.tar.gz", "stray"),
    "stray list": (copy_of("shards/t2i.json", "shards/extra.json"), "shards/extra.json", "stray"),
    "stray subset": (copy_of(TAR, "shards/edit-000000.tar"), "edit-000000.tar", "stray"),
    "stray side-car": (
        copy_of("pairs/00000.parquet", "pairs/00099.parquet"),
        "pairs/00099.parquet",
        "stray",
    ),
    "stray raw tar": (put("raw/00000-0123456789ab.tar", b"x"), "raw/00000-0123456789ab", "stray"),
    "stray codes": (put("tokens/00000.more.npy", b"x"), "tokens/00000.more.npy", "stray"),
    "stray letters": (put("dead_letters/pair/00000.parquet", b"x"), "dead_letters/pair", "stray"),
    "stray folder": (put("notes/todo.txt", b"x"), "notes/todo.txt", "stray"),
    "hidden file": (put("shards/.t2i.swp", b"x"), "shards/.t2i.swp", "stray and hidden"),
    "left behind": (put("shards/.partial-1a2b", b"x"), ".partial-1a2b", "was killed"),
    "left attempt": (put(".attempts/measure/00000", b"x"), ".attempts/measure/00000", "killed"),
    "line in a name": (put("shards/a\nb\x1b[2J.tar", b"x"), r"shards/a\nb\x1b[2J.tar", "stray"),
    # No files.
    "fifo for a tar": (instead(TAR, os.mkfifo), TAR, "is a FIFO"),
    "fifo for a side-car": (instead("raw/00000.parquet", os.mkfifo), "raw/00000", "is a FIFO"),
    "fifo for the manifest": (instead("manifest.json", os.mkfifo), "manifest.json", "is a FIFO"),
    "fifo for the plan": (instead("sources/plan.json", os.mkfifo), "plan.json", "is a FIFO"),
    "fifo for the recipe": (instead("recipe.yaml", os.mkfifo), "recipe.yaml", "is a FIFO"),
    "fifo beside": (instead("shards/extra.tar", os.mkfifo), "shards/extra.tar", "is a FIFO"),
    "socket": (instead("report.html", a_socket), "report.html", "is a socket"),
    "folder for a tar": (instead(TAR, Path.mkdir), TAR, "is a folder"),
    "folder beside": (instead("shards/t2i-000099.tar", Path.mkdir), "t2i-000099", "is a folder"),
    "files in a folder for a tar": (
        lambda c: (instead(TAR, Path.mkdir)(c), put(f"{TAR}/x", b"x")(c)),
        TAR,
        "is a folder",
    ),
    "folder for the manifest": (
        instead("manifest.json", Path.mkdir),
        "manifest.json",
        "is a folder",
    ),
    "device": (
        instead("report.html", lambda p: p.symlink_to("/dev/zero")),
        "report.html",
        "a link",
    ),
    "link out": (moved_away(TAR), TAR, "is a link"),
    "link to a folder": (
        lambda c: (
            (c.out / "raw").rename(c.out.parent / "raw"),
            (c.out / "raw").symlink_to("../raw"),
        ),
        "raw",
        "is a link",
    ),
}


# Damages that leave each other alone are done at once, which saves a run of the verifier each.
TOGETHER = (
    [
        "text",
        "title",
        "tags",
        "caption",
        "origin",
        "template",
        "licence",
        "author",
        "url",
        "source",
    ],
    [
        "source",
        "image hash",
        "width",
        "aspect",
        "recipe",
        "signal",
        "further field",
        "missing field",
    ],
    [name for name in DAMAGES if name.startswith(("stray ", "left ", "hidden file"))],
    ["samples told", "bytes told", "funnel", "failed told", "name", "tokens told", "devices told"],
    ["message", "versions", "log", "script in report", "comment in recipe", "list of shards"],
    ["missing index", "missing raw tar", "missing codes", "missing letters", "missing report"],
    ["missing list", "missing log", "link out", "fifo for a side-car", "socket", "fifo beside"],
    ["order of fields", "codes", "other colours", "number in report", "list of shards"],
    ["nan", "shape of codes", "grey image", "crlf in report", "folder beside"],
    ["no json", "swapped codes", "smaller image", "device"],
    ["no image", "dtype of codes", "cut codes", "index twice"],
    ["key", "caption row", "codes device", "text repeats"],
    ["source row", "pair row", "codes method", "selection row"],
    ["size signal", "lost row", "duplicates row"],
    ["no score", "nan score", "further score"],
    ["flipped image", "flipped codes", "flipped side-car", "side-car twice", "no footer"],
    ["cut tar", "cut raw tar", "odd footer", "letters twice"],
    ["empty tar", "another schema", "text for a side-car"],
    ["missing shard", "missing side-car"],
    ["description", "flag for a number", "numbers for shards", "version without a number"],
)
ALONE = [[name] for name in DAMAGES if not any(name in names for names in TOGETHER)]


@pytest.mark.parametrize("names", [*TOGETHER, *ALONE], ids=lambda names: names[0])
def test_damages_are_found_and_named(names: list[str], copied: Corpus) -> None:
    for name in names:
        DAMAGES[name][0](copied)
    faults = copied.faults()
    for name in names:
        _, file, said = DAMAGES[name]
        assert any(file in fault and said in fault for fault in faults), (name, faults)
    assert all(fault.isprintable() for fault in faults)


def test_a_sound_corpus_has_no_fault(small: Corpus) -> None:
    assert small.faults() == []


def test_every_check_goes_on_after_a_fault(copied: Corpus) -> None:
    for name in ("folder for a tar", "missing side-car", "log", "stray list"):
        DAMAGES[name][0](copied)
    found = {fault.file for fault in verify(Storage(str(copied.out)))}
    assert found >= {TAR, "pairs/00000.parquet", "shards/extra.json", "build_log.jsonl"}


def test_a_file_of_many_faults_says_how_many_more(copied: Corpus) -> None:
    forge_shard(copied, lambda found: [m.update(json=b"{}") for m in found.values()])
    of_tar = [fault for fault in copied.faults() if fault.startswith(TAR)]
    assert len(of_tar) == 21
    assert of_tar[-1].endswith("more faults")


def test_where_no_finished_build_lies_nothing_is_said_of_faults(copied: Corpus) -> None:
    (copied.out / "manifest.json").unlink()
    with pytest.raises(NotLookedError, match="no finished build lies here"):
        copied.faults()


def test_exit_codes_and_json(copied: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    from pipelines.cli.main import main

    def told(*words: str) -> tuple[int, str]:
        return main(["verify", *words]), capsys.readouterr().out

    out = str(copied.out)
    assert told(out) == (0, f"{out}: verified, no fault\n")
    DAMAGES["line in a name"][0](copied)
    code, printed = told(out)
    assert code == 1
    assert printed.splitlines()[-1].startswith(f"{out}: 1 fault; move stray files")
    code, printed = told(out, "--json")
    faults = [{"file": "shards/a\nb\x1b[2J.tar", "fault": f"stray: {STRAY}"}]
    expected = {"corpus": out, "deep": False, "sound": False, "faults": faults}
    assert (code, json.loads(printed)) == (1, expected)
    for nothing in (f"{out}/absent", f"{out}/shards"):
        code, printed = told(nothing, "--json")
        assert code == 2
        assert json.loads(printed)["error"]


@pytest.mark.slow
def test_deep_finds_what_a_build_on_forged_side_cars_makes_consistent(copied: Corpus) -> None:
    forge_rows(copied, "signals", 0, every(sharpness=1.0))
    forge_codes(copied, shard=1)
    for told in ("manifest.json", "report.html"):
        (copied.out / told).unlink()
    copied.rebuild()
    redrawn(lambda image: image)(copied)
    (copied.out / "report.html").unlink()
    copied.rebuild()
    assert copied.faults() == []
    faults = [str(fault) for fault in verify(Storage(str(copied.out)), deep=True)]
    assert {fault.partition(":")[0] for fault in faults} == {
        "signals/00000.parquet",
        "tokens/00001.tokens256.npy",
        TAR,
    }
    assert any("sharpness is 1.0, its stage makes it" in fault for fault in faults)
    assert any("encoded again, 1 of 521 differ" in fault for fault in faults), faults
    assert any("jpg: bytes differ from its image encoded again" in f for f in faults)


def test_a_repaired_corpus_is_what_it_was(copied: Corpus) -> None:
    before = copied.shard_sha256
    (copied.out / TAR).unlink()
    (copied.out / "pairs/00001.parquet").unlink()
    copied.rebuild()
    assert copied.shard_sha256 == before
    assert not copied.faults()
    assert pq.read_table(copied.files("shards/*.parquet")[0]).num_rows
