"""What a study is doing, on the terminal or line by line in a log."""

import sys
import time
from types import TracebackType

from benchmarks.results import Result
from benchmarks.study import Cell


class Progress:
    """
    Cells done, running and failed, and the time left.

    :param total: cells of the study
    :param done: cells that have a result already
    :param failed: cells that are recorded as failed already
    """

    def __init__(self, total: int, done: int, failed: int) -> None:
        self.total = total
        self.done = done
        self.failed = failed
        self.running: dict[str, float] = {}
        self.start = time.monotonic()
        self.here = 0

    def __enter__(self) -> "Progress":
        self.show("")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        print(file=sys.stderr, flush=True)

    def started(self, cell: Cell) -> None:
        """
        Note a start.

        :param cell: the cell
        """
        self.running[cell.name] = time.monotonic()
        self.show(f"started {cell.name}")

    def finished(self, cell: Cell, result: Result) -> None:
        """
        Note an end.

        :param cell: the cell
        :param result: its result
        """
        seconds = time.monotonic() - self.running.pop(cell.name)
        self.here += 1
        if result["status"] == "failed":
            self.failed += 1
            self.show(f"FAILED  {cell.name}: {result['error']}")
        else:
            self.done += 1
            self.show(f"done    {cell.name} in {seconds:.0f} s")

    def show(self, event: str) -> None:
        """
        Print an event and the counts.

        :param event: what happened
        """
        left = self.total - self.done - self.failed
        eta = f", {(time.monotonic() - self.start) / self.here * left / 60:.0f} min left" if self.here else ""
        counts = f"{self.done}/{self.total} done, {len(self.running)} running, {self.failed} failed"
        print(f"{event}\n  {counts}{eta}", file=sys.stderr, flush=True)
