"""A clamped circuit in plain tensors, its energy, and what drives its hidden layers."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field

import torch as th
from torch.nn import functional as F

from benchmarks.experiments.settling.circuits import SIZES
from sb3_angc.circuit import NGCCircuit

Potentials = list[th.Tensor]


@dataclass
class Problem:
    """
    A circuit of relu units clamped to a batch, in plain tensors.

    :param circuit: The circuit
    :param x: Clamped input, ``(batch, n_in)``
    :param y: Clamped output, ``(batch, n_out)``
    :param clamped: 1 where an output is clamped, 0 where it is free, ``(batch, n_out)``
    """

    circuit: NGCCircuit
    x: th.Tensor
    y: th.Tensor
    clamped: th.Tensor
    weights: list[th.Tensor] = field(init=False)
    feedbacks: list[th.Tensor] = field(init=False)

    def __post_init__(self) -> None:
        # The circuit's bound on its largest singular values gets better with every update: here it had some.
        for bundle in self.circuit.bundles:
            for _ in range(50):
                bundle.track_norm()
        self.weights = [bundle.weight.detach() for bundle in self.circuit.bundles]
        self.feedbacks = [bundle.error_weight.detach() for bundle in self.circuit.bundles]
        norms = [float(th.linalg.matrix_norm(weight, 2)) for weight in self.weights]
        self.bound = 1 / (1 + max(norms[1:])) ** 2  # over the largest curvature of all layers together
        self.spectral_bounds = [1 / (1 + norm**2) for norm in norms]
        self.own_bounds = [1 / (1 + weight.square().sum(0)) for weight in self.weights]

    def double(self) -> Problem:
        """The same in float64."""
        circuit = NGCCircuit(SIZES, feedback=self.circuit.settings.feedback).double()
        circuit.load_state_dict(self.circuit.state_dict())
        return Problem(circuit, self.x.double(), self.y.double(), self.clamped.double())

    def predict(self, layer: int, potentials: Potentials) -> th.Tensor:
        """What a layer is predicted to be, by the layer before it or the input."""
        activity = self.x if layer == 0 else th.relu(potentials[layer - 1])
        return F.linear(activity, self.weights[layer], self.circuit.bundles[layer].bias)

    def project(self) -> Potentials:
        """The hidden layers at the projection of the input."""
        potentials: Potentials = []
        for layer in range(len(self.weights) - 1):
            potentials.append(self.predict(layer, potentials))
        return potentials


class State:
    """
    Hidden layers and their predictions; no product is taken twice. Every rule is judged by this
    energy, ``F = 0.5 sum_l |z_l - phi(z_{l-1}) W_l - b_l|^2``.

    :param problem: The circuit and what is clamped
    :param potentials: The hidden layers
    """

    def __init__(self, problem: Problem, potentials: Potentials) -> None:
        self.problem = problem
        self.potentials = list(potentials)
        self.predictions = [problem.predict(layer, potentials) for layer in range(len(problem.weights))]

    def error(self, layer: int) -> th.Tensor:
        """A layer's mismatch with its prediction."""
        if layer == len(self.potentials):
            return (self.problem.y - self.predictions[layer]) * self.problem.clamped
        return self.potentials[layer] - self.predictions[layer]

    def slope(self, layer: int) -> th.Tensor:
        """``phi'(z)``"""
        return (self.potentials[layer] > 0).to(self.potentials[layer].dtype)

    def energy(self, layers: Iterable[int] | None = None) -> th.Tensor:
        """``F`` of each sample, ``(batch,)``, or the terms of some layers."""
        errors = [self.error(layer) for layer in layers or range(len(self.predictions))]
        return 0.5 * th.stack([error.square().sum(1) for error in errors]).sum(0)

    def drive(self, layer: int) -> th.Tensor:
        """The pressure on a hidden layer, ``phi'(z) * (e_next E) - e``."""
        returning = self.error(layer + 1) @ self.problem.feedbacks[layer + 1]
        return returning * self.slope(layer) - self.error(layer)

    def move(self, layer: int, change: th.Tensor) -> None:
        """Move a layer in the samples whose energy does not rise by it."""
        moved = copy(self)
        moved.potentials, moved.predictions = list(self.potentials), list(self.predictions)
        moved.potentials[layer] = self.potentials[layer] + change
        moved.predictions[layer + 1] = self.problem.predict(layer + 1, moved.potentials)
        terms = (layer, layer + 1)
        falls = (moved.energy(terms) <= self.energy(terms)).unsqueeze(1)
        for new, old, index in (
            (moved.potentials, self.potentials, layer),
            (moved.predictions, self.predictions, layer + 1),
        ):
            old[index] = th.where(falls, new[index], old[index])
