"""A standalone Spark cluster on this machine: a master, workers, and a pool of Beam workers.

    python -m pipelines.engines.spark.cluster start | options | stop

It has the parts of a real cluster: executors in separate processes, shuffles over sockets, and a
pool of Python workers in an environment with this package.
"""

import argparse
import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

FOLDER = Path("build/engines")
START_S = 300.0
STOP_S = 20.0
PR_SET_PDEATHSIG = 1  # of prctl(2)


def beam_options(master: int, pool: int) -> list[str]:
    """Return the Beam options for a build with the `spark` engine on the local cluster."""
    return [
        f"--spark_master_url=spark://127.0.0.1:{master}",
        "--environment_type=EXTERNAL",
        f"--environment_config=localhost:{pool}",
        "--sdk_worker_parallelism=1",  # of each executor, which has one core
    ]


@contextmanager
def running_cluster(spark: Path, logs: Path, workers: int = 2) -> Iterator[list[str]]:
    """Run a cluster for the time of the block; yield the Beam options for a build on it.

    Args:
        spark: SPARK_HOME, such as the folder of the package `pyspark`.
        logs: folder for the logs of its processes.
        workers: number of Spark workers, one core each.

    Raises:
        RuntimeError: a process ends, or does not listen in time.
    """
    logs.mkdir(parents=True, exist_ok=True)
    master, pool = _free_port(), _free_port()
    spark_class = str(spark / "bin/spark-class")
    deploy = "org.apache.spark.deploy"
    here = ["--host", "127.0.0.1", "--webui-port", "0"]
    url = f"spark://127.0.0.1:{master}"
    environment = _environment(spark, logs)
    with ExitStack() as processes:

        def start(name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
            return processes.enter_context(_process(name, command, logs, environment))

        leader = start(
            "master", [spark_class, f"{deploy}.master.Master", *here, "--port", str(master)]
        )
        _wait_for(master, leader, logs / "master.log")
        one = ["--cores", "1", "--memory", "2g", url]
        for number in range(workers):
            start(f"worker-{number}", [spark_class, f"{deploy}.worker.Worker", *here, *one])
        module = "pipelines.engines.spark.worker_pool"
        beam = start("beam", [sys.executable, "-m", module, f"--service_port={pool}"])
        _wait_for(pool, beam, logs / "beam.log")
        yield beam_options(master, pool)


def _environment(spark: Path, logs: Path) -> dict[str, str]:
    return {
        **os.environ,
        "SPARK_HOME": str(spark.resolve()),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_WORKER_DIR": str((logs / "work").resolve()),
        # The pool starts its workers as `python`.
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
    }


@contextmanager
def _process(
    name: str, command: Sequence[str], logs: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    with open(logs / f"{name}.log", "wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=_die_with_parent,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _die_with_parent() -> None:
    """Tell the kernel to kill this process when the thread that started it ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"nothing listens on port {port}; see {log}")


def main() -> int:
    """Start a cluster in the background, print its options, or stop it."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.engines.spark.cluster")
    parser.add_argument("action", choices=("start", "options", "stop", "run"))
    parser.add_argument("--spark", type=Path, default=FOLDER / "pyspark/pyspark", help="SPARK_HOME")
    parser.add_argument("--folder", type=Path, default=FOLDER / "spark-cluster", help="of its logs")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    held = given.folder / "pid"
    if given.action == "run":
        return _run(given.spark, given.folder, given.workers, held)
    if given.action == "start":
        return _start(given.spark, given.folder, given.workers, held)
    if (pid := _holder(held)) is None:
        print("no cluster runs here", file=sys.stderr)
        return 0 if given.action == "stop" else 1
    if given.action == "options":
        print((given.folder / "options").read_text())
        return 0
    os.kill(pid, signal.SIGTERM)
    while _holder(held) is not None:
        time.sleep(0.1)
    return 0


def _run(spark: Path, folder: Path, workers: int, held: Path) -> int:
    """Run the cluster's processes until SIGTERM; hold the lock as a sign of life."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder.mkdir(parents=True, exist_ok=True)
    with open(held, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)  # only after locking: another process may hold the file
        file.write(str(os.getpid()))
        file.flush()
        with running_cluster(spark, folder, workers) as options:
            (folder / "options").write_text(" ".join(options))
            signal.pause()
    return 0


def _start(spark: Path, folder: Path, workers: int, held: Path) -> int:
    if _holder(held) is not None:
        print("it runs already", file=sys.stderr)
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "options").unlink(missing_ok=True)
    places = [f"--spark={spark}", f"--folder={folder}", f"--workers={workers}"]
    again = [sys.executable, "-m", __spec__.name, "run", *places]
    with open(folder / "cluster.log", "wb") as log:
        parent = subprocess.Popen(again, stdout=log, stderr=log, start_new_session=True)
    while not (folder / "options").exists():
        if parent.poll() is not None:
            print((folder / "cluster.log").read_text(), file=sys.stderr)
            return 1
        time.sleep(0.1)
    return 0


def _holder(held: Path) -> int | None:
    """Return the process that holds the lock; None if nobody does, even if the file has a pid."""
    if not held.exists():
        return None
    with open(held) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read())
    return None


if __name__ == "__main__":
    sys.exit(main())
