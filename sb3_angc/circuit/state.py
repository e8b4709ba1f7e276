"""What a circuit holds between settling on a batch and learning from it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch as th


@dataclass
class CircuitState:
    """
    The layers of a circuit on one batch. The first four lists have one entry for each bundle of
    synapses, from input to output: entry ``i`` of ``activities`` belongs to the layer that
    predicts, entry ``i`` of the others to the layer that is predicted. Each entry is a tensor of
    shape ``(batch, layer size)``.

    :param activities: ``phi(z)`` of the layers that predict; the first is the clamped input
    :param predictions: ``zbar``, what each layer is predicted to be
    :param potentials: ``z`` of the predicted layers; the last is the clamped output
    :param errors: ``e``, the scaled mismatch of a layer and its prediction
    :param energies: Energy ``F`` before settling and after each step, each ``(batch,)``
    """

    activities: list[th.Tensor]
    predictions: list[th.Tensor] = field(default_factory=list)
    potentials: list[th.Tensor] = field(default_factory=list)
    errors: list[th.Tensor] = field(default_factory=list)
    energies: list[th.Tensor] = field(default_factory=list)

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


def total(terms: list[th.Tensor]) -> th.Tensor:
    """Sum of tensors of one shape, in a new one."""
    result = terms[0].clone()
    for term in terms[1:]:
        result += term
    return result
