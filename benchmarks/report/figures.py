"""The report's figures."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.report import statistics
from benchmarks.report.comparison import Comparison
from benchmarks.report.drawing import (
    COLORS,
    DASHES,
    PANEL,
    TEXT,
    WIDTH,
    column,
    label_rows,
    name_curves,
    shown,
    swarm,
)
from benchmarks.report.statistics import Array, Estimate

# The methods of several pages have the same color on all of them.
OWN = {
    "angc": COLORS[0],
    "dqn": COLORS[1],
    "dqn same settings": COLORS[2],
    "dqn same settings normalized": COLORS[3],
    "instrumental only": COLORS[4],
    "paper": COLORS[5],
    "ngc": COLORS[6],
}
# Of more methods, the figure shows what sets each apart from the baseline.
MOST_METHODS = 6


def color(labels: Sequence[str], label: str) -> str:
    """
    A method's color, the same in every figure that has the same methods in color.

    :param labels: all methods that are in color
    :param label: one of them
    """
    if label in OWN:
        return OWN[label]
    taken = [OWN[other] for other in labels if other in OWN]
    # Those of ANGC and DQN last
    free = [tone for tone in reversed(COLORS) if tone not in taken] or list(COLORS)
    others = [other for other in labels if other not in OWN]
    return free[others.index(label) % len(free)]


def most_different(comparison: Comparison, baseline: str) -> list[str]:
    """
    The methods that a figure of curves names: all, or of many the baseline and those that end furthest from
    it.

    :param comparison: the results
    :param baseline: what the others are compared with
    """
    if len(comparison.labels) <= MOST_METHODS:
        return comparison.labels

    def distance(label: str) -> float:
        ends = [
            [comparison.normalize(comparison.returns(name, task), task).mean() for name in (label, baseline)]
            for task in comparison.environments
            if len(comparison.results(label, task)) and len(comparison.results(baseline, task))
        ]
        return float(np.mean([abs(one - other) for one, other in ends])) if ends else 0.0

    others = sorted((label for label in comparison.labels if label != baseline), key=distance, reverse=True)
    chosen = [baseline, *others[: MOST_METHODS - 1]]
    return [label for label in comparison.labels if label in chosen]


def learning_curves(comparison: Comparison, baseline: str) -> Figure:
    """
    Evaluations during training on each task. Of many methods those are named that end furthest from the
    baseline, and the others are grey.

    :param comparison: the results
    :param baseline: what the others are compared with
    """
    named = most_different(comparison, baseline)
    environments = list(rows_of(comparison))
    figure, panels = column([PANEL] * len(environments))
    for panel, environment in zip(panels, environments, strict=True):
        task = comparison.tasks[environment]
        # From acting at random to solved, and beyond where curves go
        ends, highest, lowest = {}, task.threshold, task.random_return
        for label in comparison.labels:
            if len(comparison.results(label, environment)) < 2:
                continue
            steps, returns = comparison.curves(label, environment)
            estimate = statistics.iqm_curve(returns[:, None, :])
            highest = max(highest, float(np.max(estimate.high)))
            lowest = min(lowest, float(np.min(estimate.low)))
            if label in named:
                # Of many, the intervals would cover each other.
                shaded = named == comparison.labels or label == baseline
                tone = color(named, label)
                draw_band(panel, steps / 1000, estimate, tone, named.index(label), shaded)
                ends[label] = float(estimate.value[-1])
            else:
                panel.plot(steps / 1000, estimate.value, color=TEXT, alpha=0.35, linewidth=1)
        panel.axhline(task.threshold, color=TEXT, linestyle=":")
        # What is far below acting at random would press the rest together.
        lowest = max(lowest, task.random_return - 0.1 * (task.threshold - task.random_return))
        margin = 0.04 * (highest - lowest)
        panel.set_ylim(lowest - margin, highest + margin)
        name_curves(panel, ends, {label: color(named, label) for label in ends}, PANEL)
        panel.set_title(f"{environment}: return while training")
    panels[-1].set_xlabel("environment steps (thousands)")
    return figure


def rows_of(comparison: Comparison) -> dict[str, list[str]]:
    """
    The methods that have results, by task; a task without any has no panel.

    :param comparison: the results
    """
    present = {
        task: [label for label in comparison.labels if comparison.results(label, task)]
        for task in comparison.environments
    }
    return {task: labels for task, labels in present.items() if labels}


def last_policies(comparison: Comparison) -> Figure:
    """
    Every run's last policy on each task, and their IQM.

    :param comparison: the results
    """
    present = rows_of(comparison)
    row, point = 0.5, 0.055  # inches
    figure, panels = column([row * len(labels) for labels in present.values()])
    for panel, (environment, labels) in zip(panels, present.items(), strict=True):
        returns = {label: comparison.returns(label, environment) for label in labels}
        threshold = comparison.tasks[environment].threshold
        ends = np.concatenate([*returns.values(), [threshold]])
        margin = 0.04 * max(float(np.ptp(ends)), 1e-6)
        panel.set_xlim(ends.min() - margin, ends.max() + margin)
        for place, (label, values) in enumerate(returns.items()):
            tone = color(comparison.labels, label)
            # A row's points are set apart where they would hide each other.
            rows = swarm(values, float(np.ptp(panel.get_xlim())) * point / (0.65 * WIDTH))
            step = min(point / row, 0.84 / max(float(np.ptp(rows)), 1.0))
            panel.plot(values, place + rows * step, "o", color=tone, alpha=0.75, markersize=3.4, zorder=3)
            if len(values) > 1:
                estimate = statistics.iqm(values[:, None])
                panel.plot([estimate.value] * 2, [place - 0.42, place + 0.42], color=tone, linewidth=2)
                panel.fill_betweenx(
                    [place - 0.42, place + 0.42],
                    estimate.low,
                    estimate.high,
                    color=tone,
                    alpha=0.2,
                    linewidth=0,
                )
        panel.axvline(threshold, color=TEXT, linestyle=":")
        label_rows(panel, [shown(label, 16) for label in labels])
        panel.set_title(environment)
    panels[-1].set_xlabel("return of the last policies")
    return figure


def aggregates(comparison: Comparison, baseline: str) -> Figure:
    """
    IQM over all tasks, and probability of improvement.

    :param comparison: the results
    :param baseline: what the others are compared with
    """
    labels = comparison.complete_labels()
    scores = {label: comparison.scores(label) for label in labels}
    estimates = {"Score over all tasks": {label: statistics.iqm(values) for label, values in scores.items()}}
    if baseline in scores and len(scores) > 1:
        better = statistics.compare(scores, baseline)
        estimates[f"How often a run beats one of {shown(baseline)}"] = better
    figure, panels = column([0.32 * len(rows) for rows in estimates.values()])
    for panel, (title, rows) in zip(panels, estimates.items(), strict=True):
        for place, (label, estimate) in enumerate(rows.items()):
            interval_bar(panel, place, estimate, color(comparison.labels, label))
        label_rows(panel, [shown(label, 24) for label in rows])
        panel.set_title(title)
        panel.locator_params(axis="x", nbins=5)
        is_score = panel is panels[0]
        panel.axvline(1.0 if is_score else 0.5, color=TEXT, linestyle=":")
        panel.set_xlabel("0: acts at random, 1: solved" if is_score else "share of all pairs of runs")
        if not is_score:
            panel.set_xlim(-0.02, 1.02)
    return figure


def interval_bar(axes: Axes, place: float, estimate: Estimate, tone: str) -> None:
    """
    An estimate and its interval, in a row.

    :param axes: where
    :param place: of the row
    :param estimate: a number
    :param tone: color
    """
    axes.plot([estimate.low, estimate.high], [place, place], color=tone, linewidth=6, alpha=0.35)
    axes.plot(estimate.value, place, "o", color=tone, markersize=5)


def has_differences(comparison: Comparison, baseline: str) -> bool:
    """
    Whether ``differences`` has anything to show: two runs of the baseline and of another method on a task.

    :param comparison: the results
    :param baseline: what the others are compared with
    """
    return any(
        min(len(comparison.results(name, task)) for name in (label, baseline)) > 1
        for label in comparison.labels
        for task in comparison.environments
        if label != baseline
    )


def differences(comparison: Comparison, baseline: str) -> Figure:
    """
    What sets each method apart from the baseline on each task, in returns, sorted by the difference on all of
    them. A method whose interval holds the 0 is grey.

    :param comparison: the results
    :param baseline: what the others are compared with
    """
    estimates: dict[str, dict[str, Estimate]] = {}
    overall: dict[str, list[float]] = {}
    for environment in comparison.environments:
        task, base = comparison.tasks[environment], comparison.returns(baseline, environment)
        for label in comparison.labels:
            returns = comparison.returns(label, environment)
            if label != baseline and len(returns) > 1 and len(base) > 1:
                estimate = statistics.difference(returns[:, None], base[:, None])
                estimates.setdefault(environment, {})[label] = estimate
                span = task.threshold - task.random_return
                overall.setdefault(label, []).append(estimate.value / span)
    order = sorted(overall, key=lambda label: float(np.mean(overall[label])), reverse=True)
    figure, panels = column([0.26 * len(order)] * len(estimates))
    for panel, (environment, rows) in zip(panels, estimates.items(), strict=True):
        labels = [label for label in order if label in rows]
        for place, label in enumerate(labels):
            estimate = rows[label]
            if estimate.low <= 0 <= estimate.high:
                tone = TEXT
            else:
                tone = COLORS[0] if estimate.value > 0 else COLORS[1]
            interval_bar(panel, place, estimate, tone)
        panel.axvline(0, color=TEXT, linestyle=":")
        label_rows(panel, [shown(label, 24) for label in labels])
        panel.set_title(environment)
    panels[-1].set_xlabel(f"mean return, less that of {shown(baseline)}")
    return figure


def profiles(comparison: Comparison) -> Figure:
    """
    Share of runs above each normalized score, from acting at random to solved.

    :param comparison: the results
    """
    thresholds = np.linspace(0.0, 1.0, 101)
    curves = {
        label: (thresholds, statistics.performance_profile(comparison.scores(label), thresholds))
        for label in comparison.complete_labels()
    }
    figure = named_bands(comparison, curves, (-0.02, 1.02))
    [axes] = figure.axes
    axes.set_title("How many runs get how far")
    axes.set_xlabel("score (0: acts at random, 1: solved)")
    axes.set_ylabel("share of runs above it")
    return figure


def sample_efficiency(comparison: Comparison) -> Figure:
    """
    Normalized score over the share of each task's budget.

    :param comparison: the results
    """
    curves = {}
    for label in comparison.complete_labels():
        shares, scores = comparison.score_curves(label)
        curves[label] = 100 * shares, statistics.iqm_curve(scores)
    highest = max(float(np.max(estimate.high)) for _, estimate in curves.values())
    figure = named_bands(comparison, curves, (-0.05, max(highest, 1.0) + 0.05))
    [axes] = figure.axes
    axes.axhline(1.0, color=TEXT, linestyle=":")
    axes.set_title("Score on all tasks while training")
    axes.set_xlabel("training done (%)")
    axes.set_ylabel("0: at random, 1: solved")
    return figure


def named_bands(
    comparison: Comparison, curves: Mapping[str, tuple[Array, Estimate]], limits: tuple[float, float]
) -> Figure:
    """
    A panel of curves with their intervals and names.

    :param comparison: the results
    :param curves: by method, positions and an estimate at each
    :param limits: of the values that are shown
    """
    height = 1.2 * PANEL
    figure, [axes] = column([height])
    for number, (label, (places, estimate)) in enumerate(curves.items()):
        draw_band(axes, places, estimate, color(comparison.labels, label), number)
    axes.set_ylim(*limits)
    ends = {label: float(estimate.value[-1]) for label, (_, estimate) in curves.items()}
    name_curves(axes, ends, {label: color(comparison.labels, label) for label in ends}, height)
    return figure


def draw_band(
    axes: Axes, x: Array, estimate: Estimate, tone: str, number: int, with_interval: bool = True
) -> None:
    """
    A curve with its interval.

    :param axes: where
    :param x: positions
    :param estimate: a value for each position
    :param tone: color
    :param number: of the curve, which chooses its dashes
    :param with_interval: whether the interval is drawn
    """
    marker = "o" if len(x) == 1 else None  # a line of one evaluation is not seen
    axes.plot(x, estimate.value, color=tone, linestyle=DASHES[number % len(DASHES)], marker=marker)
    if with_interval:
        axes.fill_between(x, estimate.low, estimate.high, color=tone, alpha=0.18, linewidth=0)
