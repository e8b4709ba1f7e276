"""The measurements as tables and a figure."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.experiments.settling import circuits, measure
from benchmarks.experiments.settling.circuits import CONDITIONS, SIZES, Condition
from benchmarks.experiments.settling.rules import RULES
from benchmarks.report import drawing

# Conditions of the table and of the figure, and rules that are drawn in color. Raw results have all.
TABLED = (CONDITIONS[1], CONDITIONS[4], CONDITIONS[5], CONDITIONS[8])
DRAWN = CONDITIONS[3:6]
NAMED = (
    "sweep, line search (default)",
    "inward, line search",
    "inward, last layer solved",
    "inward, spectral",
    "simultaneous, spectral",
    "simultaneous, each neuron's bound",
    "simultaneous, fixed at 0.1",
)
SHOWN = (0.8e-4, 3.0)

Cells = dict[tuple[Condition, int], dict[str, Any]]


def remaining(cells: Cells, condition: Condition, rule: str) -> list[float | None]:
    """:return: For each of ``STEPS`` the mean over seeds; ``None`` where a seed diverged"""
    lists = [cell["rules"][rule]["remaining"] for (which, _), cell in cells.items() if which == condition]
    return [None if None in values else float(np.mean(values)) for values in zip(*lists, strict=True)]


def products(cells: Cells, rule: str) -> float:
    """:return: The median over all cells of what a step costs"""
    values = [cell["rules"][rule]["products"] for cell in cells.values()]
    return float(np.median([value for value in values if value is not None]))


def report(cells: Cells) -> str:
    """:return: Tables in Markdown"""
    seeds = sorted({seed for _, seed in cells})
    hardware = {cell["provenance"]["hardware"]["processor"] for cell in cells.values()}
    shown = (1, 5, 20)
    lines = [
        f"Circuits of {SIZES} relu units, batches of {circuits.BATCH_SIZE}, targets of deviation 1 around "
        f"the projection, mean over seeds {seeds}; trained ones by {circuits.TRAINING_STEPS} steps of Adam "
        f"on a teacher network. One thread of {', '.join(sorted(hardware))}. "
        "Command: `python -m benchmarks settling`.",
        "",
        f"Energy above the minimum after {', '.join(map(str, shown[:-1]))} and {shown[-1]} steps, in % of "
        "that at the projection. A product is one of the batch with a 256 x 256 matrix.",
        "",
    ]
    header = ["rule", "products a step", *(condition.title for condition in TABLED)]
    lines += ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for rule in RULES:
        row = [rule, f"{products(cells, rule):.2f}"]
        for condition in TABLED:
            shares = dict(zip(measure.STEPS, remaining(cells, condition, rule), strict=True))
            row.append(" / ".join(_percent(shares[steps]) for steps in shown))
        lines.append("| " + " | ".join(row) + " |")
    removable, alignment = (
        ["share of the energy that can be removed", ""],
        ["cosine of W and E.T", ""],
    )
    for condition in TABLED:
        own = [cell for (which, _), cell in cells.items() if which == condition]
        removable.append(f"{100 * np.mean([cell['removable'] for cell in own]):.0f} %")
        cosines = [[c for c in cell["alignment"] if c is not None] for cell in own]
        alignment.append(" / ".join(f"{c:.3f}" for c in np.mean(cosines, axis=0)) if cosines[0] else "tied")
    lines += ["| " + " | ".join(row) + " |" for row in (removable, alignment)]
    return "\n".join(lines) + "\n"


def _percent(share: float | None) -> str:
    if share is None:
        return "diverged"
    if share > 10:
        return "> 1000"
    return f"{100 * share:.0f}" if share >= 0.1 else f"{100 * share:.1f}"


def draw(cells: Cells) -> Figure:
    """:return: What is left of the energy over the products spent"""
    figure, panels = drawing.column([1.2 * drawing.PANEL] * len(DRAWN))
    for panel, condition in zip(panels, DRAWN, strict=True):
        ends: dict[str, float] = {}
        tones: dict[str, str] = {}
        for rule in RULES:
            shares = [np.nan if share is None else share for share in remaining(cells, condition, rule)]
            spent = np.array(measure.STEPS) * products(cells, rule)
            left = np.clip(shares, 1e-4, None)
            is_named = rule in NAMED
            tone = drawing.COLORS[NAMED.index(rule)] if is_named else drawing.TEXT
            width = 1.5 if is_named else 0.8
            panel.plot(spent, left, color=tone, marker="o", markersize=2 * width, linewidth=width)
            if is_named:
                ends[rule], tones[rule] = left[np.isfinite(left)][-1], tone
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_ylim(*SHOWN)
        drawing.name_curves(panel, ends, tones, 1.2 * drawing.PANEL)
        panel.set_title(condition.title[0].upper() + condition.title[1:])
        panel.set_ylabel("energy left")
    panels[-1].set_xlabel("products of the batch with a 256 x 256 matrix")
    return figure
