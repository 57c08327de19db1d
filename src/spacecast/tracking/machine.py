"""Use of the machine, sampled in a thread: processor, memory, disk, network, GPU, by MLflow's own monitors."""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from spacecast.tracking.store import load_mlflow

log = logging.getLogger(__name__)

PREFIX = "system/"  # such metrics have a page of their own in MLflow


class MachineMonitor:
    """Samples until it is stopped.

    Args:
        record: receives the metrics of a sample and its number.
        seconds: between two samples.
        first: number of the first sample.

    """

    def __init__(self, record: Callable[[Mapping[str, float], int], None], seconds: float, first: int = 0) -> None:
        self._record, self._seconds, self._number = record, seconds, first
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="machine", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more samples from now on."""
        self._stopped.set()
        self._thread.join(5.0)

    def _work(self) -> None:
        """The thread; a monitor that fails ends it with a warning."""
        try:
            monitors = _monitors()
            while not self._stopped.wait(self._seconds):
                values: dict[str, float] = {}
                for monitor in monitors:
                    monitor.collect_metrics()
                    values |= {PREFIX + name: float(value) for name, value in monitor.aggregate_metrics().items()}
                    monitor.clear_metrics()
                self._record(values, self._number)
                self._number += 1
        except Exception as error:  # noqa: BLE001 - must not disturb a training
            log.warning("tracking: the machine is no longer sampled: %s", error)


def job_number(environment: Mapping[str, str]) -> str | None:
    """Number of the job of Slurm that this is, as squeue writes it."""
    names = ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")
    if all(name in environment for name in names):
        return "_".join(environment[name] for name in names)
    return environment.get("SLURM_JOB_ID")


def _monitors() -> list[Any]:
    """Those that work here."""
    load_mlflow()
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
    from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

    monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    for kind in (GPUMonitor, ROCMMonitor):
        try:
            monitors.append(kind())
            break
        except Exception:  # noqa: BLE001 - no such device or no library for it
            log.debug("no %s here", kind.__name__)
    return monitors
