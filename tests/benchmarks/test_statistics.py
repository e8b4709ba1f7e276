"""The report's statistics against closed forms and rliable's own functions."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rliable", reason="rliable is in the extra 'zoo'")

from rliable import library, metrics  # type: ignore[import-untyped]

from benchmarks.report import statistics
from benchmarks.report.statistics import Array

rng = np.random.default_rng(0)
SCORES: Array = rng.normal(size=(10, 4))
BASELINE: Array = rng.normal(0.5, size=(7, 4))


def test_iqm_is_the_mean_of_the_middle_half() -> None:
    # Of 0..7 the middle half is 2..5; an outlier does not move it.
    values = np.array([0, 1, 2, 3, 4, 5, 6, 1e9])[:, None]
    assert statistics.iqm(values).value == 3.5
    assert statistics.iqm(SCORES).value == pytest.approx(metrics.aggregate_iqm(SCORES))


def test_mean_over_tasks_has_the_normal_interval_of_stratified_runs() -> None:
    scores = np.random.default_rng(1).normal([0, 10, -5], [1, 2, 3], size=(50, 3))
    estimate = statistics.mean(scores)
    # Runs are resampled within tasks: the tasks' own distance does not widen the interval.
    error = np.sqrt((scores.var(axis=0) / 50).sum()) / 3
    assert estimate.value == pytest.approx(scores.mean())
    assert estimate.low == pytest.approx(scores.mean() - 1.96 * error, abs=0.1 * error)
    assert estimate.high == pytest.approx(scores.mean() + 1.96 * error, abs=0.1 * error)


def test_equal_runs_have_an_interval_of_no_width() -> None:
    estimate = statistics.iqm(np.full((10, 2), 3.0))
    assert (estimate.value, estimate.low, estimate.high) == (3, 3, 3)


def test_intervals_repeat_and_leave_the_global_random_state_alone() -> None:
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random(5)  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    first = statistics.iqm(SCORES)
    np.testing.assert_array_equal(np.random.random(5), expected)  # noqa: NPY002
    np.random.seed(4)  # noqa: NPY002
    assert statistics.iqm(SCORES) == first
    assert first.low < first.value < first.high


def test_probability_of_improvement_counts_pairs() -> None:
    wins = [
        float(np.mean([(x > y) + 0.5 * (x == y) for x, y in product(SCORES[:, task], BASELINE[:, task])]))
        for task in range(4)
    ]
    estimate = statistics.probability_of_improvement(SCORES, BASELINE)
    assert estimate.value == pytest.approx(np.mean(wins))
    assert estimate.value == pytest.approx(metrics.probability_of_improvement(SCORES, BASELINE))
    assert estimate.low < estimate.value < estimate.high
    assert statistics.probability_of_improvement(BASELINE, SCORES).value == pytest.approx(1 - estimate.value)


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 0.5), (1.0, 1.0), (-1.0, 0.0)])
def test_probability_of_improvement_at_its_ends(shift: float, expected: float) -> None:
    same = np.full((5, 2), 500.0)
    estimate = statistics.probability_of_improvement(same + shift, same)
    assert (estimate.value, estimate.low, estimate.high) == (expected,) * 3


def test_performance_profile_is_the_share_of_runs_above() -> None:
    scores = np.array([[0.1, 0.6], [0.5, 1.2]])
    profile = statistics.performance_profile(scores, np.array([0.0, 0.5, 1.0, 2.0]))
    assert profile.value.tolist() == [1.0, 0.5, 0.25, 0.0]
    assert (profile.low <= profile.value).all()
    assert (profile.value <= profile.high).all()


def test_difference_is_that_of_the_means() -> None:
    scores, baseline = np.full((5, 1), 3.0), np.full((4, 1), 1.0)
    estimate = statistics.difference(scores, baseline)
    assert (estimate.value, estimate.low, estimate.high) == (2.0, 2.0, 2.0)
    # Two normal samples: the standard error of the difference is the root of the sum of squares.
    draw = np.random.default_rng(0)
    one, other = draw.normal(1, 1, (400, 1)), draw.normal(0, 2, (100, 1))
    estimate = statistics.difference(one, other)
    assert estimate.value == pytest.approx(one.mean() - other.mean())
    error = float(np.sqrt(one.var() / 400 + other.var() / 100))
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_intervals_are_those_of_rliable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 200)
    thresholds = np.linspace(-1, 1, 5)
    pairs = {"a,b": (SCORES, BASELINE)}

    def aggregate_iqm(scores: Array) -> Array:
        return np.array([metrics.aggregate_iqm(scores)])

    np.random.seed(0)  # noqa: NPY002
    _, iqm = library.get_interval_estimates({"a": SCORES}, aggregate_iqm, reps=200)
    np.random.seed(0)  # noqa: NPY002
    _, improvement = library.get_interval_estimates(pairs, metrics.probability_of_improvement, reps=200)
    np.random.seed(0)  # noqa: NPY002
    profile, bounds = library.create_performance_profile({"a": SCORES}, thresholds, reps=200)
    ours = statistics.iqm(SCORES)
    np.testing.assert_allclose([[ours.low], [ours.high]], iqm["a"])
    ours = statistics.probability_of_improvement(SCORES, BASELINE)
    np.testing.assert_allclose(np.ravel([ours.low, ours.high]), np.ravel(improvement["a,b"]))
    ours = statistics.performance_profile(SCORES, thresholds)
    np.testing.assert_allclose(ours.value, profile["a"])
    np.testing.assert_allclose([ours.low, ours.high], bounds["a"])


def test_curve_is_the_iqm_at_each_evaluation() -> None:
    curves = np.random.default_rng(2).normal(size=(8, 3, 5))
    estimate = statistics.iqm_curve(curves)
    expected = [metrics.aggregate_iqm(curves[:, :, index]) for index in range(5)]
    np.testing.assert_allclose(estimate.value, expected)
    assert estimate.low.shape == estimate.high.shape == (5,)


def test_median_steps_of_runs_that_all_arrive() -> None:
    steps = list(range(1000, 100_000, 1000))  # 99 runs
    estimate = statistics.median_steps(steps)
    assert estimate.value == 50_000
    # The order statistics at n/2 -+ 1.96 sqrt(n)/2 bound the median: 40th and 60th.
    assert estimate.low == pytest.approx(40_000, abs=2000)
    assert estimate.high == pytest.approx(60_000, abs=2000)


def test_median_steps_with_runs_that_never_arrive() -> None:
    assert statistics.median_steps([10, 20, 30, None]).value == 30
    assert statistics.median_steps([10, None, None]).value == np.inf
    few = statistics.median_steps([10, 20, 30, 40, None])
    assert (few.value, few.low, few.high) == (30, 10, np.inf)
    none = statistics.median_steps([None, None])
    assert (none.value, none.low, none.high) == (np.inf,) * 3


def test_compare_leaves_out_the_baseline() -> None:
    scores = {"dqn": BASELINE, "a": BASELINE + 10, "b": BASELINE - 10}
    assert {label: estimate.value for label, estimate in statistics.compare(scores, "dqn").items()} == {
        "a": 1,
        "b": 0,
    }


def test_intervals_of_few_runs_are_too_narrow() -> None:
    """As often as ``docs/studies.md`` says: normal returns, on one task, whose IQM is 0."""
    rng = np.random.default_rng(0)
    page = (Path(__file__).parents[2] / "docs" / "studies.md").read_text(encoding="utf-8")
    rows = [line.split("|")[2:-1] for line in page.splitlines() if line.startswith(("| runs |", "| of 100 "))]
    for runs, percent in zip(*([int(cell) for cell in row] for row in rows), strict=True):
        returns = rng.standard_normal((2000, runs, 1))
        drawn = np.take_along_axis(returns, rng.integers(runs, size=(2000, runs, 500)), axis=1)
        iqms = statistics.interquartile_mean(np.moveaxis(drawn, 1, 0))
        low, high = np.percentile(iqms, [2.5, 97.5], axis=1)
        assert 100 * np.mean((low <= 0) & (high >= 0)) == pytest.approx(percent, abs=2)
