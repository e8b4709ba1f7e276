"""
Inference: how the hidden layers of a circuit settle between a clamped input and a clamped output.

:func:`settle` starts from :func:`initial_state` and takes steps of one kind, chosen by the setting
``order``: :func:`sweep`, :func:`step_simultaneously` or :func:`step_on_schedule`. A step takes a state and
returns the next; nothing else changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch as th

from sb3_angc.circuit.activations import get_activation
from sb3_angc.circuit.layers import Bundle
from sb3_angc.circuit.settings import CircuitSettings
from sb3_angc.circuit.state import CircuitState, squared_norm, total

Tensors = list[th.Tensor]


class Change(NamedTuple):
    """
    How a circuit's state changes along a sweep, for a gain of 1.

    :ivar potentials: ``dz`` of the hidden layers
    :ivar activities: ``phi' dz`` of the hidden layers
    :ivar mismatches: ``dz - dzbar`` of hidden layers and output; errors change by these times their gains
    """

    potentials: Tensors
    activities: Tensors
    mismatches: Tensors


def settle(
    bundles: Sequence[Bundle],
    settings: CircuitSettings,
    x: th.Tensor,
    y: th.Tensor,
    clamped: th.Tensor | None = None,
) -> CircuitState:
    """
    Let a circuit settle for ``inference_steps`` steps.

    :param bundles: The circuit's synapses, from input to output
    :param settings: The circuit's settings
    :param x: Clamped input, ``(batch, n_in)``
    :param y: Clamped output, ``(batch, n_out)``
    :param clamped: 1 where an output is clamped and 0 where it is left free, ``(batch, n_out)``;
        ``None`` clamps all
    :return: The settled state, with the energy before and after each step
    """
    state = initial_state(bundles, settings, x, y, clamped)
    for number in range(settings.inference_steps or len(bundles)):
        state = STEPS[settings.order](bundles, settings, state, number)
        state.energies.append(energy(settings, state))
    return state


def initial_state(
    bundles: Sequence[Bundle],
    settings: CircuitSettings,
    x: th.Tensor,
    y: th.Tensor,
    clamped: th.Tensor | None = None,
) -> CircuitState:
    """
    The state before settling: hidden layers are what they are predicted to be, ``z_l = phi(z_{l-1}) W + b``,
    or zero (the setting ``initial_state``); input and output are clamped. Parameters as in :func:`settle`.
    """
    phi = get_activation(settings.activation)
    activities = [phi.function(x) if settings.activate_input else x]
    predictions: Tensors = []
    potentials: Tensors = []
    slopes: Tensors = []
    starts_at_zero = settings.initial_state == "zeros"
    for bundle in bundles[:-1]:
        predictions.append(bundle.predict(activities[-1]))
        potentials.append(th.zeros_like(predictions[-1]) if starts_at_zero else predictions[-1])
        activities.append(phi.function(potentials[-1]))
        slopes.append(phi.derivative(potentials[-1]))
    predictions.append(bundles[-1].predict(activities[-1]))
    output = settings.clamp(y, predictions[-1])
    errors = layer_errors(settings, activities, potentials, output, predictions, clamped)
    at_projection = settings.initial_state == "projection" and settings.error_on == "potential"
    sizes = step_sizes(bundles, settings)
    state = CircuitState(activities, potentials, errors, slopes, output, clamped, sizes, at_projection, [])
    state.energies.append(energy(settings, state))
    return state


def layer_errors(
    settings: CircuitSettings,
    activities: Tensors,
    potentials: Tensors,
    output: th.Tensor,
    predictions: Tensors,
    clamped: th.Tensor | None,
) -> Tensors:
    """
    ``e = (z - zbar) / (2 beta_e)`` of each hidden layer, or ``(phi(z) - zbar) / (2 beta_e)`` with errors on
    the activity, and ``e = pi (y - zbar) / (2 beta_e)`` of the output, 0 where it is free.

    :param predictions: ``zbar``, of hidden layers and output. Other parameters and the result as in
        :class:`~sb3_angc.circuit.state.CircuitState`
    """
    values = activities[1:] if settings.error_on == "activity" else potentials
    *predicted, predicted_output = predictions
    hidden = [times(settings.hidden_gain, v - zbar) for v, zbar in zip(values, predicted, strict=True)]
    at_output = times(settings.output_gain, output - predicted_output)
    return [*hidden, at_output if clamped is None else at_output * clamped]


def energy(settings: CircuitSettings, state: CircuitState) -> th.Tensor:
    """
    ``F = beta_e sum_l |e_l|^2 + gamma_v / 2 sum_l |z_l|^2`` of each sample, ``(batch,)``; the output's
    ``|e|^2`` is divided by its precision, and the second sum is over hidden layers.
    """
    *hidden, output = state.errors
    terms = [squared_norm(output) / (2 * settings.output_gain)]
    if hidden and not state.at_projection:
        terms.append(total([squared_norm(error) for error in hidden]) / (2 * settings.hidden_gain))
    if settings.leak > 0:
        terms += [settings.leak / 2 * squared_norm(potential) for potential in state.potentials]
    return total(terms)


def pressures(bundles: Sequence[Bundle], settings: CircuitSettings, state: CircuitState) -> Tensors:
    """What moves each hidden layer at the next step; all are zero where a circuit has settled."""
    if settings.order == "sweep":
        return inward(bundles, settings, state)
    return [pressure(bundles, settings, state, hidden) for hidden in range(len(bundles) - 1)]


# --- sweeps --------------------------------------------------------------------------------------


def sweep(
    bundles: Sequence[Bundle], settings: CircuitSettings, state: CircuitState, number: int
) -> CircuitState:
    """
    Move all hidden layers at once, after the errors have run inward through all of them.

    Activities move along the tangent of ``phi`` at the projection, ``phi(z0) + phi'(z0) (z - z0)``, so that
    the energy is quadratic in the hidden states. A sweep takes two products with each weight matrix, as
    many as backpropagation: :func:`inward`, the errors; :func:`outward`, what changes; then each sample
    goes as far along this way as :func:`line_search` says.

    With ``E = W.T`` the way is minus the gradient of ``F`` with respect to the errors, the free variables
    of the layers once ``z_l = zbar_l + e_l`` (error optimisation, Goemaere et al. 2025,
    https://arxiv.org/abs/2505.20137); with learned feedback it is so as far as ``E`` is aligned.
    """
    if len(bundles) == 1:  # no hidden layers
        return state
    change = outward(bundles, state, inward(bundles, settings, state))
    gain = line_search(settings, state, change)
    if th.compiler.is_compiling() or not math.isfinite(gain.sum()):
        # Where numbers overflow, a sample stays where it is.
        overflows = ~th.isfinite(gain)
        gain = gain.masked_fill(overflows, 0)
        change = Change(*([part.masked_fill(overflows, 0) for part in parts] for parts in change))
    x, *activities = state.activities
    gains = [settings.hidden_gain] * len(activities) + [settings.output_gain]
    return replace(
        state,
        at_projection=False,
        activities=[x, *_moved(activities, gain, change.activities)],
        potentials=_moved(state.potentials, gain, change.potentials),
        errors=[
            th.addcmul(error, gain, mismatch, value=error_gain)
            for error, mismatch, error_gain in zip(state.errors, change.mismatches, gains, strict=True)
        ],
    )


def inward(bundles: Sequence[Bundle], settings: CircuitSettings, state: CircuitState) -> Tensors:
    """
    The pressure on each hidden layer, from the output inward: ``q_l = phi' * (q_{l+1} E) - gamma_v z_l``,
    beginning with ``q = e`` at the output.

    :return: ``p_l = q_l - e_l``, by which the potentials are to move away from their predictions
    """
    arriving = state.errors[-1]
    moves = []
    for hidden in reversed(range(len(bundles) - 1)):
        arriving = bundles[hidden + 1].feed_back(arriving)
        if settings.use_derivatives:
            arriving = arriving * state.slopes[hidden]
        if settings.leak > 0:
            arriving = arriving - settings.leak * state.potentials[hidden]
        moves.append(arriving if state.at_projection else arriving - state.errors[hidden])
    return moves[::-1]


def outward(bundles: Sequence[Bundle], state: CircuitState, moves: Tensors) -> Change:
    """
    What the moves of :func:`inward` do to all layers, from the input outward:
    ``dz_l = p_l + dzbar_l`` with ``dzbar_l = (phi' * dz_{l-1}) W``. A hidden layer's mismatch changes by
    ``p_l``, that of the output by ``-dzbar`` where it is clamped.
    """
    potentials = [moves[0]]  # what the clamped input predicts does not change
    activities: Tensors = []
    for hidden, bundle in enumerate(bundles[1:]):
        activities.append(potentials[hidden] * state.slopes[hidden])
        dzbar = bundle.predict_change(activities[hidden])
        if hidden + 1 < len(moves):
            potentials.append(moves[hidden + 1] + dzbar)
    at_output = -dzbar if state.clamped is None else -dzbar * state.clamped
    return Change(potentials, activities, [*moves, at_output])


def line_search(settings: CircuitSettings, state: CircuitState, change: Change) -> th.Tensor:
    """
    How far each sample goes along a change: ``step_size`` times the gain at which its energy is lowest,
    ``-F' / F''``. ``F`` is a parabola in the gain, whatever ``E`` is; where its minimum lies behind (learned
    feedback can point the wrong way) the gain is 0.

    :return: ``(batch, 1)``; not finite where numbers overflow
    """
    slopes = [th.linalg.vecdot(state.errors[-1], change.mismatches[-1])]
    if not state.at_projection:
        slopes += [th.linalg.vecdot(e, d) for e, d in zip(state.errors[:-1], change.mismatches, strict=False)]
    *hidden, output = (squared_norm(mismatch) for mismatch in change.mismatches)
    curvatures = [times(settings.hidden_gain, total(hidden)), settings.output_gain * output]
    if settings.leak > 0:
        for potential, dz in zip(state.potentials, change.potentials, strict=True):
            slopes.append(settings.leak * th.linalg.vecdot(potential, dz))
            curvatures.append(settings.leak * squared_norm(dz))
    slope, curvature = total(slopes), total(curvatures)
    lowest = (slope / curvature.clamp(min=th.finfo(slope.dtype).tiny)).clamp(max=0)
    # A number divided by infinity would pass for 0: 0 times infinity is not a number.
    return th.add(-settings.step_size * lowest, curvature, alpha=0).unsqueeze(1)


def times(factor: float, values: th.Tensor) -> th.Tensor:
    """A product with a setting, left out where that is 1: of small tensors it takes as long as any other."""
    return values if factor == 1 else factor * values


def _moved(values: Tensors, gain: th.Tensor, changes: Tensors) -> Tensors:
    return [th.addcmul(value, gain, change) for value, change in zip(values, changes, strict=True)]


# --- steps that know of neighbours alone -----------------------------------------------------------


def step_sizes(bundles: Sequence[Bundle], settings: CircuitSettings) -> list[float | th.Tensor]:
    """
    ``beta`` of each hidden layer, a number, or one of each neuron, ``(1, layer size)``. With the step rules
    "spectral" and "neuron" it is ``step_size`` over a bound on the energy's curvature that takes no more
    than the synapses into and out of a layer.

    **Derivation.** Potentials that move by ``v`` change the energy's curvature by one term for each bundle,
    ``1 / (2 beta_e) |v_l - (phi' v_{l-1}) W_l|^2``, with ``|phi'| <= 1``. By Cauchy and Schwarz each falls
    apart into terms of single layers, or of single neurons. With ``sigma`` the largest singular value of
    ``W``, and with ``r_i = sum_k |W_ki|``, what arrives at neuron ``i`` if all before it send 1:

        ``(|v_l| + sigma |v_{l-1}|)^2      <= (1 + sigma) |v_l|^2 + sigma (1 + sigma) |v_{l-1}|^2``
        ``(|v_i| + sum_k |W_ki| |v_k|)^2   <= (1 + r_i) v_i^2     + (1 + r_i) sum_k |W_ki| v_k^2``

    So a layer has ``h_l = (1 + sigma_l) + sigma_{l+1} (1 + sigma_{l+1})`` and a neuron
    ``h_k = (1 + r_k) + sum_i |W_ki| (1 + r_i)``, times ``1 / (2 beta_e)``, plus the leak. The first term is
    1 in the first hidden layer, whose prediction does not move; the 1 of the second is 0, and all of it
    multiplied by ``pi``, before the output, which does not move. ``diag(h)`` minus the Hessian has no
    negative eigenvalue, so that with ``E = W.T`` steps up to twice ``1 / h`` lower the energy (of activations
    that are piecewise linear, between two kinks). ``sigma`` is an estimate from below, by power iteration:
    with "spectral" that holds for steps somewhat shorter than twice ``1 / h``.
    """
    beta = settings.step_size
    if settings.step_rule not in ("spectral", "neuron"):
        return [beta] * (len(bundles) - 1)
    sizes: list[float | th.Tensor] = []
    predicted: float | th.Tensor = 1.0
    for layer, bundle in enumerate(bundles[1:], start=1):
        last = layer == len(bundles) - 1
        moves = 0.0 if last else 1.0
        own = predicted
        if settings.step_rule == "neuron":
            predicted = moves + bundle.incoming()
            caused = bundle.outgoing(predicted)
        else:
            sigma = bundle.squared_spectral_norm().sqrt()
            predicted = moves + sigma
            caused = sigma * predicted
        gain = settings.output_gain if last else settings.hidden_gain
        sizes.append(beta / (settings.hidden_gain * own + gain * caused + settings.leak))
    return sizes


def step_simultaneously(
    bundles: Sequence[Bundle], settings: CircuitSettings, state: CircuitState, number: int
) -> CircuitState:
    """
    Move all hidden layers at once, ``z_l <- z_l + beta d_l`` with the :func:`pressure` ``d_l`` and the
    ``beta`` of :func:`step_sizes`, then predict anew (Ororbia & Kifer 2022,
    https://arxiv.org/abs/2012.03405). A layer hears of its neighbours alone: news travel one layer a step.
    """
    if len(bundles) == 1:  # no hidden layers
        return state
    phi = get_activation(settings.activation).function
    moves = pressures(bundles, settings, state)
    potentials = [z + beta * d for z, beta, d in zip(state.potentials, state.step_sizes, moves, strict=True)]
    activities = [state.activities[0], *(phi(z) for z in potentials)]
    # What the clamped input predicts does not change: it is what the first error was measured from.
    first = state.activities[1] if settings.error_on == "activity" else state.potentials[0]
    predictions = [first - state.errors[0] / settings.hidden_gain]
    predictions += [bundle.predict(a) for bundle, a in zip(bundles[1:], activities[1:], strict=True)]
    errors = layer_errors(settings, activities, potentials, state.output, predictions, state.clamped)
    return replace(state, activities=activities, potentials=potentials, errors=errors, at_projection=False)


def step_on_schedule(
    bundles: Sequence[Bundle], settings: CircuitSettings, state: CircuitState, number: int
) -> CircuitState:
    """
    Move one layer, the ``number``-th from the output, ``z <- z + beta d`` with the :func:`pressure` ``d``.
    Predictions and presynaptic activities stay as they were at the start, so that each synapse learns from
    its error at the step at which it arrives (Song et al. 2020,
    https://proceedings.neurips.cc/paper/2020/hash/fec87a37cdeec1c6ecf8181c0aa2d3bf-Abstract.html).
    """
    hidden = len(bundles) - 2 - number
    if hidden < 0:
        return state
    potentials, errors = list(state.potentials), list(state.errors)
    move = settings.step_size * pressure(bundles, settings, state, hidden)
    potentials[hidden] = potentials[hidden] + move
    if settings.error_on == "activity":
        phi = get_activation(settings.activation).function
        move = phi(potentials[hidden]) - phi(state.potentials[hidden])
    errors[hidden] = errors[hidden] + settings.hidden_gain * move
    return replace(state, potentials=potentials, errors=errors, at_projection=False)


def pressure(
    bundles: Sequence[Bundle], settings: CircuitSettings, state: CircuitState, hidden: int
) -> th.Tensor:
    """
    What a hidden layer's own error and that of the layer it predicts tell it:
    ``d = -e_l + phi'(z_l) * (e_{l+1} E) - gamma_v z_l``, or with errors on the activity
    ``d = phi'(z_l) * (e_{l+1} E - e_l) - gamma_v z_l``. With ``E = W.T`` and derivatives that is ``-dF/dz``.

    :param hidden: The layer's place, 0 next to the input
    :return: ``(batch, layer size)``
    """
    slope: th.Tensor | float = 1.0
    if settings.use_derivatives:
        slope = get_activation(settings.activation).derivative(state.potentials[hidden])
    returning = bundles[hidden + 1].feed_back(state.errors[hidden + 1])
    if settings.error_on == "activity":
        d = slope * (returning - state.errors[hidden])
    else:
        d = slope * returning - state.errors[hidden]
    return d - settings.leak * state.potentials[hidden] if settings.leak > 0 else d


Step = Callable[[Sequence[Bundle], CircuitSettings, CircuitState, int], CircuitState]
STEPS: dict[str, Step] = {
    "sweep": sweep,
    "simultaneous": step_simultaneously,
    "scheduled": step_on_schedule,
}
