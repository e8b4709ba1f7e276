"""What a study is doing, on a terminal or in a log."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from benchmarks.runner.results import Result
from benchmarks.runner.study import Cell

COUNTS = "{done}/{total} done, {running} running, {failed} failed"
DAY = 24 * 3600.0


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
        self.running = 0
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=Console(stderr=True, soft_wrap=True, highlight=False),
            # Cells take minutes: the speed is that of all of them, not that of the last seconds.
            speed_estimate_period=DAY,
        )
        self.task = self.bar.add_task(self.counts(), total=total, completed=done + failed)

    def __enter__(self) -> "Progress":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def counts(self) -> str:
        """How many cells are in which state."""
        return COUNTS.format(done=self.done, total=self.total, running=self.running, failed=self.failed)

    def started(self, cell: Cell) -> None:
        """
        Note a start.

        :param cell: the cell
        """
        self.running += 1
        self.show(f"started {cell.name}")

    def finished(self, cell: Cell, result: Result) -> None:
        """
        Note an end.

        :param cell: the cell
        :param result: its result
        """
        self.running -= 1
        if result["status"] == "failed":
            self.failed += 1
            self.show(f"FAILED  {cell.name}: {result['error']}")
        else:
            self.done += 1
            self.show(f"done    {cell.name} in {result['seconds']['total']:.0f} s")

    def show(self, event: str) -> None:
        """
        Show an event and the counts.

        :param event: what happened
        """
        self.bar.update(self.task, description=self.counts(), completed=self.done + self.failed)
        if not self.bar.console.is_terminal:
            # A log has no bar that moves.
            left = self.bar.tasks[0].time_remaining
            event += f" ({self.counts()}" + (f", {left / 60:.0f} min left)" if left is not None else ")")
        self.bar.console.print(event, markup=False)
