"""One rung, on deep regression without reinforcement learning, where every layer can be looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th

from benchmarks.experiments.ladder.rungs import circuits, settings_of
from benchmarks.experiments.regression import BATCH_SIZE, LEARNING_RATE, friedman
from sb3_angc.circuit import NGCCircuit, diagnose, learn
from sb3_angc.circuit.inference import settle

STEPS = 1000
HIDDEN = [128, 128, 128]


def setup(label: str) -> dict[str, Any]:
    """:return: What a rung's results depend on; results of another setup are measured again"""
    circuit = settings_of(label).as_dict()
    return {"steps": STEPS, "batch_size": BATCH_SIZE, "hidden": HIDDEN, "circuit": circuit}


def run_cell(label: str, seed: int) -> dict[str, Any]:
    """
    Train one rung on Friedman's function.

    :return: Test error relative to the variance of the targets (``None``: diverged), of what the circuit is
        read out by; cosines of the updates with the gradient and of ``W`` with ``E.T`` by layer, the mean of
        ten batches over training; the share of the energy left by settling, at the end; and each hidden
        layer's root mean square activity, settled with a free output, at the end
    """
    x, y, x_test, y_test = friedman(seed)
    th.manual_seed(seed)
    preset, changes = circuits()[label]
    circuit = NGCCircuit([x.shape[1], *HIDDEN, y.shape[1]], preset, **changes)
    optimizer = th.optim.Adam(circuit.parameters(), lr=LEARNING_RATE)
    schedule = th.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    batches = th.Generator().manual_seed(seed)
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
    return {
        **result,
        "test_error": error,
        "cosines": np.mean(np.array(cosines, dtype=float), axis=0).tolist(),
        "alignments": np.mean(np.array(alignments, dtype=float), axis=0).tolist(),
        "energy_left": left,
        "activity": activity(circuit, x_test),
    }


def activity(circuit: NGCCircuit, x: th.Tensor) -> list[float]:
    """:return: Root mean square activity of each hidden layer, settled with the output free"""
    free = x.new_zeros(len(x), circuit.layer_sizes[-1])
    state = settle(circuit.bundles, circuit.settings, x, free, free)
    return [float(values.square().mean().sqrt()) for values in state.activities[1:]]
