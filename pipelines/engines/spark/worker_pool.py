"""A pool of Beam workers for a machine with several executors; Beam's pool is for one executor.

    python -m pipelines.engines.spark.worker_pool --service_port=50000

Every executor numbers its workers from 1, and Beam's pool identifies workers by that number alone
(2.77): an executor that stops its first worker could stop another executor's. Here the key includes
the executor, and workers are not stopped: a worker ends when its executor disconnects or dies.
"""

import threading
from typing import Any

from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.worker import worker_pool_main


class WorkerPool(worker_pool_main.BeamFnExternalWorkerPoolServicer):
    """Starts a process for each worker that an executor requests."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._starting = threading.Lock()

    def StartWorker(self, start_worker_request: Any, unused_context: Any) -> Any:
        """Start a worker; forget ended workers."""
        number = start_worker_request.worker_id
        with self._starting:
            answer = super().StartWorker(start_worker_request, unused_context)
            living = {k: p for k, p in self._worker_processes.items() if p.poll() is None}
            if number in living:
                executor = start_worker_request.control_endpoint.url
                living[f"{number} of {executor}"] = living.pop(number)
            self._worker_processes = living
        return answer

    def StopWorker(self, stop_worker_request: Any, unused_context: Any) -> Any:
        """Do nothing: a worker ends with its executor."""
        return beam_fn_api_pb2.StopWorkerResponse()


if __name__ == "__main__":
    worker_pool_main.BeamFnExternalWorkerPoolServicer = WorkerPool
    worker_pool_main.main()
