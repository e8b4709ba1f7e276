"""The rungs' returns, measured by ``benchmarks/studies/ladder.yml``, as a table and as a figure."""

from __future__ import annotations

from matplotlib.figure import Figure

from benchmarks.experiments.ladder.page import draw_seeds, rows_beside
from benchmarks.report import drawing
from benchmarks.report.comparison import Comparison
from benchmarks.report.statistics import Array
from benchmarks.report.tables import markdown
from benchmarks.runner.provenance import ROOT

FOLDER = ROOT / "benchmarks" / "results" / "ladder_returns"


def measured() -> Comparison:
    """:return: The committed results, of as many seeds as there are"""
    return Comparison([FOLDER], None, partial=True)


def table(comparison: Comparison) -> str:
    """:return: A row for each rung, with the mean over seeds, and of several the lowest and highest"""
    rows = [
        [label, *(mean_and_ends(comparison.returns(label, task)) for task in comparison.environments)]
        for label in comparison.labels
    ]
    episodes = next(iter(comparison.tasks.values())).last_policy_episodes
    head = f"Last policies, mean return of {episodes} episodes [lowest seed, highest seed]."
    tasks = [f"{task}, {seeds(comparison, task)}" for task in comparison.environments]
    return head + "\n\n" + markdown(["circuit", *tasks], rows)


def seeds(comparison: Comparison, task: str) -> str:
    """:return: The seeds on which any rung was run"""
    runs = [run for label in comparison.labels for run in comparison.results(label, task)]
    found = sorted({run["cell"]["seed"] for run in runs})
    return f"seed{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}"


def mean_and_ends(returns: Array) -> str:
    """:return: The mean and, of several, the lowest and highest; nothing of none"""
    if len(returns) == 0:
        return ""
    ends = f" [{returns.min():.1f}, {returns.max():.1f}]" if len(returns) > 1 else ""
    return f"{returns.mean():.1f}{ends}"


def draw(comparison: Comparison) -> Figure:
    """:return: The last policy of each seed, by rung from top to bottom, a panel for each task"""
    labels, tasks = comparison.labels, comparison.environments
    figure, panels = rows_beside(labels, len(tasks))
    for panel, task in zip(panels, tasks, strict=True):
        for row, label in enumerate(labels):
            draw_seeds(panel, row, comparison.returns(label, task).tolist())
        panel.axvline(comparison.tasks[task].threshold, color=drawing.TEXT, linestyle=":")
        panel.set_xlabel(task.split("-")[0], fontsize=8.5)
        panel.locator_params(axis="x", nbins=2)
        panel.tick_params(labelsize=8.5)
    return figure
