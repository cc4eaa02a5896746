"""A corpus that a test builds by the command line, and may kill on the way."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.build import build
from pipelines.engines.engine import Engine
from pipelines.verify.job import verify
from schemas.recipe_file import load_recipe
from schemas.store.storage import Storage

ROOT = Path(__file__).parent.parent.parent
DEMO_LIST = ROOT / "tests/corpus/demo.jsonl"
DEMO_RECIPE = ROOT / "pipelines/recipes/demo.yaml"
# Files that say when a build ran, or that it runs.
OF_A_RUN = ("build_log.jsonl", "report.html", ".lock")


@dataclass(kw_only=True)
class Corpus:
    """A recipe, a place to build it, and what happened there."""

    out: Path | str  # a folder, or any fsspec URL
    sets: tuple[str, ...]  # overrides of the demo recipe
    printed: str = field(default="", init=False)

    def command(self, *sets: str, processes: int = 2) -> list[str]:
        overrides = [word for each in (*self.sets, *sets) for word in ("--set", each)]
        build = [sys.executable, "-m", "pipelines", "build", str(DEMO_RECIPE)]
        return [*build, "--out", str(self.out), "--processes", str(processes), *overrides]

    def build(
        self,
        *sets: str,
        processes: int = 2,
        expect: int = 0,
        after: str = "",
        timeout_s: float = 240,
    ) -> str:
        """Build to the end, with more words after the command; return what was printed."""
        done = subprocess.run(
            [*self.command(*sets, processes=processes), *after.split()],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        self.printed = done.stdout + done.stderr
        assert done.returncode == expect, self.printed
        return self.printed

    def rebuild(self, *sets: str) -> None:
        """Build in this process, which has everything imported; errors are raised."""
        build(
            load_recipe(str(DEMO_RECIPE), [*self.sets, *sets]), str(self.out), Engine(processes=1)
        )

    def faults(self) -> list[str]:
        """Verify in this process; a line a fault."""
        return [str(fault) for fault in verify(Storage(str(self.out)))]

    def build_until(self, moment: Callable[[], bool], *sets: str, processes: int = 2) -> None:
        """Start a build and kill it the moment `moment` says so."""
        running = subprocess.Popen(
            self.command(*sets, processes=processes),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while running.poll() is None and not moment():
            time.sleep(0.002)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL, "the build ended before it could be killed"

    def verify(self) -> tuple[int, str]:
        """Run the verifier; return its exit code and what it printed."""
        command = [sys.executable, "-m", "pipelines", "verify", str(self.out), "--processes", "1"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout + done.stderr

    def files(self, pattern: str) -> list[Path]:
        return sorted(Path(self.out).glob(pattern))

    def contents(self) -> dict[str, bytes]:
        """Return what a recipe determines of a corpus: every file by its name below `out`."""
        fs, root = Storage(str(self.out)).locate("")
        found = {name.removeprefix(root).lstrip("/"): name for name in fs.find(root.rstrip("/"))}
        return {name: fs.cat_file(found[name]) for name in found if name not in OF_A_RUN}

    @property
    def manifest(self) -> dict:
        return json.loads(Storage(str(self.out)).read("manifest.json"))

    @property
    def manifest_bytes(self) -> bytes:
        """All hashes and counts."""
        return (self.out / "manifest.json").read_bytes()

    @property
    def shard_sha256(self) -> dict[str, str]:
        return {s["path"]: s["sha256"] for s in self.manifest["subsets"]["t2i"]["shards"]}
