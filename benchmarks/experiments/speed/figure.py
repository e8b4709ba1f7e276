"""The figure of growth."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, ScalarFormatter

from benchmarks.experiments.speed.growth import BASE
from benchmarks.report import drawing

AXES = {
    "steps": "settling steps T",
    "width": "width of the hidden layers",
    "batch": "batch size",
    "depth": "hidden layers",
}


def along(cells: Sequence[Mapping[str, Any]], axis: str) -> list[Mapping[str, Any]]:
    """
    The cells in which one size varies, and the others are the base's (or the smallest there are).

    :param cells: the grid
    :param axis: the size
    """
    base = {
        name: size if any(cell[name] == size for cell in cells) else min(cell[name] for cell in cells)
        for name, size in BASE.items()
    }
    fixed = {name: size for name, size in base.items() if name != axis}
    chosen = [cell for cell in cells if all(cell[name] == size for name, size in fixed.items())]
    return sorted(chosen, key=lambda cell: int(cell[axis]))


def growth(cells: Sequence[Mapping[str, Any]]) -> Figure:
    """
    An update's time over each size, and that of its products alone.

    :param cells: the grid
    """
    figure, panels = drawing.column([0.8 * drawing.PANEL] * len(AXES))
    for panel, (axis, name) in zip(panels, AXES.items(), strict=True):
        chosen = along(cells, axis)
        sizes = [cell[axis] for cell in chosen]
        ends: dict[str, float] = {}
        tones: dict[str, str] = {}
        for number, (side, label) in enumerate((("ours", "update"), ("theirs", "its products alone"))):
            panel.plot(
                sizes,
                [cell[side]["processor"] * 1e3 for cell in chosen],
                color=drawing.COLORS[number],
                marker=drawing.MARKERS[number],
                markersize=4,
            )
            ends[label] = chosen[-1][side]["processor"] * 1e3
            tones[label] = drawing.COLORS[number]
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xticks(sizes)
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter(ScalarFormatter())
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter(NullFormatter())
        drawing.name_curves(panel, ends, tones, 0.8 * drawing.PANEL)
        panel.set_title(f"Time over {name}")
        panel.set_ylabel("ms for an update")
    return figure


def write(cells: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """
    Draw and save.

    :param cells: the grid
    :param folder: where to
    """
    with drawing.styled():
        drawing.save(growth(cells), folder / "growth")
