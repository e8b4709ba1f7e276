"""
Estimates with 95 % intervals for a few runs on a few tasks.

Interquartile mean (IQM), probability of improvement and performance profiles are those of Agarwal
et al. 2021 (https://arxiv.org/abs/2108.13264), the stratified bootstrap is that of their library,
rliable. Scores are arrays of runs x tasks, curves are arrays of runs x tasks x evaluations.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rliable import library  # type: ignore[import-untyped]

from sb3_angc.saving.resuming import numpy_random_state_kept

Array = npt.NDArray[np.float64]

RESAMPLES = 2000
INTERVAL = 0.95


@dataclass(frozen=True)
class Estimate:
    """
    A number, or one for each point of a curve, with its interval.

    :param value: the estimate
    :param low: lower end of the 95 % interval
    :param high: upper end
    """

    value: Any
    low: Any
    high: Any


def bootstrap(scores: Array | Sequence[Array], statistic: Callable[..., Any]) -> Estimate:
    """
    A statistic with its interval: runs are resampled within each task.

    :param scores: runs x tasks (x evaluations), or several such arrays, resampled independently
    :param statistic: function of these arrays that returns a number, or an array of one dimension
    """
    samples = [scores] if isinstance(scores, np.ndarray) else list(scores)
    with numpy_random_state_kept():
        np.random.seed(0)  # noqa: NPY002 -- what rliable draws from, whatever `random_state` it is given
        values, intervals = library.get_interval_estimates(
            {"": samples if len(samples) > 1 else samples[0]},
            lambda *resampled: np.atleast_1d(statistic(*resampled)),
            reps=RESAMPLES,
            confidence_interval_size=INTERVAL,
        )
    low, high = intervals[""]
    if np.ndim(statistic(*samples)) == 0:
        return Estimate(float(values[""][0]), float(low[0]), float(high[0]))
    return Estimate(values[""], low, high)


def interquartile_mean(values: Array) -> Array:
    """
    Mean of the middle half along the first axis. rliable's ``aggregate_iqm``, tens of times faster,
    which counts in a bootstrap; the same holds for ``superiority``.

    :param values: at least one
    """
    cut = len(values) // 4
    middle: Array = np.sort(values, axis=0)[cut : len(values) - cut].mean(axis=0)
    return middle


def superiority(scores: Array, baseline: Array) -> float:
    """
    Share of pairs of runs on the same task that the first wins, ties counting half, averaged over tasks.
    rliable's ``probability_of_improvement``.

    :param scores: runs x tasks
    :param baseline: runs x tasks
    """
    pairs = scores[:, None] - baseline[None]
    return float((np.sign(pairs).mean() + 1) / 2)


def iqm(scores: Array) -> Estimate:
    """
    Mean of the middle half of all runs on all tasks.

    :param scores: runs x tasks
    """
    return bootstrap(scores, lambda values: interquartile_mean(values.flatten()))


def mean(scores: Array) -> Estimate:
    """
    Mean of all runs on all tasks.

    :param scores: runs x tasks
    """
    return bootstrap(scores, np.mean)


def difference(scores: Array, baseline: Array) -> Estimate:
    """
    By how much the mean is above that of a baseline, whose runs are resampled too.

    :param scores: runs x tasks
    :param baseline: runs x tasks, the number of runs may differ
    """
    return bootstrap([scores, baseline], lambda one, other: one.mean() - other.mean())


def iqm_curve(curves: Array) -> Estimate:
    """
    IQM at each evaluation, with a pointwise interval.

    :param curves: runs x tasks x evaluations
    """
    return bootstrap(curves, lambda values: interquartile_mean(values.reshape(-1, values.shape[-1])))


def probability_of_improvement(scores: Array, baseline: Array) -> Estimate:
    """
    How likely a run beats one of the baseline on the same task, averaged over tasks.

    :param scores: runs x tasks
    :param baseline: runs x tasks, the number of runs may differ
    """
    return bootstrap([scores, baseline], superiority)


def performance_profile(scores: Array, thresholds: Array) -> Estimate:
    """
    Share of runs on all tasks that score above each threshold.

    :param scores: runs x tasks
    :param thresholds: the thresholds
    """
    return bootstrap(scores, lambda values: (values.reshape(-1, 1) > thresholds).mean(axis=0))


def median_steps(steps: Sequence[int | None]) -> Estimate:
    """
    Median of the steps to a threshold that some runs never reach, with a percentile bootstrap interval.
    Infinity stands for "not reached"; quantiles are taken among the values themselves, because there
    is nothing half way to infinity.

    :param steps: one value for each run, ``None`` if it did not reach the threshold
    """
    values = np.array([np.inf if value is None else value for value in steps])
    samples = np.random.default_rng(0).choice(values, (RESAMPLES, len(values)))
    medians = np.quantile(samples, 0.5, axis=1, method="higher")
    low = np.quantile(medians, (1 - INTERVAL) / 2, method="lower")
    high = np.quantile(medians, (1 + INTERVAL) / 2, method="higher")
    return Estimate(float(np.quantile(values, 0.5, method="higher")), float(low), float(high))


def compare(scores: Mapping[str, Array], baseline: str) -> dict[str, Estimate]:
    """
    Probability of improvement of every other method over one.

    :param scores: runs x tasks of each method
    :param baseline: name of the one
    """
    return {
        label: probability_of_improvement(values, scores[baseline])
        for label, values in scores.items()
        if label != baseline
    }
