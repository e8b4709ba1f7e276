"""The learning step: updates of one or several circuits move their weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch as th

if TYPE_CHECKING:
    from sb3_angc.circuit.circuit import NGCCircuit


def learn(
    updates: Mapping[NGCCircuit, Mapping[str, th.Tensor]],
    optimizer: th.optim.Optimizer,
    max_norm: float | None = None,
) -> None:
    """
    One learning step of several circuits by one call of their common optimizer: for small circuits
    the call takes longer than what it computes. Each circuit learns as in
    :meth:`~sb3_angc.circuit.circuit.NGCCircuit.step`.

    :param updates: Updates of ``local_updates`` by circuit. Other circuits of the optimizer do not change.
    :param optimizer: Any torch optimizer over the circuits' parameters. With ``maximize=True`` it takes
        the updates as they are; otherwise it gets a copy with the sign turned.
    :param max_norm: The updates of weights and biases are scaled down so that their joint norm in
        each circuit is at most this; ``None`` or ``inf``: no limit
    :raises ValueError: If an update is not finite: the circuit is named, and no weight of any has changed
    """
    steps = {
        circuit: [of_circuit[name] for name in circuit.prediction_parameters()]
        for circuit, of_circuit in updates.items()
    }
    scales = _scales(steps, max_norm)
    optimizer.zero_grad()  # or it would move circuits that learned last time once more
    sign = 1.0 if optimizer.param_groups[0].get("maximize", False) else -1.0
    for circuit, of_circuit in steps.items():
        scale = sign * scales[circuit]
        gradients = of_circuit if scale == 1 else th._foreach_mul(of_circuit, scale)
        for parameter, gradient in zip(circuit.prediction_parameters().values(), gradients, strict=True):
            parameter.grad = gradient  # an optimizer that minimises steps against the gradient

    with contextlib.ExitStack() as changes:
        for circuit in steps:
            changes.enter_context(circuit.weight_change(float(optimizer.param_groups[0]["lr"])))
        optimizer.step()


def _scales(steps: Mapping[NGCCircuit, list[th.Tensor]], max_norm: float | None) -> dict[NGCCircuit, float]:
    """What each circuit's updates are scaled by so that their norm is at most ``max_norm``."""
    all_steps = [update for of_circuit in steps.values() for update in of_circuit]
    norms = iter(th.stack(th._foreach_norm(all_steps)).tolist())
    scales = {}
    for circuit, of_circuit in steps.items():
        norm = math.hypot(*(next(norms) for _ in of_circuit))
        if not math.isfinite(norm):
            raise ValueError(f"{circuit.name} diverged: its local updates are not finite")
        scales[circuit] = 1.0 if max_norm is None or norm <= max_norm else max_norm / norm
    return scales
