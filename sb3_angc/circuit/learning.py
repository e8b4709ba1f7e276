"""Learning: the one way in which a circuit's weights change."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch as th

from sb3_angc.circuit.circuit import NGCCircuit
from sb3_angc.circuit.rules import OptimizerRule

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
    norms = {circuit: float(joint_norm(its)) for circuit, its in updates.items()}
    check_norms(norms)
    group = optimizer.param_groups[0]
    for parameter in group["params"]:
        parameter.grad = None  # or circuits that learned last time would move once more
    sign = 1.0 if group.get("maximize", False) else -1.0
    limit = math.inf if max_norm is None else max_norm
    for circuit, its in updates.items():
        factor = sign * limit / norms[circuit] if norms[circuit] > limit else sign
        for name, parameter in circuit.prediction_parameters().items():
            parameter.grad = its[name] if factor == 1 else factor * its[name]
    before = {circuit: [s.weight.clone() for s in circuit.synapses_with_feedback] for circuit in updates}
    optimizer.step()
    for circuit, weights in before.items():
        follow(circuit, weights, float(group["lr"]))


def learn_by_rule(
    updates: Mapping[NGCCircuit, Updates],
    rule: OptimizerRule,
    learning_rate: th.Tensor,
    max_norm: float | None = None,
) -> th.Tensor:
    """
    :func:`learn` in operations on tensors alone, so that it can be compiled. Where an update is not finite no
    weight changes, as there, but telling it is left to the caller: :func:`check_norms`.

    :param rule: The optimizer's, of :func:`parameters_of` these circuits
    :param learning_rate: A number. Other parameters as in :func:`learn`
    :return: The norm of each circuit's updates, ``(circuits,)``
    """
    norms = th.stack([joint_norm(its) for its in updates.values()])
    is_finite = norms.isfinite().all()
    rate = th.where(is_finite, learning_rate, 0)
    sign = 1.0 if rule.options["maximize"] else -1.0
    factors = th.full_like(norms, sign) if max_norm is None else sign * (max_norm / norms).clamp(max=1)
    gradients = [
        th.where(is_finite, factor * its[name], 0)
        for factor, (circuit, its) in zip(factors.unbind(), updates.items(), strict=True)
        for name in circuit.prediction_parameters()
    ]
    before = {circuit: [s.weight.clone() for s in circuit.synapses_with_feedback] for circuit in updates}
    rule(parameters_of(updates), gradients, rate)
    for circuit, weights in before.items():
        follow(circuit, weights, rate)
    return norms


def parameters_of(circuits: Iterable[NGCCircuit]) -> list[th.Tensor]:
    """The weights and biases of some circuits, one circuit after the other."""
    return [parameter for circuit in circuits for parameter in circuit.prediction_parameters().values()]


def joint_norm(updates: Updates) -> th.Tensor:
    """The norm of all updates of a circuit together, a number."""
    norms = [th.linalg.vector_norm(update) for update in updates.values()]
    norm: th.Tensor = th.linalg.vector_norm(th.stack(norms))
    return norm


def check_norms(norms: Mapping[NGCCircuit, float]) -> None:
    """
    :param norms: The norm of each circuit's updates
    :raises ValueError: If one is not finite
    """
    for circuit, norm in norms.items():
        if not math.isfinite(norm):
            raise ValueError(f"{circuit.name} diverged: its local updates are not finite")


def follow(circuit: NGCCircuit, before: list[th.Tensor], learning_rate: float | th.Tensor) -> None:
    """
    All that changes after the optimizer has moved weights and biases.

    :param circuit: The circuit
    :param before: Every ``W`` with an ``E`` of its own as it was
    :param learning_rate: The optimizer's
    """
    change_feedback(circuit, before)
    decay(circuit, learning_rate)
    circuit.normalize_weights()
    if circuit.settings.step_rule == "spectral":
        for synapses in circuit.plain_synapses.values():
            synapses.track_norm()


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


def decay(circuit: NGCCircuit, learning_rate: float | th.Tensor) -> None:
    """
    Shrink ``W`` and ``E`` alike, so that what the two do not share dies out (Kolen & Pollack 1994): by the
    learning rate times ``alignment_decay * exp(-learning_time / alignment_time)``.

    :param circuit: The circuit, whose learning time goes on by the learning rate
    :param learning_rate: The optimizer's
    """
    settings = circuit.settings
    if settings.alignment_decay > 0 and circuit.synapses_with_feedback:
        rate = settings.alignment_decay * th.exp(-circuit.learning_time / settings.alignment_time)
        factor = (1 - learning_rate * rate).clamp(min=0)
        for synapses in circuit.synapses_with_feedback:
            synapses.weight.mul_(factor)
            synapses.error_weight.mul_(factor)
        circuit.learning_time.add_(learning_rate)
