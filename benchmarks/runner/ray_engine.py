"""Where cells run: a Ray cluster."""

import importlib
import socket
from collections.abc import Generator, Sequence
from typing import Any

from benchmarks.runner.engines import CellProcess, Event
from benchmarks.runner.errors import BenchmarkError
from benchmarks.runner.provenance import ROOT, git_state
from benchmarks.runner.results import Result
from benchmarks.runner.study import Cell

ANSWER_SECONDS = 10.0
# The nodes get the code as it is here, and send back results: they need no common disk.
NOT_SENT = [
    ".git",
    ".venv",
    "**/__pycache__",
    "benchmarks/results",
    "benchmarks/reports",
    "runs",
    "logs",
    "dist",
]


class RayEngine:
    """
    A Ray cluster: one core for each cell, as many at once as the cluster has cores. Cells of a node
    that dies run again on another.

    :param address: of the cluster, ``None`` for one of this machine alone
    """

    def __init__(self, address: str | None) -> None:
        try:
            ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise BenchmarkError("--engine ray needs Ray: pip install 'sb3_angc[ray]'") from error
        if address is not None:
            check_address(address)
        self.ray = ray
        runtime = {"working_dir": str(ROOT), "excludes": NOT_SENT}
        try:
            ray.init(
                address=address or "local", runtime_env=runtime, log_to_driver=False, logging_level="error"
            )
        except ConnectionError as error:
            raise BenchmarkError(
                f"--address {address}: no Ray cluster answers there, start one with ray start --head"
            ) from error

    def run(self, cells: Sequence[Cell]) -> Generator[Event, None, None]:
        """
        Run all cells; closing the generator ends those that are running.

        :param cells: in the order in which they start
        :return: an event for each start and for each end
        """
        # A cell that fails returns the record of its failure: what is repeated is what a dead node took.
        remote = self.ray.remote(num_cpus=1, max_retries=-1)(run_on_node)
        waiting = list(cells)
        running: dict[Any, Cell] = {}
        git = git_state()
        try:
            while waiting or running:
                while waiting and len(running) < max(self.ray.cluster_resources().get("CPU", 0), 1):
                    cell = waiting.pop(0)
                    running[remote.remote(cell.as_dict())] = cell
                    yield cell, None
                finished, _ = self.ray.wait(list(running), timeout=1.0)
                for reference in finished:
                    result: Result = self.ray.get(reference)
                    # Nodes have the code, but not its repository.
                    yield running.pop(reference), {**result, "git": git}
        finally:
            # Ends the workers, whose cells end with them.
            self.ray.shutdown()


def check_address(address: str) -> None:
    """
    Refuse an address at which nothing answers: Ray itself would wait for many minutes, and so it
    would after "auto", which names the last cluster of this machine even where it has been killed.

    :param address: of the cluster
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or int(port) >= 2**16:
        raise BenchmarkError(f"--address {address}: give HOST:PORT of the cluster's head")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise BenchmarkError(
            f"--address {address}: no Ray cluster answers there ({error}), start one with ray start --head"
        ) from error


def run_on_node(cell: dict[str, Any]) -> Result:
    """
    Run a cell in a process of its own on one of the nodes.

    :param cell: the cell in plain types
    """
    return CellProcess(Cell(**cell)).result()
