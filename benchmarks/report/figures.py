"""The report's figures: transparent, in tones that stand out from white and from black."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.report import statistics
from benchmarks.report.comparison import Comparison
from benchmarks.report.statistics import Array, Estimate

# Each at least 3 to 1 against white and against a dark page; text at least 4 to 1.
COLORS = ("#3a86d8", "#d9641e", "#2f9a5f", "#a864d3", "#d2527f", "#8a8a22", "#1f97a5", "#a5743c")
MARKERS = "osD^vPX*"
TEXT = "#777777"
# A legend of more rows than this is below the panels, in so many columns.
LEGEND_ROWS, LEGEND_COLUMNS = 5, 2

STYLE = {
    "axes.edgecolor": TEXT,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": TEXT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": TEXT,
    "figure.facecolor": "none",
    "font.size": 10,
    "grid.alpha": 0.25,
    "grid.color": TEXT,
    "legend.frameon": False,
    "legend.labelcolor": TEXT,
    "savefig.facecolor": "none",
    # The same data gives the same file.
    "svg.hashsalt": "benchmarks",
    "text.color": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
}


def color(comparison: Comparison, label: str) -> str:
    """
    A method's color, the same in every figure.

    :param comparison: the results
    :param label: the method
    """
    return COLORS[comparison.labels.index(label) % len(COLORS)]


def marker(comparison: Comparison, label: str) -> str:
    """
    A method's marker, the same in every figure: colors alone do not tell methods apart for everybody.
    Where colors begin anew, each gets another marker than before.

    :param comparison: the results
    :param label: the method
    """
    rounds, position = divmod(comparison.labels.index(label), len(COLORS))
    return MARKERS[(position + rounds) % len(MARKERS)]


def band(axes: Axes, x: Array, estimate: Estimate, comparison: Comparison, label: str) -> None:
    """
    A curve with its interval.

    :param axes: where
    :param x: positions
    :param estimate: a value for each position
    :param comparison: the results
    :param label: the method
    """
    tone = color(comparison, label)
    axes.plot(
        x,
        estimate.value,
        color=tone,
        label=label,
        marker=marker(comparison, label),
        markevery=max(len(x) // 8, 1),
        markersize=4,
    )
    axes.fill_between(x, estimate.low, estimate.high, color=tone, alpha=0.25, linewidth=0)


def grid(count: int) -> tuple[Figure, list[Axes]]:
    """
    A figure with a panel for each task.

    :param count: number of panels
    """
    columns = min(count, 2)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.2 * columns, 3.0 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel in panels[count:]:
        panel.remove()
    return figure, list(panels[:count])


def learning_curves(comparison: Comparison) -> Figure:
    """
    Evaluations during training on each task.

    :param comparison: the results
    """
    figure, panels = grid(len(comparison.environments))
    for panel, environment in zip(panels, comparison.environments, strict=True):
        for label in comparison.labels:
            if len(comparison.results(label, environment)) > 1:
                steps, returns = comparison.curves(label, environment)
                estimate = statistics.iqm_curve(returns[:, None, :])
                band(panel, steps / 1000, estimate, comparison, label)
        panel.axhline(comparison.tasks[environment].threshold, color=TEXT, linestyle=":")
        panel.set_title(environment)
        panel.set_xlabel("environment steps (thousands)")
        panel.set_ylabel("return (IQM of seeds)")
    # A method may be missing on the first task.
    drawn = [panel.get_legend_handles_labels() for panel in panels]
    curves = {label: curve for pair in drawn for curve, label in zip(*pair, strict=True)}
    if curves:
        labels = [label for label in comparison.labels if label in curves]
        add_legend(figure, panels[0], [curves[label] for label in labels], labels)
    return figure


def add_legend(figure: Figure, axes: Axes, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """
    A legend, below the panels where it would cover too much of one.

    :param figure: the figure
    :param axes: the panel that a short legend is in
    :param handles: the curves
    :param labels: their methods
    """
    if len(labels) <= LEGEND_ROWS:
        axes.legend(handles, labels)
        return
    rows = -(-len(labels) // LEGEND_COLUMNS)
    figure.set_figheight(figure.get_figheight() + 0.25 * rows)
    figure.legend(handles, labels, loc="outside lower center", ncols=LEGEND_COLUMNS)


def last_policies(comparison: Comparison) -> Figure:
    """
    Every run's last policy on each task, and their IQM.

    :param comparison: the results
    """
    figure, panels = grid(len(comparison.environments))
    for panel, environment in zip(panels, comparison.environments, strict=True):
        for row, label in enumerate(comparison.labels):
            returns = comparison.returns(label, environment)
            tone = color(comparison, label)
            # Seeds one below the other, so that equal returns can be counted.
            places = row + np.linspace(-0.2, 0.2, len(returns)) * (len(returns) > 1)
            panel.plot(returns, places, marker(comparison, label), color=tone, alpha=0.6, markersize=5)
            if len(returns) > 1:
                estimate = statistics.iqm(returns[:, None])
                panel.plot([estimate.value] * 2, [row - 0.35, row + 0.35], color=tone, linewidth=2.5)
                panel.fill_betweenx(
                    [row - 0.25, row + 0.25], estimate.low, estimate.high, color=tone, alpha=0.25, linewidth=0
                )
        panel.axvline(comparison.tasks[environment].threshold, color=TEXT, linestyle=":")
        label_rows(panel, comparison.labels)
        panel.set_title(environment)
        panel.set_xlabel("return of the last policy\n(one point for each seed)")
    return figure


def label_rows(axes: Axes, labels: Sequence[str]) -> None:
    """
    Methods from top to bottom.

    :param axes: where
    :param labels: the methods
    """
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def aggregates(comparison: Comparison, baseline: str) -> Figure:
    """
    IQM, mean and probability of improvement over all tasks.

    :param comparison: the results
    :param baseline: what the others are compared with
    """
    labels = comparison.complete_labels()
    scores = {label: comparison.scores(label) for label in labels}
    columns = {
        "IQM of normalized score": {label: statistics.iqm(values) for label, values in scores.items()},
        "mean normalized score": {label: statistics.mean(values) for label, values in scores.items()},
    }
    if baseline in scores and len(scores) > 1:
        columns[f"P(better than {baseline})"] = statistics.compare(scores, baseline)
    figure = Figure(figsize=(3.2 * len(columns), 0.9 + 0.45 * len(labels)), layout="constrained")
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    for panel, (title, estimates) in zip(panels, columns.items(), strict=True):
        for row, label in enumerate(labels):
            if label in estimates:
                estimate, tone = estimates[label], color(comparison, label)
                panel.plot([estimate.low, estimate.high], [row, row], color=tone, linewidth=6, alpha=0.35)
                panel.plot(estimate.value, row, marker(comparison, label), color=tone)
        label_rows(panel, labels if panel is panels[0] else [""] * len(labels))
        panel.set_xlabel(title)
        if title.startswith("P("):
            panel.set_xlim(0, 1)
            panel.axvline(0.5, color=TEXT, linestyle=":")
    return figure


def profiles(comparison: Comparison) -> Figure:
    """
    Share of runs above each normalized score.

    :param comparison: the results
    """
    scores = {label: comparison.scores(label) for label in comparison.complete_labels()}
    lowest = min(float(values.min()) for values in scores.values())
    highest = max(float(values.max()) for values in scores.values())
    thresholds = np.linspace(min(lowest, 0.0), max(highest, 1.0) + 0.05, 101)
    figure, [axes] = grid(1)
    for label, values in scores.items():
        band(axes, thresholds, statistics.performance_profile(values, thresholds), comparison, label)
    axes.axvline(1.0, color=TEXT, linestyle=":")
    axes.set_xlabel("normalized score of the last policy")
    axes.set_ylabel("share of runs above")
    add_legend(figure, axes, *axes.get_legend_handles_labels())
    return figure


def sample_efficiency(comparison: Comparison) -> Figure:
    """
    Normalized score over the share of each task's budget.

    :param comparison: the results
    """
    figure, [axes] = grid(1)
    for label in comparison.complete_labels():
        shares, curves = comparison.score_curves(label)
        band(axes, shares, statistics.iqm_curve(curves), comparison, label)
    axes.axhline(1.0, color=TEXT, linestyle=":")
    axes.set_xlabel("share of each task's budget")
    axes.set_ylabel("normalized score (IQM)")
    add_legend(figure, axes, *axes.get_legend_handles_labels())
    return figure


def save(figure: Figure, path: Path) -> None:
    """
    Write a figure as PNG and SVG.

    :param figure: the figure
    :param path: without suffix
    """
    figure.savefig(path.with_suffix(".png"), dpi=150)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
