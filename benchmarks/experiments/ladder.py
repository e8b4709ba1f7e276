"""
The ladder from the papers' equations to the presets that learn: one change at a time, and each taken back
alone from ``ngc``.

Deep regression without reinforcement learning, where every layer can be looked at: test error, cosine of
the updates with the gradient and of ``W`` with ``E.T``, energy left, activity left.
``python -m benchmarks ladder`` runs what is missing and prints the table; raw results are kept one file for
each cell. The same rungs with returns instead are ``benchmarks/studies/ladder.yml``.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from matplotlib import style
from matplotlib.figure import Figure

from benchmarks.experiments.regression import BATCH_SIZE, LEARNING_RATE, friedman
from benchmarks.report import figures, pages
from benchmarks.runner.errors import Parser
from benchmarks.runner.provenance import ROOT, RUNS
from benchmarks.runner.results import kept_or_measured
from benchmarks.runner.study import slug
from sb3_angc.circuit import NGCCircuit, diagnose, learn
from sb3_angc.circuit.inference import settle
from sb3_angc.circuit.settings import PRESETS, make_settings

STEPS = 1000
# Numbers of settling steps that `ngc` is tried with beside its own
SETTLING_STEPS = (1, 2, 3, 20)
# What `paper` is tried with where the papers are silent: the step, the start and the scale of the weights
SILENT: dict[str, dict[str, Any]] = {
    "beta 0.3": {"step_size": 0.3},
    "beta 1": {"step_size": 1.0},
    "weights of norm 8": {"weight_norm": 8.0},
    "start at the projection": {"initial_state": "projection"},
    "start at the projection, beta 0.3": {"initial_state": "projection", "step_size": 0.3},
    "start at the projection, weights of norm 8": {"initial_state": "projection", "weight_norm": 8.0},
}
HIDDEN = [128, 128, 128]
FOLDER = ROOT / "benchmarks" / "results" / "ladder"
Changes = dict[str, Any]

# What leads from `paper` to `ngc` ...
NGC = PRESETS["ngc"]
TO_NGC: dict[str, Changes] = {
    "identity at the input": {"activate_input": False},
    "biases": {"bias": True},
    "no norms": {"weight_norm": None, "normalize_updates": False},
    "start at the projection": {"initial_state": "projection"},
    "error on the potential": {"error_on": "potential"},
    "phi'": {"use_derivatives": True},
    "a bound on the step": {"step_rule": NGC.step_rule, "step_size": NGC.step_size},
    "small initial weights": {"init_scale": NGC.init_scale},
    "five steps": {"inference_steps": NGC.inference_steps},
    "no leak": {"leak": 0.0},
    "gamma_e 1": {"feedback_rate": 1.0},
    "no modulation": {"modulation": False},
}
# ... and from there to `settled`
TO_SETTLED: dict[str, Changes] = {
    "a mirror phase": {"mirror_patterns": PRESETS["settled"].mirror_patterns},
    "output precision 0.1": {"output_precision": PRESETS["settled"].output_precision},
    "He's initial weights": {"init_scale": PRESETS["settled"].init_scale},
    "one sweep with a line search": {"order": "sweep", "step_rule": "line_search", "inference_steps": 1},
}


def rungs() -> dict[str, tuple[str, Changes]]:
    """:return: By label, the preset to start from and what is changed in it"""
    ladder: dict[str, tuple[str, Changes]] = {"paper": ("paper", {})}
    changes: Changes = {}
    for name, change in TO_NGC.items():
        changes = {**changes, **change}
        ladder[f"+ {name}"] = ("paper", changes)
    changes = {}
    for name, change in TO_SETTLED.items():
        changes = {**changes, **change}
        ladder[f"+ {name}"] = ("ngc", changes)
    paper = PRESETS["paper"].as_dict()
    for name, change in TO_NGC.items():
        back = {setting: paper[setting] for setting in change}
        if back.get("weight_norm") is not None:
            back["init_scale"] = 1.0  # a norm takes no other
        ladder[f"ngc without: {name}"] = ("ngc", back)
    return ladder


def circuits() -> dict[str, tuple[str, Changes]]:
    """
    :return: The rungs, ``ngc`` with other numbers of settling steps and ``paper`` with other values of what
        the papers do not give, as :func:`rungs`
    """
    steps = {f"ngc, steps: {n}": ("ngc", {"inference_steps": n}) for n in SETTLING_STEPS}
    silent = {f"paper, {name}": ("paper", changes) for name, changes in SILENT.items()}
    return {**rungs(), **steps, **silent}


def setup(label: str) -> dict[str, Any]:
    """:return: What a rung's results depend on; results of another setup are measured again"""
    preset, changes = circuits()[label]
    circuit = make_settings(preset, **changes).as_dict()
    return {"steps": STEPS, "batch_size": BATCH_SIZE, "hidden": HIDDEN, "circuit": circuit}


def run_cell(label: str, seed: int) -> dict[str, Any]:
    """
    Train one rung on Friedman's function.

    :return: Test error relative to the variance of the targets (``None``: diverged), of what the circuit is
        read out by; cosines of the updates with the gradient and of ``W`` with ``E.T`` by layer, the mean of
        ten batches over training; the share of the energy left by settling, at the end; and each hidden
        layer's root mean square activity, settled with a free output, at the end and relative to the start
    """
    x, y, x_test, y_test = friedman(seed)
    th.manual_seed(seed)
    preset, changes = circuits()[label]
    circuit = NGCCircuit([x.shape[1], *HIDDEN, y.shape[1]], preset, **changes)
    optimizer = th.optim.Adam(circuit.parameters(), lr=LEARNING_RATE)
    schedule = th.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    batches = th.Generator().manual_seed(seed)
    before = activity(circuit, x_test)
    cosines, alignments, left = [], [], float("nan")
    result: dict[str, Any] = {"label": label, "seed": seed, "setup": setup(label)}
    try:
        for step in range(STEPS):
            indices = th.randint(len(x), (BATCH_SIZE,), generator=batches)
            if step % (STEPS // 10) == STEPS // 20:
                figures = diagnose(circuit, x[indices], y[indices], with_gradient=True)
                cosines.append(figures.gradient_cosine)
                alignments.append([value or 0.0 for value in figures.feedback_alignment[1:]])
                left = figures.energy_by_step[-1] / figures.energy_by_step[0]
            learn({circuit: circuit.local_updates(circuit.settle(x[indices], y[indices]))}, optimizer)
            schedule.step()
    except ValueError:  # it diverged
        return {**result, "test_error": None}
    error = float((circuit.infer(x_test) - y_test).square().mean() / y_test.var())
    after = activity(circuit, x_test)
    return {
        **result,
        "test_error": error,
        "cosines": np.mean(np.array(cosines, dtype=float), axis=0).tolist(),
        "alignments": np.mean(np.array(alignments, dtype=float), axis=0).tolist(),
        "energy_left": left,
        "activity": after,
        "activity_kept": [end / max(start, 1e-12) for start, end in zip(before, after, strict=True)],
    }


def activity(circuit: NGCCircuit, x: th.Tensor) -> list[float]:
    """:return: Root mean square activity of each hidden layer, settled with the output free"""
    free = x.new_zeros(len(x), circuit.layer_sizes[-1])
    state = settle(circuit.bundles, circuit.settings, x, free, free)
    return [float(values.square().mean().sqrt()) for values in state.activities[1:]]


def main(arguments: list[str]) -> int:
    """Run the missing cells and print the table."""
    parser = Parser(prog="python -m benchmarks ladder", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--output", type=Path, default=RUNS / "ladder", help="raw results (default: runs/ladder)"
    )
    options = parser.parse_args(arguments)
    th.set_num_threads(1)
    cells = {}
    for seed, label in product(options.seeds, circuits()):
        path = options.output / f"{slug(label)}--{seed}.json"
        cells[label, seed] = kept_or_measured(path, setup(label), partial(run_cell, label, seed))
    table = report(cells, options.seeds)
    (options.output / "README.md").write_text(table, encoding="utf-8")
    if options.output.resolve() == FOLDER:
        pages.fill(pages.DOCS / "ladder.md", {"ladder": table})
    with style.context(["default", figures.STYLE]):
        figures.save(draw(cells, options.seeds), options.output / "ladder")
    print(table)
    return 0


def report(cells: dict[tuple[str, int], dict[str, Any]], seeds: list[int]) -> str:
    """:return: A row for each rung, in Markdown"""
    lines = [
        f"Friedman's function, mean over seeds {seeds}; {HIDDEN} relu units, Adam, learning rate "
        f"{LEARNING_RATE} falling to 0, {STEPS} steps of {BATCH_SIZE}. "
        f"Command: `python -m benchmarks ladder --seeds {' '.join(map(str, seeds))}`. "
        "Lists run from the input to the output; cosines are means over training, "
        "activities root mean squares of hidden layers, settled with the output free.",
        "",
        "| circuit | test error | cosine with the gradient | cosine of W and E.T | energy left "
        "| activity at the end |",
        "|---|--:|---|---|--:|---|",
    ]
    for label in circuits():
        results = [cells[label, seed] for seed in seeds]
        done = [result for result in results if result["test_error"] is not None]
        if not done:
            lines.append(f"| {label} | diverged | | | | |")
            continue
        error = f"{np.mean([result['test_error'] for result in done]):.3f}"
        if len(done) < len(results):
            error += f" ({len(results) - len(done)} of {len(results)} diverged)"
        cosine, alignment, active = (
            " / ".join(f"{value:.2f}" for value in np.mean([result[key] for result in done], axis=0))
            for key in ("cosines", "alignments", "activity")
        )
        left = f"{100 * np.mean([result['energy_left'] for result in done]):.0f} %"
        lines.append(f"| {label} | {error} | {cosine} | {alignment} | {left} | {active} |")
    return "\n".join(lines) + "\n"


def draw(cells: dict[tuple[str, int], dict[str, Any]], seeds: list[int]) -> Figure:
    """:return: Test error, and cosine with the gradient by layer, of each rung from top to bottom"""
    labels = list(circuits())
    layers = len(HIDDEN) + 1
    figure = Figure(figsize=(figures.WIDTH, 0.24 * len(labels) + 1), layout="constrained")
    errors, cosines = figure.subplots(1, 2, sharey=True)
    for row, label in enumerate(labels):
        results = [cells[label, seed] for seed in seeds]
        done = [result for result in results if result["test_error"] is not None]
        # Seeds, and layers, a little below each other: none hides another.
        places = row + np.linspace(-0.2, 0.2, len(done)) * (len(done) > 1)
        for result, place in zip(done, places, strict=True):
            errors.plot(result["test_error"], place, "o", color=figures.COLORS[0], markersize=3)
        means = np.mean([result["cosines"] for result in done], axis=0) if done else []
        for layer, cosine in enumerate(means):
            name = f"layer {layer + 1}" if row == 0 else None
            place = row + 0.5 * (layer + 0.5) / layers - 0.25
            look = {"color": figures.COLORS[layer], "markersize": 3.5, "linestyle": "", "label": name}
            cosines.plot(cosine, place, figures.MARKERS[layer], **look)
    figures.label_rows(errors, [label.replace("ngc without:", "without") for label in labels])
    errors.tick_params(axis="y", labelsize=9)
    for panel in (errors, cosines):
        panel.grid(axis="y", visible=True)
    errors.set_xscale("log")
    errors.set_xlabel("test error / variance")
    cosines.set_xlabel("cosine with\nminus the gradient")
    figure.legend(loc="outside upper center", ncols=layers, fontsize=9, handletextpad=0, columnspacing=1)
    return figure
