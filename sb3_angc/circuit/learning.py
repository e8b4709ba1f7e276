"""Learning: the one way in which a circuit's weights change."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch as th

from sb3_angc.circuit.circuit import NGCCircuit

Updates = Mapping[str, th.Tensor]


def learn(
    updates: Mapping[NGCCircuit, Updates],
    optimizer: th.optim.Optimizer,
    max_norm: float | None = None,
) -> None:
    """
    One learning step of circuits that share an optimizer (for small ones, calling it takes longer than what
    it computes). The optimizer moves weights and biases along their updates; error weights follow
    (:func:`change_feedback`), which is where an optimizer of their own, fed equal updates, would take them;
    last come alignment decay (:func:`decay`) and weight norm.

    :param updates: Updates of :meth:`~sb3_angc.circuit.circuit.NGCCircuit.local_updates` by circuit. Other
        circuits of the optimizer do not change.
    :param optimizer: Any torch optimizer over the circuits' parameters. With ``maximize=True`` it takes
        the updates as they are; otherwise it gets a copy with the sign turned.
    :param max_norm: The updates of each circuit are scaled down so that their joint norm is at most this;
        ``None`` or ``inf``: no limit
    :raises ValueError: If an update is not finite: the circuit is named, and no weight of any has changed
    """
    scales = {circuit: clip_scale(circuit, its, max_norm) for circuit, its in updates.items()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None  # or circuits that learned last time would move once more
    sign = 1.0 if optimizer.param_groups[0].get("maximize", False) else -1.0
    for circuit, its in updates.items():
        factor = sign * scales[circuit]
        for name, parameter in circuit.prediction_parameters().items():
            parameter.grad = its[name] if factor == 1 else factor * its[name]
    before = {circuit: [s.weight.clone() for s in circuit.synapses_with_feedback] for circuit in updates}
    optimizer.step()
    for circuit, weights in before.items():
        change_feedback(circuit, weights)
        decay(circuit, float(optimizer.param_groups[0]["lr"]))
        circuit.normalize_weights()
        if circuit.settings.step_rule == "spectral":
            for synapses in circuit.plain_synapses.values():
                synapses.track_norm()


def clip_scale(circuit: NGCCircuit, updates: Updates, max_norm: float | None) -> float:
    """
    :return: What a circuit's updates are to be scaled by so that their joint norm is at most ``max_norm``
    :raises ValueError: If an update is not finite
    """
    norm = float(th.stack(th._foreach_norm(list(updates.values()))).norm())
    if not math.isfinite(norm):
        raise ValueError(f"{circuit.name} diverged: its local updates are not finite")
    return 1.0 if max_norm is None or norm <= max_norm else max_norm / norm


def change_feedback(circuit: NGCCircuit, before: list[th.Tensor]) -> None:
    """
    ``dE = gamma_e dW.T * M_E``, with the change of ``W`` that the optimizer made (``E`` is stored beside
    ``W``: no transpose). Synapses with tied feedback have no ``E``.

    :param circuit: The circuit, whose ``W`` has changed
    :param before: Every ``W`` with an ``E`` of its own as it was
    """
    rate = circuit.settings.feedback_rate
    for synapses, old in zip(circuit.synapses_with_feedback, before, strict=True):
        change = synapses.weight - old
        if circuit.settings.modulation:
            change = change * synapses.modulation()[1]
        synapses.error_weight.add_(change, alpha=rate)


def decay(circuit: NGCCircuit, learning_rate: float) -> None:
    """
    Shrink ``W`` and ``E`` alike, so that what the two do not share dies out (Kolen & Pollack 1994): by the
    learning rate times ``alignment_decay * exp(-learning_time / alignment_time)``.

    :param circuit: The circuit, whose learning time goes on by the learning rate
    :param learning_rate: The optimizer's
    """
    settings = circuit.settings
    if settings.alignment_decay > 0 and circuit.synapses_with_feedback:
        rate = settings.alignment_decay * math.exp(-float(circuit.learning_time) / settings.alignment_time)
        factor = max(1 - learning_rate * rate, 0.0)
        for synapses in circuit.synapses_with_feedback:
            synapses.weight.mul_(factor)
            synapses.error_weight.mul_(factor)
        circuit.learning_time += learning_rate
