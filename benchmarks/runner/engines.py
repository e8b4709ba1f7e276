"""Where cells run: processes of this machine."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Protocol

from benchmarks.runner.provenance import ROOT
from benchmarks.runner.results import FORMAT, Result, read_json
from benchmarks.runner.study import Cell

POLL_SECONDS = 0.1
# Of a failed cell's output, what is kept: enough for a traceback.
ERROR_LINES = 40

# A cell that starts (without a result), and later the same cell with its result.
Event = tuple[Cell, Result | None]


class Engine(Protocol):
    """Runs cells somewhere."""

    def run(self, cells: Sequence[Cell]) -> Generator[Event, None, None]:
        """
        Run all cells; closing the generator ends those that are running.

        :param cells: in the order in which they start
        :return: an event for each start and for each end
        """
        ...


class CellProcess:
    """
    The process of one cell.

    :param cell: what to run
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.folder = tempfile.TemporaryDirectory()
        self.output = Path(self.folder.name) / "result.json"
        self.log = Path(self.folder.name) / "log.txt"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.runner.cell", str(self.output)],
                cwd=ROOT,
                # One thread from the start, no window, no GPU to share.
                env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "CUDA_VISIBLE_DEVICES": ""},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        assert self.process.stdin is not None
        # The pipe stays open: its end tells the process that its parent is gone.
        # If the process is dead already, result() reports it.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(cell.as_dict()) + "\n")
            self.process.stdin.flush()

    def finished(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def result(self) -> Result:
        """Wait for the end and return the result, or the record of a failure."""
        status = self.process.wait()
        # An environment may call sys.exit(0): then the process ends well, and there is no result.
        if status == 0 and self.output.exists():
            result: Result = read_json(self.output)
        else:
            lines = self.log.read_text(errors="replace").splitlines()
            error = f"exit status {status}" + (", but no result" if status == 0 else "")
            result = failure(self.cell, error, lines[-ERROR_LINES:])
        self.close()
        return result

    def close(self) -> None:
        """End the process if it runs and delete its files."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.folder.cleanup()


def failure(cell: Cell, error: str, log: Sequence[str] = ()) -> Result:
    """
    The record of a cell that did not end well.

    :param cell: the cell
    :param error: what happened, in a line
    :param log: the end of its output
    """
    # The last line of a traceback names the error.
    reason = f"{log[-1]} ({error})" if log else error
    return {"format": FORMAT, "cell": cell.as_dict(), "status": "failed", "error": reason, "log": list(log)}


class LocalEngine:
    """
    Processes of this machine.

    :param jobs: how many at once
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def run(self, cells: Sequence[Cell]) -> Generator[Event, None, None]:
        """
        Run all cells; closing the generator ends those that are running.

        :param cells: in the order in which they start
        :return: an event for each start and for each end
        """
        waiting = list(cells)
        running: list[CellProcess] = []
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    cell = waiting.pop(0)
                    running.append(CellProcess(cell))
                    yield cell, None
                time.sleep(POLL_SECONDS)
                for process in [process for process in running if process.finished()]:
                    running.remove(process)
                    yield process.cell, process.result()
        finally:
            for process in running:
                process.close()
