"""What a circuit holds while it settles on a batch, and until it has learned from it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch as th


@dataclass(frozen=True)
class CircuitState:
    """
    The layers of a circuit on one batch, from input to output; each entry of a list is a tensor of shape
    ``(batch, layer size)``.

    :param activities: ``phi(z)`` of the layers that predict: the clamped input, then the hidden layers. After
        sweeps, its value on the tangent at the projection
    :param potentials: ``z`` of the hidden layers
    :param errors: ``e`` of the layers that are predicted, hidden layers and output: the scaled mismatch with
        the prediction
    :param slopes: ``phi'(z)`` of the hidden layers before settling: sweeps move activities along this tangent
    :param output: What the output is clamped at
    :param clamped: 1 where an output is clamped, 0 where it is free, ``(batch, n_out)``; ``None``: all
        are clamped
    :param step_sizes: ``beta`` of each hidden layer, of :func:`~sb3_angc.circuit.inference.step_sizes`
    :param at_projection: Whether every hidden layer is what it is predicted to be: its errors are zero
    :param energies: Energy ``F`` before settling and after each step, each ``(batch,)``
    """

    activities: list[th.Tensor]
    potentials: list[th.Tensor]
    errors: list[th.Tensor]
    slopes: list[th.Tensor]
    output: th.Tensor
    clamped: th.Tensor | None
    step_sizes: list[float | th.Tensor]
    at_projection: bool
    energies: list[th.Tensor]

    @property
    def total_discrepancy(self) -> th.Tensor:
        """Sum over layers of squared errors, ``(batch,)``."""
        return total([squared_norm(error) for error in self.errors])

    @property
    def settled_downhill(self) -> bool:
        """Whether no step raised the energy of any sample, rounding aside."""
        energies = th.stack(self.energies)
        tolerance = 16 * th.finfo(energies.dtype).eps
        return bool((energies[1:] <= energies[:-1] * (1 + tolerance)).all())


def squared_norm(rows: th.Tensor) -> th.Tensor:
    """Squared Euclidean norm of each row, ``(batch, n)`` to ``(batch,)``."""
    squares: th.Tensor = th.linalg.vecdot(rows, rows)
    return squares


def total(terms: Sequence[th.Tensor]) -> th.Tensor:
    """Sum of tensors of one shape."""
    return functools.reduce(th.add, terms)
