"""Learning: the one way in which a circuit's weights change."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch as th

from sb3_angc.circuit.circuit import NGCCircuit
from sb3_angc.circuit.rules import Options, Rule, State
from sb3_angc.common.checks import is_number, require

Updates = Mapping[str, th.Tensor]


def learn(
    updates: Mapping[NGCCircuit, Updates],
    optimizer: th.optim.Optimizer,
    max_norm: float = math.inf,
) -> None:
    """
    One learning step of circuits that share an optimizer (for small ones, calling it takes longer than what
    it computes). The optimizer moves weights and biases along their updates; error weights follow
    (:func:`change_feedback`), which is where an optimizer of their own, fed equal updates, would take them.
    (With weight decay it would not: it would shrink ``E`` by itself. :func:`decay` shrinks both.) Last come
    alignment decay and weight norm.

    :param updates: Updates of :meth:`~sb3_angc.circuit.circuit.NGCCircuit.local_updates` by circuit. Other
        circuits of the optimizer do not change.
    :param optimizer: Any torch optimizer over the circuits' parameters, but LBFGS, which asks for a
        closure. With ``maximize=True`` it takes the updates as they are; otherwise it gets a copy with the
        sign turned. Other parameters that it holds do not move, and lose their gradients. Updates of 0 leave
        weights as they are, but for its momentum and weight decay.
    :param max_norm: The updates of each circuit are scaled down so that their joint norm is at most this, in
        the unit of the gradient of half the squared error: updates are about ``pi / (2 beta_e)`` of it
    :raises ValueError: If an update is not finite: the circuit is named, and no weight of any has changed. If
        the optimizer lacks a weight or a bias of a circuit, or its groups of parameters differ in their
        learning rate or in ``maximize``
    """
    require("max_norm", max_norm, is_number(max_norm) and max_norm > 0, "a number above 0")
    factors = scales({circuit: float(joint_norm(its)) for circuit, its in updates.items()}, max_norm)
    group, *others = optimizer.param_groups
    for name in ("lr", "maximize"):
        if any(other.get(name) != group.get(name) for other in others):
            raise ValueError(f"An optimizer is not allowed whose groups of parameters differ in {name!r}")
    held = {parameter for each in optimizer.param_groups for parameter in each["params"]}
    parameters = {circuit: circuit.prediction_parameters() for circuit in updates}
    for circuit, named in parameters.items():
        if not held.issuperset(named.values()):  # they would never learn, without a word
            lacking = ", ".join(name for name, parameter in named.items() if parameter not in held)
            raise ValueError(
                f"optimizer is not allowed: it lacks {lacking} of {circuit.name}. Make it after synapses or "
                "weights were put in the place of others"
            )
    # Or circuits that learned last time would move once more
    for parameter in held:
        parameter.grad = None
    sign = 1.0 if group.get("maximize", False) else -1.0
    for circuit, its in updates.items():
        factor = sign * factors[circuit]
        for name, parameter in parameters[circuit].items():
            parameter.grad = its[name] if factor == 1 else factor * its[name]
    before = {circuit: [s.weight.clone() for s in circuit.synapses_with_feedback] for circuit in updates}
    optimizer.step()
    for circuit, weights in before.items():
        follow(circuit, weights, float(group["lr"]))


def learn_by_rule(
    circuits: Sequence[NGCCircuit],
    updates: Sequence[Updates],
    move: Callable[..., None],
    state: Sequence[State],
    options: Options,
    numbers: th.Tensor,
) -> None:
    """
    :func:`learn` in operations on tensors alone, so that it can be compiled.

    :param circuits: Those that learn
    :param updates: Their updates
    :param move: Of the optimizer's :class:`~sb3_angc.circuit.rules.Rule`
    :param state: What the optimizer keeps of each of :func:`parameters_of` these circuits
    :param options: The optimizer's
    :param numbers: Of :func:`numbers_of`
    """
    states = iter(state)
    for circuit, its, row in zip(circuits, updates, numbers.unbind(), strict=True):
        before = [synapses.weight.clone() for synapses in circuit.synapses_with_feedback]
        for name, parameter in circuit.prediction_parameters().items():
            move(parameter, -row[0] * its[name], next(states), row[2:], options)
        follow(circuit, before, row[1])


def numbers_of(
    factors: Mapping[NGCCircuit, float], rule: Rule, state: Sequence[State], options: Options
) -> list[list[float]]:
    """
    :param factors: Of :func:`scales`. Other parameters as in :func:`learn_by_rule`, with the learning rate
        among the options
    :return: Of each circuit what its updates are scaled by, the learning rate, and the rule's numbers
    """
    rows, first = [], 0
    for circuit, factor in factors.items():
        step = float(state[first].get("step", 0)) + 1
        rows.append([factor, float(options["lr"]), *rule.numbers(options, step)])
        first += len(circuit.prediction_parameters())
    return rows


def parameters_of(circuits: Iterable[NGCCircuit]) -> list[th.Tensor]:
    """The weights and biases of some circuits, one circuit after the other."""
    return [parameter for circuit in circuits for parameter in circuit.prediction_parameters().values()]


def joint_norm(updates: Updates) -> th.Tensor:
    """The norm of all updates of a circuit together, a number."""
    norms = [th.linalg.vector_norm(update) for update in updates.values()]
    norm: th.Tensor = th.linalg.vector_norm(th.stack(norms))
    return norm


def scales(norms: Mapping[NGCCircuit, float], max_norm: float) -> dict[NGCCircuit, float]:
    """
    :param norms: The norm of each circuit's updates
    :param max_norm: As in :func:`learn`
    :return: What each circuit's updates are to be scaled by
    :raises ValueError: If a norm is not finite
    """
    for circuit, norm in norms.items():
        if not math.isfinite(norm):
            raise ValueError(f"{circuit.name} diverged: its local updates are not finite")
    limits = {circuit: max_norm * circuit.settings.output_gain for circuit in norms}
    return {circuit: min(limits[circuit] / norm, 1.0) if norm > 0 else 1.0 for circuit, norm in norms.items()}


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
    circuit.track_norms()


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
    Shrink ``W`` and ``E`` alike, so that what the two do not share shrinks (Kolen & Pollack 1994): by the
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
