"""
What all figures share: one column wide, so that a telephone shows them whole; transparent, in tones that
stand out from white and from black.
"""

import textwrap
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from benchmarks.report.statistics import Array

# Each at least 3 to 1 against white and against a dark page; text at least 4 to 1.
COLORS = ("#3a86d8", "#d9641e", "#2f9a5f", "#a864d3", "#d2527f", "#8a8a22", "#1f97a5", "#a5743c")
MARKERS = "osD^vPX*"
# Where curves lie on each other, the dashes of one show the other.
DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = (
    "-",
    (0, (5, 2)),
    (0, (2, 1)),
    "-.",
    (0, (7, 1, 1, 1)),
)
TEXT = "#777777"
# Inches
WIDTH, PANEL = 4.8, 2.2
# Characters of a direct label in a line
LABEL_WIDTH = 13

STYLE = {
    "axes.edgecolor": TEXT,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": TEXT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": TEXT,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
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


def styled() -> AbstractContextManager[None]:
    """In its context, figures are drawn in ``STYLE``, whatever matplotlib is set to."""
    return style.context(["default", STYLE])


def shown(label: str, width: int = 100) -> str:
    """
    A method as figures name it.

    :param label: the method
    :param width: characters of a line
    """
    return textwrap.fill(label.replace("angc", "ANGC").replace("dqn", "DQN"), width)


def column(rows: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """
    A figure with its panels one below the other.

    :param rows: height of each, in inches
    """
    # In inches: a title is nearer to its panel than to the one above.
    layout = ConstrainedLayoutEngine(h_pad=0.12)
    figure = Figure(figsize=(WIDTH, sum(rows) + 0.9 * len(rows)), layout=layout)
    panels = figure.subplots(len(rows), 1, squeeze=False, height_ratios=rows).flatten()
    return figure, list(panels)


def spread(places: Sequence[float], heights: Sequence[float]) -> list[float]:
    """
    Places near those asked for at which labels do not overlap, from 0 to 1 where they all fit.

    :param places: middles of the labels
    :param heights: of the labels
    """
    if not places:
        return []
    order = np.argsort(places, kind="stable")
    found = np.asarray(places, dtype=float)[order]
    tall = np.asarray(heights, dtype=float)[order]
    gaps = (tall[1:] + tall[:-1]) / 2
    for _ in range(1000):
        overlap = np.clip(gaps - np.diff(found), 0, None)
        if overlap.max(initial=0) < 1e-6:
            break
        found[:-1] -= overlap / 2
        found[1:] += overlap / 2
    # Within the panel: down from its top, then up from its bottom
    found[-1] = min(found[-1], 1 - tall[-1] / 2)
    for upper in range(len(found) - 1, 0, -1):
        found[upper - 1] = min(found[upper - 1], found[upper] - gaps[upper - 1])
    found[0] = max(found[0], tall[0] / 2)
    for lower in range(len(found) - 1):
        found[lower + 1] = max(found[lower + 1], found[lower] + gaps[lower])
    result = np.empty(len(found))
    result[order] = found
    return [float(place) for place in result]


def name_curves(axes: Axes, ends: Mapping[str, float], tones: Mapping[str, str], height: float) -> None:
    """
    Names of curves to the right of their ends, in their colors.

    :param axes: where
    :param ends: by name, the curve's last value
    :param tones: by name, its color
    :param height: of the panel, in inches
    """
    lines = {name: shown(name, LABEL_WIDTH) for name in ends}
    # 0 is the bottom of the panel, 1 its top, whatever its scale
    to_panel, at = axes.transScale + axes.transLimits, axes.get_xlim()[1]
    middles = [float(np.clip(to_panel.transform((at, end))[1], 0, 1)) for end in ends.values()]
    heights = [0.16 * (text.count("\n") + 1) / height for text in lines.values()]
    for (name, text), place in zip(lines.items(), spread(middles, heights), strict=True):
        axes.text(1.02, place, text, color=tones[name], transform=axes.transAxes, va="center", fontsize=9)


def swarm(values: Array, width: float) -> Array:
    """
    Rows for points, so that none lies on another: 0, 1, -1, 2, ... for each value in order.

    :param values: where the points are
    :param width: of a point, in the same unit
    """
    rows = np.zeros(len(values))
    order = np.argsort(values, kind="stable")
    for position, index in enumerate(order):
        near = [rows[other] for other in order[:position] if values[index] - values[other] < width]
        candidates = (sign * step for step in range(len(values) + 1) for sign in (1, -1))
        rows[index] = next(row for row in candidates if row not in near)
    return rows


def label_rows(axes: Axes, labels: Sequence[str]) -> None:
    """
    Methods from top to bottom.

    :param axes: where
    :param labels: the methods
    """
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def save(figure: Figure, path: Path) -> None:
    """
    Write a figure as PNG and SVG.

    :param figure: the figure
    :param path: without suffix
    """
    figure.savefig(path.with_suffix(".png"), dpi=150)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
