"""
Rules of settling: the circuit's own settings, and others that it does not offer, written here as plain
reference code: their times are those of plain code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch as th

from benchmarks.experiments.settling.circuits import BASE, SIZES
from benchmarks.experiments.settling.problem import Potentials, Problem, State
from sb3_angc.circuit import NGCCircuit

Rule = Callable[[Problem], Iterator[Potentials]]
NEURONS_BOUND: dict[str, Any] = {"order": "simultaneous", "step_rule": "neuron"}


def search_line(state: State, layer: int) -> None:
    """Move one layer to where the energy is lowest along its drive, on the tangent of ``phi``."""
    change = state.drive(layer)
    effect = (change * state.slope(layer)) @ state.problem.weights[layer + 1].T
    effect = effect * state.problem.clamped if layer + 1 == len(state.potentials) else effect
    fall = (effect * state.error(layer + 1)).sum(1) - (change * state.error(layer)).sum(1)
    curvature = change.square().sum(1) + effect.square().sum(1)
    gain = (fall / curvature.clamp(min=1e-30)).clamp(min=0)
    state.move(layer, gain.unsqueeze(1) * change)


def inward(problem: Problem, move: Callable[[State, int], None]) -> Iterator[Potentials]:
    """One layer after the other from the output, each from fresh errors."""
    state = State(problem, problem.project())
    while True:
        for layer in reversed(range(len(state.potentials))):
            move(state, layer)
        yield list(state.potentials)


def inward_line_search(problem: Problem) -> Iterator[Potentials]:
    """Inward; a layer goes to where the energy is lowest along its drive."""
    return inward(problem, search_line)


def inward_spectral(problem: Problem) -> Iterator[Potentials]:
    """Inward; a layer's step is over 1 + the largest squared singular value of its outgoing weights."""
    bounds = problem.spectral_bounds
    return inward(problem, lambda state, layer: state.move(layer, bounds[layer + 1] * state.drive(layer)))


def own_step(problem: Problem) -> Iterator[Potentials]:
    """Inward; each neuron's step is over 1 + the sum of its squared outgoing weights."""
    bounds = problem.own_bounds
    return inward(problem, lambda state, layer: state.move(layer, bounds[layer + 1] * state.drive(layer)))


def last_solved(problem: Problem) -> Iterator[Potentials]:
    """
    Inward; the last hidden layer is solved for on the tangent of ``phi``, others by line search.
    With ``A = phi' W`` of the clamped outputs, ``z = zbar + (1 + A.T A)^-1 r`` along ``A``, a system
    only as wide as the output. Uses ``W``, whatever the feedback.
    """
    state = State(problem, problem.project())
    last = len(state.potentials) - 1
    identity = th.eye(len(problem.weights[-1]), dtype=problem.x.dtype)
    while True:
        own = state.error(last)
        gated = problem.weights[-1] * state.slope(last).unsqueeze(1) * problem.clamped.unsqueeze(2)
        right = state.error(last + 1) + (gated @ own.unsqueeze(2)).squeeze(2)
        solved = th.linalg.solve(identity + gated @ gated.transpose(1, 2), right)
        state.move(last, (solved.unsqueeze(1) @ gated).squeeze(1) - own)
        for layer in reversed(range(last)):
            search_line(state, layer)
        yield list(state.potentials)


def momentum(problem: Problem) -> Iterator[Potentials]:
    """Simultaneous and spectral with Nesterov's momentum of 0.9, dropped in samples that turn back."""
    potentials = problem.project()
    velocities = [th.zeros_like(z) for z in potentials]
    while True:
        ahead = State(problem, [z + 0.9 * v for z, v in zip(potentials, velocities, strict=True)])
        drives = [ahead.drive(layer) for layer in range(len(potentials))]
        along = th.stack([(d * v).sum(1) for d, v in zip(drives, velocities, strict=True)]).sum(0)
        keep = 0.9 * (along >= 0).to(along.dtype).unsqueeze(1)
        velocities = [keep * v + problem.bound * drive for v, drive in zip(velocities, drives, strict=True)]
        potentials = [z + v for z, v in zip(potentials, velocities, strict=True)]
        yield potentials


def from_another_sample(problem: Problem) -> Iterator[Potentials]:
    """
    Simultaneous, each neuron's bound, from where the sample before this one settled in five steps: what a
    circuit starts from that keeps its state from one batch of replayed samples to the next.
    """
    settled = _circuit(problem, NEURONS_BOUND, steps=5).settle(problem.x, problem.y, problem.clamped)
    sizes = settled.step_sizes
    potentials = [z.roll(1, dims=0) for z in settled.potentials]
    while True:
        state = State(problem, potentials)
        drives = [state.drive(layer) for layer in range(len(potentials))]
        potentials = [z + size * drive for z, size, drive in zip(potentials, sizes, drives, strict=True)]
        yield potentials


# Settings of the circuit, or a rule of this module.
RULES: dict[str, dict[str, Any] | Rule] = {
    "sweep, line search (default)": {"order": "sweep", "step_rule": "line_search"},
    "inward, line search": inward_line_search,
    "inward, last layer solved": last_solved,
    "inward, spectral": inward_spectral,
    "inward, each neuron's own": own_step,
    "simultaneous, spectral": {"order": "simultaneous", "step_rule": "spectral"},
    "simultaneous, each neuron's bound": NEURONS_BOUND,
    "the same, from another sample's state": from_another_sample,
    "simultaneous, momentum": momentum,
    "simultaneous, fixed at 0.1": {"order": "simultaneous", "step_rule": "fixed", "step_size": 0.1},
}


def make_settler(rule: str, problem: Problem, steps: int) -> Callable[[], Potentials]:
    """:return: A call that settles for a number of steps and gives the hidden potentials"""
    definition = RULES[rule]
    if callable(definition):
        reference = definition
        return lambda: next(islice(reference(problem), steps - 1, None))
    circuit = _circuit(problem, definition, steps)
    clamped = None if bool(problem.clamped.all()) else problem.clamped
    return lambda: circuit.settle(problem.x, problem.y, clamped).potentials


def _circuit(problem: Problem, definition: dict[str, Any], steps: int) -> NGCCircuit:
    """The problem's circuit with the settings of a rule."""
    settings = {**BASE, **definition, "inference_steps": steps}
    circuit = NGCCircuit(SIZES, feedback=problem.circuit.settings.feedback, **settings).to(problem.x.dtype)
    circuit.load_state_dict(problem.circuit.state_dict())
    return circuit
