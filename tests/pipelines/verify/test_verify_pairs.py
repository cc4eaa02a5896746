"""verify of folders of pairs: a sound folder has no fault, and each damaged file is reported."""

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from corpus import Corpus
from forging import Row, Samples, forge_manifest, forge_shard, read_samples
from PIL import Image
from tiny_pairs import IMAGES, preferences, save_tiny_model, tiny_network
from training_shards import ShardMaker

from pipelines.cli.main import main
from pipelines.runtime.sidecar import make_origin, read_origin, read_table, write_sidecar
from pipelines.shards.tar_writer import TarWriter
from pipelines.shards.write_shard import npy
from schemas.fingerprint import fingerprint
from schemas.store.errors import NotLookedError
from schemas.store.storage import Storage
from schemas.subsets import PREFERENCE
from schemas.tables import PREFERENCES, PROMPTS

TAR, INDEX, LIST = (
    "shards/preference-000000.tar",
    "shards/preference-000000.parquet",
    "shards/preference.json",
)
PAIRS, ASKED = "preferences/00000.parquet", "prompts/00000.parquet"
LETTERS = "dead_letters/prompts/00000.parquet"
SCHEMAS = {PAIRS: PREFERENCES, ASKED: PROMPTS}
CODES = "chosen.tokens256.npy"

Damage = Callable[[Corpus], Any]


def folder(out: Path) -> Corpus:
    """Return a folder of pairs with what tests do to a corpus."""
    return Corpus(out=out, sets=())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with tiny_network():
        yield save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def made(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pairs in two shards, and a prompt that came twice; tests must not change them."""
    root = tmp_path_factory.mktemp("pairs")
    (root / "prompts.txt").write_text("a red fox\na blue whale\nfog\na red fox\n")
    out = root / "out"
    assert preferences(model, root / "prompts.txt", out, "--processes", "1") == 0
    return out


@pytest.fixture
def pairs(made: Path, tmp_path: Path) -> Corpus:
    """A copy of them."""
    shutil.copytree(made, tmp_path / "out")
    return folder(tmp_path / "out")


def test_a_sound_folder_has_no_fault_and_its_bytes_stay(pairs: Corpus, made: Path) -> None:
    assert pairs.faults() == []
    files = [path.relative_to(made) for path in made.rglob("*") if path.is_file()]
    assert all((pairs.out / path).read_bytes() == (made / path).read_bytes() for path in files)


@pytest.mark.parametrize("subset", ["t2i", "edit"])
def test_pairs_of_a_corpus_with_its_own_images_have_no_fault(
    model: Path, tmp_path: Path, subset: str
) -> None:
    tokenizer = IMAGES.load()
    maker = ShardMaker(tokenizer=tokenizer, schedules={1.0: tokenizer.schedule})
    corpus = maker.write(tmp_path / "corpus", {subset: [2, 1]})
    asked = ["--corpus", str(corpus), "--subset", subset, "--held-out", "1", "--pairs", "paper"]
    where = ["--model", str(model), "--out", str(tmp_path / "out"), "--processes", "1"]
    assert main(["preferences", *where, *asked, "--tau", "1", "--cfg", "1"]) == 0
    assert folder(tmp_path / "out").faults() == []
    name = {"t2i": "preference", "edit": "preference_edit"}[subset]
    forge_shard(folder(tmp_path / "out"), lost_sample, subset=name)
    (fault,) = folder(tmp_path / "out").faults()
    assert "1 pairs are missing" in fault


def put(path: str, data: bytes = b"x") -> Damage:
    def damage(pairs: Corpus) -> None:
        (pairs.out / path).parent.mkdir(parents=True, exist_ok=True)
        (pairs.out / path).write_bytes(data)

    return damage


def remove(path: str) -> Damage:
    return lambda pairs: (pairs.out / path).unlink()


def change_bytes(path: str, change: Callable[[bytes], bytes]) -> Damage:
    return lambda pairs: (pairs.out / path).write_bytes(change((pairs.out / path).read_bytes()))


def flipped(data: bytes) -> bytes:
    at = data.index(b"\xff\xda") + 200  # inside the pixels of a JPEG
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def samples(change: Callable[[Samples], Any]) -> Damage:
    """Change samples, and write every hash that tells of them anew."""
    return lambda pairs: forge_shard(pairs, change, subset=PREFERENCE.name)


def record(change: Callable[[Row], Any]) -> Damage:
    def first(found: Samples) -> None:
        members = next(iter(found.values()))
        sample = json.loads(members["json"])
        change(sample)
        members["json"] = json.dumps(sample, ensure_ascii=False).encode()

    return samples(first)


def codes(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    def first(found: Samples) -> None:
        members = next(iter(found.values()))
        members[CODES] = npy(change(np.load(io.BytesIO(members[CODES]))))

    return samples(first)


def picture(image: Image.Image, quality: int = 95) -> Damage:
    def first(found: Samples) -> None:
        encoded = io.BytesIO()
        image.save(encoded, "JPEG", quality=quality)
        next(iter(found.values()))["rejected.jpg"] = encoded.getvalue()

    return samples(first)


def rows(path: str, change: Callable[[list[Row]], Any]) -> Damage:
    """Change rows of a side-car, written as a stage writes them."""

    def damage(pairs: Corpus) -> None:
        store = Storage(str(pairs.out))
        table, origin = read_table(store, path).to_pylist(), read_origin(store, path)
        assert origin is not None
        change(table)
        found = pa.Table.from_pylist(table, schema=SCHEMAS[path])
        files, counts = origin.files, origin.counts
        made = make_origin(origin.stage, origin.fingerprint, found, counts, files=files)
        write_sidecar(store, path, found, made)

    return damage


def footer(path: str, **changes: Any) -> Damage:
    def damage(pairs: Corpus) -> None:
        store = Storage(str(pairs.out))
        table, origin = read_table(store, path), read_origin(store, path)
        assert origin is not None
        told = {"fingerprint": origin.fingerprint, "counts": origin.counts} | changes
        made = make_origin(origin.stage, table=table, tar=origin.tar, files=origin.files, **told)
        write_sidecar(store, path, table, made)

    return damage


def manifest(change: Callable[[Row], Any]) -> Damage:
    return lambda pairs: forge_manifest(pairs, change)


def lost_sample(found: Samples) -> None:
    del found[next(iter(found))]


def other_order(found: Samples) -> None:
    turned = dict(reversed(found.items()))
    found.clear()
    found.update(turned)


def swapped_images(found: Samples) -> None:
    members = next(iter(found.values()))
    del members["rejected.jpg"]


def further_member(found: Samples) -> None:
    next(iter(found.values()))["txt"] = b"x"


def stranger(found: Samples) -> None:
    found["f" * 32] = next(iter(found.values()))


def header(found: Samples) -> None:
    members = next(iter(found.values()))
    file = io.BytesIO()
    np.lib.format.write_array(file, np.load(io.BytesIO(members[CODES])), version=(2, 0))
    members[CODES] = file.getvalue()


def tar_of_others(pairs: Corpus) -> None:
    """Write a tar anew without telling anyone."""
    found = read_samples(pairs.out / TAR)
    with TarWriter(pairs.out / TAR) as tar:
        for key in reversed(found):
            tar.add_sample(key, found[key])


def first(**values: Any) -> Callable[[list[Row]], Any]:
    return lambda table: table[0].update(values)


def last_choice(table: list[Row]) -> None:
    table[0]["chosen"], table[0]["rejected"] = table[0]["rejected"], table[0]["chosen"]


def subset(name: str, value: Any) -> Damage:
    return manifest(lambda told: told["subsets"]["preference"].update({name: value}))


def line(name: str, value: Any) -> Damage:
    return manifest(lambda told: told["subsets"]["preference"]["shards"][0].update({name: value}))


def funnel(stage: int, **values: Any) -> Damage:
    return manifest(lambda told: told["funnel"][stage].update(values))


def tokens(**values: Any) -> Damage:
    return manifest(lambda told: told["tokens"][0].update(values))


GREY = Image.new("RGB", (256, 256), "grey")

DAMAGES: dict[str, tuple[Damage, str, str]] = {
    # Files that are missing, or that nobody wrote here.
    "missing tar": (remove(TAR), TAR, "missing"),
    "missing index": (remove(INDEX), INDEX, "missing"),
    "missing list": (remove(LIST), LIST, "missing"),
    "missing pairs": (remove(PAIRS), PAIRS, "missing"),
    "missing prompts": (remove(ASKED), ASKED, "missing"),
    "missing letters": (remove(LETTERS), LETTERS, "missing"),
    "missing last prompts": (remove("prompts/00001.parquet"), "prompts/00001", "missing"),
    "no shards at all": (lambda p: shutil.rmtree(p.out / "shards"), TAR, "missing"),
    "foreign file": (put("notes.txt"), "notes.txt", "stray"),
    "foreign recipe": (put("recipe.yaml"), "recipe.yaml", "stray"),
    "foreign side-car": (put("prompts/00099.parquet"), "prompts/00099.parquet", "stray"),
    "foreign shard": (put("shards/preference-000009.tar"), "preference-000009.tar", "stray"),
    "other list": (put("shards/preference_edit.json"), "preference_edit.json", "stray"),
    "hidden file": (put("shards/.swp"), "shards/.swp", "stray and hidden"),
    "left attempt": (put(".attempts/preferences/00000"), ".attempts", "left by a command"),
    "folder for a tar": (
        lambda p: (remove(TAR)(p), (p.out / TAR).mkdir()),
        TAR,
        "is a folder",
    ),
    # Bytes that nobody tells of.
    "cut tar": (change_bytes(TAR, cut), TAR, "cut short"),
    "flipped byte": (change_bytes(TAR, flipped), TAR, "some byte has changed"),
    "bytes after a tar": (change_bytes(TAR, lambda data: data + b"x"), TAR, "after its end"),
    "another tar": (tar_of_others, INDEX, "has other places than the members of"),
    "cut index": (change_bytes(INDEX, cut), INDEX, "not a readable side-car"),
    "cut pairs": (change_bytes(PAIRS, cut), PAIRS, "not a readable side-car"),
    "cut prompts": (change_bytes(ASKED, cut), ASKED, "not a readable side-car"),
    "cut letters": (change_bytes(LETTERS, cut), LETTERS, "not a readable side-car"),
    "bytes in pairs": (change_bytes(PAIRS, lambda d: b"x" + d[1:]), PAIRS, "holds more"),
    "cut list": (change_bytes(LIST, cut), LIST, "damaged"),
    "list told": (change_bytes(LIST, lambda d: d.replace(b"{}", b'{"x": 1}')), LIST, "x is not"),
    "cut manifest": (change_bytes("manifest.json", cut), "manifest.json", "damaged"),
    # Samples, with every hash that tells of them.
    "missing field": (record(lambda sample: sample.pop("margin")), TAR, "margin is missing"),
    "further field": (record(lambda sample: sample.update(x=1)), TAR, "x is not expected"),
    "type of a field": (record(lambda sample: sample.update(samples=2.0)), TAR, "samples is 2.0"),
    "prompt": (record(lambda sample: sample.update(prompt="a cat")), TAR, "prompt is 'a cat'"),
    "score": (record(lambda sample: sample.update(chosen_score=9.5)), TAR, "chosen_score is 9.5"),
    "message": (record(lambda s: s["messages"].pop()), TAR, "messages has 1 items"),
    "no json": (samples(lambda found: next(iter(found.values())).pop("json")), TAR, "members ["),
    "lost sample": (samples(lost_sample), TAR, "1 pairs are missing"),
    "lost image": (samples(swapped_images), TAR, "members ["),
    "further member": (samples(further_member), TAR, "members ["),
    "stranger": (samples(stranger), TAR, "no pair of preferences/00000.parquet"),
    "order": (samples(other_order), TAR, "not in the order of keys"),
    "dtype": (codes(lambda array: array.astype(np.uint16)), TAR, "uint16 (521,), expected uint32"),
    "length": (codes(lambda array: array[1:]), TAR, "uint32 (520,), expected uint32 (521,)"),
    "limit": (codes(lambda array: array + np.uint32(256)), TAR, "the limit is 256"),
    "header": (samples(header), TAR, f"{CODES}: its header is not the one that was written"),
    "size": (picture(GREY.resize((64, 64))), TAR, "rejected.jpg: RGB (64, 64), expected RGB"),
    "mode": (picture(GREY.convert("L")), TAR, "rejected.jpg: L (256, 256), expected RGB"),
    "quality": (picture(GREY, quality=50), TAR, "rejected.jpg: not of quality 95"),
    # Side-cars, written as their stage writes them.
    "choice": (rows(PAIRS, last_choice), PAIRS, "expected by its scores Pref"),
    "scores": (rows(PAIRS, first(scores=[0.25, 0.5])), PAIRS, "by its scores Pref"),
    "one score": (rows(PAIRS, first(scores=[0.25])), PAIRS, "damaged: ValueError"),
    "seed": (rows(PAIRS, first(seeds=["0" * 32] * 2)), PAIRS, "seeds do not follow from its key"),
    "model": (rows(PAIRS, first(model="0" * 64)), PAIRS, "is not the model of"),
    "device": (rows(PAIRS, first(device="abacus")), PAIRS, "made on 'abacus'"),
    "lost pair": (rows(PAIRS, lambda table: table.pop()), PAIRS, "1 rows lost"),
    "pair of no prompt": (
        rows(PAIRS, first(key="0" * 32)),
        PAIRS,
        "is not a row of the stage before",
    ),
    "lost prompt": (rows(ASKED, lambda table: table.pop()), ASKED, "its footer counts"),
    "text": (rows(ASKED, first(text="a cat")), PAIRS, "made with another recipe"),
    "edited": (
        rows(ASKED, first(edited={"file": "x.png", "offset": 0, "length": 0})),
        ASKED,
        "edits an image, and its pairs are preference",
    ),
    "keys of prompts": (
        rows(ASKED, lambda table: table[-1].update(key="f" * 32)),
        "prompts/00001.parquet",
        "do not come after the keys of the shard before",
    ),
    "made otherwise": (footer(PAIRS, fingerprint="0"), PAIRS, "made with another recipe"),
    "prompts of another version": (
        footer(ASKED, fingerprint=fingerprint("prompts", 1)),
        ASKED,
        "another version",
    ),
    "index of another version": (footer(INDEX, fingerprint="0"), INDEX, "another version"),
    # The manifest.
    "samples told": (subset("samples", 7), "manifest.json", "samples is 7, expected 3"),
    "bytes told": (subset("bytes", 7), "manifest.json", "bytes is 7, expected"),
    "shards told": (subset("shards", []), "manifest.json", "shards has 0 items, expected 2"),
    "bytes of a tar": (line("bytes", 7), TAR, "the manifest says 7"),
    "hash of a tar": (line("sha256", "0"), TAR, "sha256 differs from the manifest"),
    "samples of a tar": (line("samples", 1), "manifest.json", "samples is 1, expected 2"),
    "rows told": (funnel(0, rows_in=9), "manifest.json", "funnel.0.rows_in is 9, expected 4"),
    "failed told": (funnel(0, failed={}), "manifest.json", "failed.repeated_prompt is missing"),
    "kept told": (funnel(1, kept=2), "manifest.json", "funnel.1.kept is 2, expected 3"),
    "no funnel": (manifest(lambda told: told.pop("funnel")), "manifest.json", "funnel is missing"),
    "name": (manifest(lambda told: told.update(name="x")), "manifest.json", "name is 'x'"),
    "version": (
        manifest(lambda told: told["made_with"].update(torch=3)),
        "manifest.json",
        "made_with.torch is 3",
    ),
    "settings": (
        manifest(lambda told: told["made_by"].update(margin=0.25)),
        PAIRS,
        "made with another recipe",
    ),
    "no settings": (manifest(lambda told: told.pop("made_by")), "manifest.json", "made_by"),
    "subset": (
        manifest(lambda told: told["made_by"].update(subset="t2i")),
        "manifest.json",
        "made_by.subset is 't2i', expected preference or preference_edit",
    ),
    "shards of prompts": (
        manifest(lambda told: told.update(prompt_shards=3)),
        "prompts/00002.parquet",
        "missing",
    ),
    "many shards of prompts": (
        manifest(lambda told: told.update(prompt_shards=10**9)),
        "manifest.json",
        "prompt_shards is 1000000000",
    ),
    "member": (tokens(member="x.npy"), "manifest.json", "tokens.0.member is 'x.npy'"),
    "dtype told": (tokens(codes_dtype="uint16"), TAR, "expected uint16"),
    "schedule told": (tokens(schedules={"1.0": "1x1"}), TAR, "expected uint32 (1,)"),
    "aspects told": (
        manifest(lambda told: told["tokens"][0]["image_sizes"].update({"2.0": "2x1"})),
        "manifest.json",
        "image_sizes has ['1.0', '2.0'], expected ['1.0']",
    ),
    "form of the manifest": (
        change_bytes("manifest.json", lambda data: data + b"\n"),
        "manifest.json",
        "is not written as",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_named(name: str, pairs: Corpus) -> None:
    damage, file, said = DAMAGES[name]
    damage(pairs)
    faults = pairs.faults()
    assert any(file in fault and said in fault for fault in faults), faults
    assert all(fault.isprintable() for fault in faults)


def test_one_damage_is_one_fault(pairs: Corpus) -> None:
    (pairs.out / "notes.txt").write_text("mine")
    change_bytes(TAR, flipped)(pairs)
    files = [fault.partition(":")[0] for fault in pairs.faults()]
    assert files == ["notes.txt", TAR, INDEX]


def test_a_shard_without_pairs_has_no_tar_and_its_letters_are_checked(
    model: Path, made: Path, tmp_path: Path
) -> None:
    margins = [
        row["margin"]
        for number in range(2)
        for row in read_table(Storage(str(made)), f"preferences/{number:05d}.parquet").to_pylist()
    ]
    apart = ["--margin", str(sorted(margins)[1]), "--prompts-per-shard", "1", "--processes", "1"]
    pairs = folder(tmp_path / "out")
    assert preferences(model, made.parent / "prompts.txt", tmp_path / "out", *apart) == 0
    assert pairs.faults() == []
    assert len(pairs.files("preferences/*")) == 3
    assert len(pairs.files("shards/*.tar")) == 2
    [letters] = pairs.files("dead_letters/preferences/*")
    shutil.copy(pairs.out / LETTERS, letters)
    assert any("holds rows of another stage" in fault for fault in pairs.faults())
    letters.unlink()
    assert any(f"preferences/{letters.name}: missing" in fault for fault in pairs.faults())


def test_where_no_manifest_lies_nothing_is_said_of_faults(pairs: Corpus) -> None:
    (pairs.out / "manifest.json").unlink()
    with pytest.raises(NotLookedError, match="no finished build lies here"):
        pairs.faults()


def test_deep_says_that_it_is_not_possible(pairs: Corpus, capsys) -> None:
    assert main(["verify", str(pairs.out), "--deep"]) == 2
    assert "holds pairs, which --deep cannot check" in capsys.readouterr().err
    assert main(["verify", str(pairs.out)]) == 0


def test_what_verify_names_the_same_command_makes_again(
    model: Path, made: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(made, out)
    for path in (INDEX, LIST, "manifest.json", "prompts/00001.parquet"):
        (out / path).unlink()
    prompts = made.parent / "prompts.txt"
    assert preferences(model, prompts, out, "--processes", "1") == 0
    assert folder(out).faults() == []
    assert (out / "manifest.json").read_bytes() == (made / "manifest.json").read_bytes()
