"""Images that kill the process that works on them become dead letters; the rest goes through."""

import json
import tarfile
from collections.abc import Callable, Sequence

import pyarrow.parquet as pq
import pytest
from corpus import ROOT, Corpus
from deadly import HANGS
from engines import EMBEDDED

from pipelines.runtime.crash_isolation import FOLDER
from schemas.keys import rank, sample_key
from schemas.store.whole_file import TEMPORARY_PREFIX

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KILLER = ROOT / "tests/corpus/killer"
FILE = "openclipart/animals/az-lizard_benji_park_01.png"
POISON = sample_key("openclipart", FILE)
NAME = f"openclipart: {FILE}"
SIZE, HALF = (746, 669), (373, 335)  # px, which no other image of the corpus has
# Functions of ours that have images in hand.
MEASURING, CUTTING, WRITING, DRAWING = "_measure", "_prepare", "jpegs", "make_thumbnail"


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes one image deadly: how, and inside which functions of ours."""

    def poison(way: str, *inside: str, sizes: Sequence[tuple[int, int]] = (SIZE,)) -> None:
        monkeypatch.setenv("PYTHONPATH", f"{KILLER}:{KILLER.parent}:{ROOT}")
        killer = {"sizes": sizes, "way": way, "inside": inside}
        monkeypatch.setenv("VARGPT_TEST_KILLER", json.dumps(killer))

    return poison


FIRST_HANG, *OTHER_HANGS = HANGS
QUICK_HANGS = [FIRST_HANG, *(pytest.param(how, marks=pytest.mark.chaos) for how in OTHER_HANGS)]
# Of a whole second are the decodings that hang, or each test would take minutes of waiting.
LIMIT_S = 2
LATE = f"not decoded in {LIMIT_S} s, which decode.timeout_s allows"


def letters(corpus: Corpus, stage: str) -> dict[str, str]:
    return {
        row["id"]: f"{row['outcome']} {row['reason']}: {row['detail']}"
        for path in corpus.files(f"dead_letters/{stage}/*.parquet")
        for row in pq.read_table(path).to_pylist()
    }


def samples(corpus: Corpus) -> dict[str, bytes]:
    """Return every member of every sample by its name."""
    found: dict[str, bytes] = {}
    for path in corpus.files("shards/*.tar"):
        with tarfile.open(path) as tar:
            found |= {member.name: tar.extractfile(member).read() for member in tar}  # pyright: ignore[reportOptionalMemberAccess]
    return found


def assert_lost_in(stage: str, way: str, corpus: Corpus, built: Corpus) -> None:
    """The poisonous image is a dead letter of the stage; all else is as it was without it."""
    said = f"killed_worker: {NAME}: killed the worker 3 times ({way})"
    if way in HANGS:
        said = f"decode_timeout: {NAME}: {LATE}"
    assert letters(corpus, stage)[POISON] == f"failed {said}"
    others = {name: body for name, body in samples(built).items() if not name.startswith(POISON)}
    assert samples(corpus) == others
    funnel = {line["stage"]: line for line in corpus.manifest["funnel"]}
    assert funnel[stage]["failed"]["decode_timeout" if way in HANGS else "killed_worker"] == 1
    assert corpus.faults() == []
    assert not list(corpus.out.rglob(f"{TEMPORARY_PREFIX}*"))
    assert not corpus.files(f"{FOLDER}/*/*")


def make_again(corpus: Corpus, folder: str) -> Corpus:
    """Remove what a stage has committed of the shard with the poisonous image."""
    for path in corpus.files(f"{folder}/*.parquet"):
        if POISON in pq.read_table(path)["key"].to_pylist():
            path.unlink()
    return corpus


@pytest.mark.parametrize("way", ["SIGKILL", pytest.param("SIGSEGV", marks=pytest.mark.chaos)])
def test_an_image_that_kills_its_decoder_costs_itself_alone(
    way: str, copied: Corpus, built: Corpus, poison: Callable[..., None]
) -> None:
    poison(way)
    make_again(copied, "signals").build()
    assert_lost_in("measure", way, copied, built)


@pytest.mark.parametrize("way", QUICK_HANGS)
def test_an_image_that_hangs_its_decoder_costs_itself_alone(
    way: str, copied: Corpus, built: Corpus, poison: Callable[..., None]
) -> None:
    poison(way)
    make_again(copied, "signals").build(f"decode.timeout_s={LIMIT_S}")
    assert_lost_in("measure", way, copied, built)


@pytest.mark.chaos
def test_one_that_hangs_where_codes_are_made_is_lost_there(
    copied: Corpus, built: Corpus, poison: Callable[..., None]
) -> None:
    poison("hangs", CUTTING)
    make_again(copied, "tokens").build(f"decode.timeout_s={LIMIT_S}")
    assert_lost_in("vq_tokens", "hangs", copied, built)


def test_a_driver_that_decodes_itself_gets_past_one_that_hangs(
    copied: Corpus, built: Corpus, poison: Callable[..., None]
) -> None:
    poison("hangs")
    make_again(copied, "signals").build(f"decode.timeout_s={LIMIT_S}", processes=1)
    assert_lost_in("measure", "hangs", copied, built)


@pytest.mark.chaos
def test_one_that_kills_a_signal_is_found_in_its_batch(
    copied: Corpus, built: Corpus, poison: Callable[..., None]
) -> None:
    poison("SIGKILL", MEASURING, sizes=[SIZE, HALF])  # signals read scaled images
    make_again(copied, "signals").build()
    assert_lost_in("measure", "SIGKILL", copied, built)


def test_one_that_kills_where_codes_are_made_is_lost_there(
    copied: Corpus, built: Corpus, poison: Callable[..., None]
) -> None:
    poison("SIGSEGV", CUTTING)
    make_again(copied, "tokens").build()
    assert_lost_in("vq_tokens", "SIGSEGV", copied, built)
    assert copied.manifest["selected_but_not_written"] == 1


def test_one_that_kills_the_writer_of_a_shard_is_left_out_of_it(
    copied: Corpus, built: Corpus, poison: Callable[..., None]
) -> None:
    poison("SIGKILL", WRITING)
    (copied.out / "manifest.json").unlink()
    make_again(copied, "shards").build()
    assert_lost_in("shard", "SIGKILL", copied, built)
    assert copied.manifest["selected_but_not_written"] == 1
    copied.rebuild()  # finds all of it fresh
    assert copied.faults() == []


@pytest.mark.chaos
def test_where_there_is_no_other_process_building_again_gets_past_it(
    copied: Corpus, built: Corpus, poison: Callable[..., None]
) -> None:
    poison("SIGKILL")
    make_again(copied, "signals").build(processes=1, expect=-9)
    assert copied.files(f"{FOLDER}/measure/*")
    copied.build(processes=1)
    assert_lost_in("measure", "SIGKILL", copied, built)


def test_a_report_that_an_image_kills_is_written_without_it(
    copied: Corpus, poison: Callable[..., None]
) -> None:
    before = copied.shard_sha256
    poison("SIGKILL", DRAWING, sizes=[size_of_a_drawn_one(copied)])
    (copied.out / "report.html").unlink()
    copied.build()
    assert copied.shard_sha256 == before
    assert "killed_worker" in (copied.out / "report.html").read_text()


def size_of_a_drawn_one(corpus: Corpus) -> tuple[int, int]:
    """Return the size of an image that the report shows."""
    keys = {name[:32] for name in samples(corpus)}
    drawn = min(keys, key=lambda key: rank(key, "report"))
    rows = [
        r for path in corpus.files("signals/*.parquet") for r in pq.read_table(path).to_pylist()
    ]
    return next((row["width"], row["height"]) for row in rows if row["key"] == drawn)


@pytest.mark.chaos
@pytest.mark.parametrize("way", ["SIGKILL", *HANGS])
def test_beams_own_workers_get_past_it_when_the_same_command_goes_on(
    way: str, copied: Corpus, built: Corpus, poison: Callable[..., None]
) -> None:
    poison(way)
    mode = "--direct_running_mode=multi_processing --direct_num_workers=2"
    after, limit = f"-- --runner=FnApiRunner {mode}", f"decode.timeout_s={LIMIT_S}"
    make_again(copied, "signals").build(limit, after=after, timeout_s=800, expect=1)
    copied.build(limit, after=after, timeout_s=800)
    assert_lost_in("measure", way, copied, built)


@pytest.mark.chaos
@pytest.mark.parametrize("engine", EMBEDDED)
def test_an_embedded_engine_gets_past_it(
    engine: str, copied: Corpus, built: Corpus, poison: Callable[..., None]
) -> None:
    poison("SIGKILL")
    make_again(copied, "signals").build(after=f"--engine {engine}", timeout_s=800, expect=1)
    copied.build(after=f"--engine {engine}", timeout_s=800)
    assert_lost_in("measure", "SIGKILL", copied, built)


@pytest.mark.chaos
@pytest.mark.spark
@pytest.mark.engine("spark")
def test_a_spark_cluster_gets_past_it(
    copied: Corpus,
    built: Corpus,
    poison: Callable[..., None],
    request: pytest.FixtureRequest,
) -> None:
    poison("SIGKILL")  # in the environment of the workers, which are started now
    options = " ".join(request.getfixturevalue("cluster"))
    make_again(copied, "signals").build(after=f"--engine spark -- {options}", timeout_s=800)
    assert_lost_in("measure", "SIGKILL", copied, built)
