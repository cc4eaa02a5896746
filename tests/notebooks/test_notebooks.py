"""The notebooks run on a freshly built corpus, show what is in it, and are kept clean in git."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import jupytext
import matplotlib.font_manager  # noqa: F401  builds the font cache, of which a kernel would warn
import nbformat
import numpy as np
import pyarrow.parquet as pq
import pytest
from corpus import Corpus
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupytext.cli import jupytext as jupytext_command
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "notebooks").glob("*.py"))
OTHER_WEBDATASET = ROOT / "build/webdataset-1"  # made by the Makefile with .venv

# A reader of the corpus owes us nothing, so the kernel can neither import our packages ...
ALONE = """
import sys
for name in ("filters", "model", "pipelines", "schemas"):
    sys.modules[name] = None  # makes an import of it fail
"""
# ... nor, for the other major version, the installed webdataset.
OTHER = f"""
from importlib.metadata import version
sys.path.insert(0, {str(OTHER_WEBDATASET)!r})
assert version("webdataset").startswith("1."), version("webdataset")
"""


def by_name(scripts: list[Path]) -> list[str]:
    return [script.stem for script in scripts]


def run(script: Path, corpus: Path, before: str) -> NotebookNode:
    """Execute the notebook of a script in memory, `before` being its first cell."""
    notebook = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    parameters = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", ())]
    assert len(parameters) == 1
    at = notebook.cells.index(parameters[0]) + 1
    given = nbformat.v4.new_code_cell(f"CORPUS = {str(corpus)!r}")
    notebook.cells.insert(at, given)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(before))
    # Without folders to search, "python3" is the interpreter of these tests, not a user's kernel.
    specs = KernelSpecManager(kernel_dirs=[])
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs)
    # Elsewhere than in the checkout: a notebook must find all it reads under CORPUS.
    resources = {"metadata": {"path": str(corpus)}}
    client = NotebookClient(notebook, km=kernel, timeout=120, resources=resources)
    client.execute(cleanup_kc=True)  # a kernel manager of ours would be left running
    return notebook


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def drawn(notebook: NotebookNode, kind: str) -> list[str]:
    """All outputs of a kind, such as text/html or image/png."""
    data = (output.get("data", {}) for output in outputs(notebook))
    return [parts[kind] for parts in data if kind in parts]


def page(notebook: NotebookNode) -> str:
    return "".join(drawn(notebook, "text/html"))


def stream(notebook: NotebookNode, name: str) -> str:
    return "".join(out.text for out in outputs(notebook) if out.get("name") == name)


def members(corpus: Path, suffix: str) -> list[bytes]:
    """Every member of the corpus with a suffix, in the order of the shards."""
    found = []
    for path in sorted(corpus.glob("shards/t2i-*.tar")):
        with tarfile.open(path) as tar:
            names = [name for name in tar.getnames() if name.endswith(suffix)]
            found += [tar.extractfile(name).read() for name in names]  # type: ignore[union-attr]
    return found


@pytest.fixture(scope="module")
def looked_at(demo_corpus: Path) -> NotebookNode:
    return run(ROOT / "notebooks/01_look_at_shards.py", demo_corpus, ALONE)


@pytest.mark.slow
def test_it_prints_no_warning(looked_at: NotebookNode) -> None:
    assert stream(looked_at, "stderr") == ""


@pytest.mark.slow
def test_it_states_the_samples_and_the_funnel_of_the_manifest(
    looked_at: NotebookNode, demo_corpus: Path
) -> None:
    manifest = json.loads((demo_corpus / "manifest.json").read_text())
    html = page(looked_at)
    subset = manifest["subsets"]["t2i"]
    assert f"{subset['samples']} in {len(subset['shards'])} shards" in html
    for stage in manifest["funnel"]:
        for reason, count in {**stage["dropped"], **stage["failed"]}.items():
            assert f"{reason} {count}" in html


@pytest.mark.slow
def test_it_says_that_the_tokens_come_from_trained_weights(looked_at: NotebookNode) -> None:
    assert "The codes come from trained weights" in page(looked_at)


@pytest.mark.slow
def test_of_a_codebook_it_counts_the_codes_and_of_random_weights_it_warns(copied: Corpus) -> None:
    copied.rebuild("vq_tokens.tokenizers=[{tokenizer: var_vqvae, preset: small}]")
    looked_at = run(ROOT / "notebooks/01_look_at_shards.py", copied.out, ALONE)
    assert "do not train a model on them" in page(looked_at)
    codes = [np.load(io.BytesIO(body)) for body in members(copied.out, ".tokens256.npy")]
    used = len(set(np.concatenate(codes).tolist()))
    printed = stream(looked_at, "stdout")
    assert f"{len(codes)} crops of 680 codes (uint16)" in printed
    assert f"{used} of 4096 codes used" in printed


@pytest.mark.slow
def test_the_contact_sheet_shows_24_samples(looked_at: NotebookNode) -> None:
    assert page(looked_at).count("<figure") == 24


@pytest.mark.slow
def test_the_use_of_codes_is_counted_over_all_samples(
    looked_at: NotebookNode, demo_corpus: Path
) -> None:
    codes = [np.load(io.BytesIO(body)) for body in members(demo_corpus, ".tokens256.npy")]
    bits = np.unpackbits(np.stack(codes).astype(">u4").view(np.uint8), axis=1).reshape(-1, 521, 32)
    scales = np.split(bits.mean(axis=0), np.cumsum([1, 4, 16, 36, 64, 144]))
    share = np.mean([scale.mean(axis=0) for scale in scales], axis=0)
    entropy = -(share * np.log2(share) + (1 - share) * np.log2(1 - share)).sum()
    printed = stream(looked_at, "stdout")
    assert f"{len(codes)} crops of 521 codes (uint32)" in printed
    assert f"{entropy:.1f} of 32 bits used" in printed


@pytest.mark.slow
def test_it_draws_the_tokens_and_their_use(looked_at: NotebookNode) -> None:
    assert len(drawn(looked_at, "image/png")) == 2


@pytest.mark.slow
def test_it_finds_the_last_sample_by_the_index(looked_at: NotebookNode, demo_corpus: Path) -> None:
    last = json.loads(members(demo_corpus, ".json")[-1])
    assert f"<p>{last['key']}: " in page(looked_at)


@pytest.mark.slow
def test_it_runs_with_the_other_major_version_of_webdataset_and_shows_the_same(
    looked_at: NotebookNode, demo_corpus: Path
) -> None:
    assert OTHER_WEBDATASET.is_dir(), f"{OTHER_WEBDATASET} is missing: run `make .venv/ready`"
    other = run(ROOT / "notebooks/01_look_at_shards.py", demo_corpus, ALONE + OTHER)
    for kind in ("text/html", "image/png"):
        assert drawn(other, kind) == drawn(looked_at, kind)
    assert stream(other, "stderr") == ""


@pytest.mark.slow
def test_the_search_finds_cats_by_the_word_and_shows_what_dedup_removed(
    make_corpus: Callable[..., Corpus],
) -> None:
    corpus = make_corpus(scored=True)
    corpus.build()
    searched = run(ROOT / "notebooks/02_search_by_words.py", corpus.out, "")
    [cats] = [
        key for key, url in urls(corpus).items() if url.endswith("two_cats_tess_brady_01.png")
    ]
    of_words, of_images, _ = drawn(searched, "text/html")
    assert (of_words.count("<img"), of_images.count("<img")) == (5 * 6, 12 * 2)
    of_a_cat = of_words.split("</tr>")[0]
    assert "<th>a cat</th>" in of_a_cat
    assert f'alt="{cats}"' in of_a_cat
    funnel = {stage["stage"]: stage for stage in corpus.manifest["funnel"]}
    removed = funnel["dedup"]["dropped"].get("semantic_duplicate", 0)
    printed = stream(searched, "stdout")
    scores = [row for path in corpus.files("scores/0*") for row in pq.read_table(path).to_pylist()]
    embedded = {row["key"] for row in scores if row["clip_embedding"] is not None}
    assert f"{len(embedded)} images, 192 values each, by bundled" in printed
    assert f"{removed} semantic duplicates" in printed
    assert stream(searched, "stderr") == ""


def urls(corpus: Corpus) -> dict[str, str]:
    """Map each key to its URL."""
    tables = [pq.read_table(path, columns=["key", "url"]) for path in corpus.files("sources/0*")]
    return {row["key"]: row["url"] for table in tables for row in table.to_pylist()}


@pytest.mark.parametrize("script", SCRIPTS, ids=by_name(SCRIPTS))
def test_script_and_notebook_hold_the_same_cells(script: Path) -> None:
    cells = [
        [(cell.cell_type, cell.source, cell.metadata) for cell in jupytext.read(path).cells]
        for path in (script, script.with_suffix(".ipynb"))
    ]
    assert cells[0] == cells[1], f"run `jupytext --sync {script.relative_to(ROOT)}`"


@pytest.mark.parametrize("script", SCRIPTS, ids=by_name(SCRIPTS))
def test_pairing_again_changes_no_byte(script: Path, tmp_path: Path) -> None:
    names = [script.name, f"{script.stem}.ipynb"]
    for name in reversed(names):  # the script last: the newer of the two is taken as the source
        shutil.copyfile(script.parent / name, tmp_path / name)
    jupytext_command(["--quiet", "--sync", str(tmp_path / script.name)])
    for name in names:
        assert (tmp_path / name).read_text() == (script.parent / name).read_text()


def test_every_notebook_has_a_script_and_holds_no_output() -> None:
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert by_name(notebooks) == by_name(SCRIPTS)
    for path in notebooks:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert outputs(notebook) == []
        assert all(cell.get("execution_count") is None for cell in notebook.cells)
