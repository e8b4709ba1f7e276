"""The circuits that settle, and what is clamped in each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch as th

from sb3_angc.circuit import NGCCircuit, learn

SIZES = [8, 256, 256, 4]
BATCH_SIZE = 128
TRAINING_STEPS = 2000
# The energy that is judged, whatever the defaults are.
BASE: dict[str, Any] = {"activation": "relu", "leak": 0.0, "error_scale": 0.5, "output_precision": 1.0}


@dataclass(frozen=True)
class Condition:
    """
    A circuit and what is clamped.

    :param trained: Whether the circuit has learned from a teacher network
    :param scale: Factor of all weights, ``E`` included
    :param feedback: As the circuit's setting
    :param one_output: Whether a single output is clamped, as in a controller
    """

    trained: bool
    scale: float
    feedback: str = "tied"
    one_output: bool = False

    @property
    def name(self) -> str:
        """The name of the raw results."""
        parts = ["trained" if self.trained else "untrained", f"{self.scale:g}", self.feedback]
        return "-".join([*parts, "one" if self.one_output else "all"])

    @property
    def title(self) -> str:
        """The name for readers."""
        title = f"{'trained' if self.trained else 'untrained'}, weights x {self.scale:g}"
        if self.feedback == "learned":
            title += ", learned E"
        return title + (", one output" if self.one_output else "")


CONDITIONS = (
    *(Condition(trained, scale) for trained, scale in product((False, True), (0.5, 1.0, 2.0))),
    Condition(True, 1.0, "learned"),
    Condition(True, 1.0, "tied", one_output=True),
    Condition(True, 1.0, "learned", one_output=True),
)


def make_circuit(condition: Condition, seed: int) -> NGCCircuit:
    """:return: The circuit, trained with the preset ``settled`` if at all, weights scaled"""
    th.manual_seed(seed)
    circuit = NGCCircuit(SIZES, feedback=condition.feedback, **BASE)
    if condition.trained:
        target = _teacher(seed)
        optimizer = th.optim.Adam(circuit.parameters(), lr=1e-3)
        schedule = th.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, TRAINING_STEPS)
        for _ in range(TRAINING_STEPS):
            x = th.randn(BATCH_SIZE, SIZES[0])
            learn({circuit: circuit.local_updates(circuit.settle(x, target(x)))}, optimizer)
            schedule.step()
    for matrix in circuit.matrices():
        matrix.mul_(condition.scale)
    return circuit


def _teacher(seed: int) -> Callable[[th.Tensor], th.Tensor]:
    """A random network of two hidden layers of 32 tanh units, outputs of deviation about 1."""
    generator = th.Generator().manual_seed(seed)
    weights = [
        th.randn(n_in, n_out, generator=generator) * (1.5 / n_in**0.5)
        for n_in, n_out in ((SIZES[0], 32), (32, 32), (32, SIZES[-1]))
    ]
    return lambda x: th.tanh(th.tanh(x @ weights[0]) @ weights[1]) @ weights[2]
