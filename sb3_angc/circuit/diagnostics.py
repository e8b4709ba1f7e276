"""What a circuit is doing, layer by layer, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch as th
from torch.nn import functional as F

from sb3_angc.circuit.circuit import NGCCircuit
from sb3_angc.circuit.inference import initial_state, pressures
from sb3_angc.circuit.layers import Bundle, synapses_by_name
from sb3_angc.circuit.settings import CircuitSettings
from sb3_angc.circuit.state import CircuitState


@dataclass(frozen=True)
class CircuitDiagnostics:
    """
    Figures of one settled batch. Lists run from the first hidden layer, or the bundle of synapses
    that predicts it, to the output; ``None`` stands where a figure does not exist.

    :param energy: Each layer's share of the energy, ``beta_e |e|^2`` (divided by the
        precision at the output), mean over the batch
    :param error_norm: Norm of each layer's errors, mean over the batch
    :param feedback_alignment: Cosine of ``W`` and ``E.T``; ``None`` for the first bundle, whose
        errors nothing receives, and where feedback is tied
    :param gradient_cosine: Cosine of each weight's update with minus the gradient of half the
        squared output error, by autograd; ``None`` unless asked for
    :param dead_units: Share of each hidden layer's units inactive on the whole batch
    :param settling_residual: Norm of what still drives each hidden layer, mean over the batch,
        relative to the largest of all layers before settling: 0 at equilibrium
    :param energy_by_step: Energy before settling and after each step, mean over the batch
    """

    energy: list[float]
    error_norm: list[float]
    feedback_alignment: list[float | None]
    gradient_cosine: list[float | None]
    dead_units: list[float]
    settling_residual: list[float]
    energy_by_step: list[float]


def diagnose(
    circuit: NGCCircuit,
    x: th.Tensor,
    y: th.Tensor,
    clamped: th.Tensor | None = None,
    with_gradient: bool = False,
) -> CircuitDiagnostics:
    """
    Settle a circuit on a batch and measure it; nothing is learned, nothing in the circuit changes.

    :param circuit: The circuit
    :param x: Input, ``(batch, n_in)``
    :param y: Output to clamp, ``(batch, n_out)``
    :param clamped: 1 where an output is clamped, 0 where it is free; ``None`` clamps all
    :param with_gradient: Whether to compare the updates with the true gradient. This alone uses
        autograd, outside training.
    :return: The figures
    """
    settings, bundles = circuit.settings, circuit.bundles
    start = initial_state(bundles, settings, x, y, clamped)
    state = circuit.settle(x, y, clamped)
    at_start = [_mean_norm(pressure) for pressure in pressures(bundles, settings, start)]
    residual = [_mean_norm(pressure) for pressure in pressures(bundles, settings, state)]
    largest = max(at_start, default=0.0)  # at the projection, the last hidden layer alone is driven
    return CircuitDiagnostics(
        energy=layer_energies(settings, state),
        error_norm=[_mean_norm(error) for error in state.errors],
        feedback_alignment=[alignment(bundle) for bundle in bundles],
        gradient_cosine=(
            _gradient_cosines(circuit, state, x, y, clamped) if with_gradient else [None] * len(bundles)
        ),
        dead_units=[float((a == 0).all(dim=0).float().mean()) for a in state.activities[1:]],
        settling_residual=[norm / largest if largest > 0 else 0.0 for norm in residual],
        energy_by_step=[float(energy.mean()) for energy in state.energies],
    )


def layer_energies(settings: CircuitSettings, state: CircuitState) -> list[float]:
    """
    :param settings: Of the circuit
    :param state: Of the circuit
    :return: ``beta_e |e|^2`` of each layer that is predicted, divided by the precision at the output, mean
        over the batch
    """
    gains = [settings.hidden_gain] * len(state.potentials) + [settings.output_gain]
    return [
        float(error.square().sum(1).mean()) / (2 * gain)
        for error, gain in zip(state.errors, gains, strict=True)
    ]


def _mean_norm(rows: th.Tensor) -> float:
    return float(rows.norm(dim=1).mean())


def _cosine(first: list[th.Tensor], second: list[th.Tensor]) -> float:
    one, other = (th.cat([tensor.flatten() for tensor in tensors]) for tensors in (first, second))
    return float(F.cosine_similarity(one, other, dim=0))


def alignment(bundle: Bundle) -> float | None:
    """
    :param bundle: Synapses between two layers
    :return: Cosine of ``W`` and ``E.T``; ``None`` where feedback is tied
    """
    parts = synapses_by_name(bundle).values()
    if any(part.feedback is None for part in parts):
        return None
    return _cosine([part.weight for part in parts], [part.error_weight for part in parts])


def _gradient_cosines(
    circuit: NGCCircuit, state: CircuitState, x: th.Tensor, y: th.Tensor, clamped: th.Tensor | None
) -> list[float | None]:
    weights = {
        name: value.detach().clone().requires_grad_()
        for name, value in circuit.prediction_parameters().items()
        if name.endswith("weight")
    }
    with th.enable_grad():
        prediction = th.func.functional_call(circuit, weights, (x,))
        error = (y - prediction) if clamped is None else (y - prediction) * clamped
        gradients = th.autograd.grad(0.5 * error.square().sum(1).mean(), list(weights.values()))
    updates = circuit.local_updates(state)
    gradient_of = dict(zip(weights, gradients, strict=True))
    cosines: list[float | None] = []
    for index in range(len(circuit.bundles)):
        names = [name for name in weights if name.startswith(f"synapses.{index}.")]
        cosines.append(-_cosine([updates[name] for name in names], [gradient_of[name] for name in names]))
    return cosines
