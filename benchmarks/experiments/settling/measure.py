"""What each rule leaves of the energy, and the products of its steps."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import torch as th
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.experiments.settling import circuits
from benchmarks.experiments.settling.circuits import BASE, SIZES, Condition, make_circuit
from benchmarks.experiments.settling.problem import Potentials, Problem, State
from benchmarks.experiments.settling.rules import RULES, make_settler, momentum
from benchmarks.runner.provenance import provenance
from sb3_angc.circuit import diagnose

STEPS = (1, 2, 3, 5, 10, 20, 50)
MINIMUM_STEPS = 2000


def setup() -> dict[str, Any]:
    """:return: What all cells depend on; results of another setup are measured again"""
    return {
        "sizes": SIZES,
        "batch_size": circuits.BATCH_SIZE,
        "steps": list(STEPS),
        "training_steps": circuits.TRAINING_STEPS,
        "minimum_steps": MINIMUM_STEPS,
        "base": BASE,
        "rules": {name: rule if isinstance(rule, dict) else rule.__name__ for name, rule in RULES.items()},
    }


def run_cell(condition: Condition, seed: int) -> dict[str, Any]:
    """
    Settle one circuit by every rule.

    :return: For each rule the energy above the minimum after each number of ``STEPS``, as a share
        of that at the projection (mean over the batch; ``None`` where it diverged), and the products
        of a step, a product being one of the batch with a 256 x 256 matrix
    """
    circuit = make_circuit(condition, seed)
    th.manual_seed(1000 + seed)
    x = th.randn(circuits.BATCH_SIZE, SIZES[0])
    y = circuit.project(x) + th.randn(circuits.BATCH_SIZE, SIZES[-1])
    clamped = th.ones_like(y)
    if condition.one_output:
        clamped = F.one_hot(th.randint(SIZES[-1], (circuits.BATCH_SIZE,)), SIZES[-1]).float()
    problem = Problem(circuit, x, y, clamped)
    in_double = problem.double()

    start = State(in_double, in_double.project()).energy()
    tied = Problem(in_double.circuit, in_double.x, in_double.y, in_double.clamped)
    tied.feedbacks = tied.weights  # the minimum does not depend on E
    lowest = State(tied, next(islice(momentum(tied), MINIMUM_STEPS - 1, None))).energy()
    energies: dict[str, list[th.Tensor]] = {}
    products = {}
    for rule in RULES:
        energies[rule] = [State(in_double, _settle(rule, problem, steps)).energy() for steps in STEPS]
        for energy in energies[rule]:
            lowest = th.minimum(lowest, th.nan_to_num(energy, nan=th.inf))
        products[rule] = _products(rule, problem)
    rules = {}
    for rule, values in energies.items():
        shares = [float((energy - lowest).mean() / (start - lowest).mean()) for energy in values]
        rules[rule] = {
            "remaining": [share if np.isfinite(share) else None for share in shares],
            "products": products[rule],
        }
    alignment = diagnose(circuit, x, y).feedback_alignment
    return {
        "condition": condition.name,
        "seed": seed,
        "removable": float(((start - lowest) / start).mean()),
        "alignment": alignment,
        "setup": setup(),
        "rules": rules,
        "provenance": provenance(),
    }


def _settle(rule: str, problem: Problem, steps: int) -> Potentials:
    try:
        return [z.double() for z in make_settler(rule, problem, steps)()]
    except ValueError:  # diverged
        return [th.full_like(z, th.nan).double() for z in problem.project()]


def _products(rule: str, problem: Problem) -> float | None:
    """Products of one further step: those of 10 less those of 5, over 5."""
    counts: list[float] = []
    for steps in (5, 10):
        settle = make_settler(rule, problem, steps)
        try:
            with FlopCounterMode(display=False) as counter:
                settle()
        except ValueError:  # diverged
            return None
        counts.append(counter.get_total_flops() / (2 * circuits.BATCH_SIZE * SIZES[1] * SIZES[2]))
    return (counts[1] - counts[0]) / 5
