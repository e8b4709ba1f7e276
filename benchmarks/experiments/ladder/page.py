"""The rungs as a table and as figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.experiments.ladder import measure
from benchmarks.experiments.ladder.rungs import by_steps, circuits, rungs
from benchmarks.experiments.regression import BATCH_SIZE, LEARNING_RATE
from benchmarks.report import drawing

# Less is drawn as this.
LOWEST_ACTIVITY = 1e-3
Cells = dict[tuple[str, int], dict[str, Any]]


def report(cells: Cells, seeds: list[int]) -> str:
    """:return: A row for each rung, in Markdown"""
    lines = [
        f"Friedman's function, mean over seeds {seeds}; {measure.HIDDEN} relu units, Adam, learning rate "
        f"{LEARNING_RATE} falling to 0, {measure.STEPS} steps of {BATCH_SIZE}. "
        f"Command: `python -m benchmarks ladder --seeds {' '.join(map(str, seeds))}`. "
        "Lists run from the input to the output; cosines are means over training, "
        "activities root mean squares of hidden layers, settled with the output free.",
        "",
        "| circuit | test error | cosine with the gradient | cosine of W and E.T | energy left "
        "| activity at the end |",
        "|---|--:|---|---|--:|---|",
    ]
    for label in circuits():
        done = finished(cells, label, seeds)
        if not done:
            lines.append(f"| {label} | diverged | | | | |")
            continue
        error = f"{np.mean([result['test_error'] for result in done]):.3f}"
        if len(done) < len(seeds):
            error += f" ({len(seeds) - len(done)} of {len(seeds)} diverged)"
        cosine, alignment, active = (
            " / ".join(f"{value:.2f}" for value in np.mean([result[key] for result in done], axis=0))
            for key in ("cosines", "alignments", "activity")
        )
        left = f"{100 * np.mean([result['energy_left'] for result in done]):.0f} %"
        lines.append(f"| {label} | {error} | {cosine} | {alignment} | {left} | {active} |")
    return "\n".join(lines) + "\n"


def finished(cells: Cells, label: str, seeds: list[int]) -> list[dict[str, Any]]:
    """:return: The results of a circuit's seeds that did not diverge"""
    results = [cells[label, seed] for seed in seeds]
    return [result for result in results if result["test_error"] is not None]


def draw_rungs(cells: Cells, seeds: list[int]) -> Figure:
    """:return: Test error, and cosine with the gradient by layer, of each rung from top to bottom"""
    labels = list(rungs())
    layers = len(measure.HIDDEN) + 1
    figure, (errors, cosines) = rows_beside(labels, 2)
    for row, label in enumerate(labels):
        done = finished(cells, label, seeds)
        draw_seeds(errors, row, [result["test_error"] for result in done])
        _draw_layers(cosines, row, [result["cosines"] for result in done], layers)
    errors.set_xscale("log")
    errors.set_xlabel("test error / variance")
    cosines.set_xlabel("cosine with\nminus the gradient")
    _name_layers(figure, layers)
    return figure


def draw_activity(cells: Cells, seeds: list[int]) -> Figure:
    """:return: Each hidden layer's activity after training, from ``paper`` to ``settled``"""
    labels = [label for label in rungs() if "without" not in label]
    layers = len(measure.HIDDEN)
    figure, (panel,) = rows_beside(labels, 1)
    for row, label in enumerate(labels):
        left = np.array([result["activity"] for result in finished(cells, label, seeds)])
        _draw_layers(panel, row, np.clip(left, LOWEST_ACTIVITY, None).tolist(), layers)
    panel.set_xscale("log")
    panel.set_xlabel("root mean square activity")
    _name_layers(figure, layers)
    return figure


def _draw_layers(panel: Axes, row: int, lists: list[list[float]], layers: int) -> None:
    """The means over seeds of a value by layer, as a row of markers; the first row has their names."""
    means = np.mean(lists, axis=0) if lists else []
    for layer, (value, place) in enumerate(zip(means, places(row, layers), strict=False)):
        name = f"layer {layer + 1}" if row == 0 else None
        look: dict[str, Any] = {
            "color": drawing.COLORS[layer],
            "markersize": 3.5,
            "linestyle": "",
            "label": name,
        }
        panel.plot(value, place, drawing.MARKERS[layer], **look)


def rows_beside(labels: list[str], n_panels: int) -> tuple[Figure, list[Axes]]:
    """:return: A figure with a row for each rung, from top to bottom, and its panels side by side"""
    figure = Figure(figsize=(drawing.WIDTH, 0.24 * len(labels) + 1), layout="constrained")
    panels = list(figure.subplots(1, n_panels, sharey=True, squeeze=False)[0])
    drawing.label_rows(panels[0], [label.replace("ngc without:", "without") for label in labels])
    for panel in panels:
        panel.grid(axis="y", visible=True)
        panel.tick_params(axis="y", labelsize=9)
    return figure, panels


def places(row: int, n: int) -> list[float]:
    """:return: ``n`` places in a row, a little below each other: none hides another"""
    return [row + 0.5 * (number + 0.5) / n - 0.25 for number in range(n)]


def draw_seeds(panel: Axes, row: int, values: Sequence[float]) -> None:
    """A value of each seed, as points in a row."""
    panel.plot(values, places(row, len(values)), "o", color=drawing.COLORS[0], markersize=3)


def _name_layers(figure: Figure, layers: int) -> None:
    figure.legend(loc="outside upper center", ncols=layers, fontsize=9, handletextpad=0, columnspacing=1)


def draw_steps(cells: Cells, seeds: list[int]) -> Figure:
    """:return: Test error of ``ngc``, and the energy that settling leaves, over the number of steps"""
    labels = by_steps()
    figure, (errors, left) = drawing.column([drawing.PANEL, drawing.PANEL])
    for panel, key in ((errors, "test_error"), (left, "energy_left")):
        for seed in seeds:
            values = [cells[label, seed].get(key) for label in labels.values()]  # None where it diverged
            shown = [np.nan if value is None else value for value in values]
            panel.plot(list(labels), shown, "o-", color=drawing.COLORS[0], markersize=3, linewidth=0.8)
        panel.set_xscale("log")
        panel.set_xticks(list(labels), [str(steps) for steps in labels])
        panel.minorticks_off()
    errors.set_ylim(bottom=0)
    left.set_ylim(0, 1.05)
    errors.set_title("Test error / variance")
    left.set_title("Energy left by settling")
    left.set_xlabel("settling steps")
    return figure
