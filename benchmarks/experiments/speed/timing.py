"""Two pieces of work timed in turn, so that what slows the machine slows both alike."""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Work = Callable[[], object]


@dataclass(frozen=True)
class Sample:
    """
    One timing.

    :param wall: seconds on the clock
    :param processor: seconds of processor time of this process, all its threads together; on a quiet
        core, and in one thread, as much as ``wall``
    """

    wall: float
    processor: float


@dataclass(frozen=True)
class Ratio:
    """
    What ours costs in units of theirs.

    :param median: over pairs
    :param low: lower quartile
    :param high: upper quartile
    """

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Pairs:
    """
    Samples of two pieces of work, taken in turn.

    :param ours: of ours, each for one unit of work
    :param theirs: of theirs, likewise; the n-th stands beside our n-th
    """

    ours: Sequence[Sample]
    theirs: Sequence[Sample]

    def ratio(self, clock: str = "wall") -> Ratio:
        """
        The median of the pairs' ratios, with quartiles.

        :param clock: ``"wall"`` or ``"processor"``
        """
        return ratio([getattr(s, clock) for s in self.ours], [getattr(s, clock) for s in self.theirs])

    def as_dict(self) -> dict[str, Any]:
        """Medians in seconds, ratios and the number of pairs, in plain types."""
        return {
            "pairs": len(self.ours),
            "ours": asdict(median(self.ours)),
            "theirs": asdict(median(self.theirs)),
            "ratio": {clock: asdict(self.ratio(clock)) for clock in ("wall", "processor")},
        }


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """
    :param ours: a number for each pair
    :param theirs: likewise
    """
    low, middle, high = np.quantile(np.array(ours) / np.array(theirs), [0.25, 0.5, 0.75])
    return Ratio(float(middle), float(low), float(high))


def median(samples: Sequence[Sample]) -> Sample:
    """
    Median of each clock.

    :param samples: at least one
    """
    return Sample(
        float(np.median([sample.wall for sample in samples])),
        float(np.median([sample.processor for sample in samples])),
    )


def take(work: Work, repeats: int, units: int = 1) -> Sample:
    """
    Time some work.

    :param work: what to time
    :param repeats: how often to do it
    :param units: units of work, such as updates, in each
    :return: for one unit
    """
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        work()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return Sample(wall / (repeats * units), processor / (repeats * units))


def repeats_for(work: Work, seconds: float) -> int:
    """
    How often to do some work in a sample of about so many seconds; what is only done the first times
    (compiling, allocating) is done by then.

    :param work: what to time
    :param seconds: how long a sample is to last
    """
    for _ in range(3):
        once = take(work, 1)
    return max(round(seconds / once.processor), 1)


def in_turn(ours: Work, theirs: Work, pairs: int, seconds: float, units: int = 1) -> Pairs:
    """
    Time two pieces of work in turn: A B A B and so on.

    :param ours: A
    :param theirs: B
    :param pairs: number of pairs
    :param seconds: how long each sample is to last, about
    :param units: units of work in each call of either
    """
    works = [(work, repeats_for(work, seconds)) for work in (ours, theirs)]
    collecting = gc.isenabled()
    gc.disable()
    try:
        samples = [[take(work, repeats, units) for work, repeats in works] for _ in range(pairs)]
    finally:
        if collecting:
            gc.enable()
    first, second = zip(*samples, strict=True)
    return Pairs(first, second)
