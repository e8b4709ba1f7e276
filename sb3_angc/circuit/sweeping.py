"""
Settling by sweeps: errors run inward through all layers, and what changes runs outward again.

This is the fast path of inference. A sweep takes two products with each weight matrix, as many as
backpropagation, and one sweep settles a circuit of which a single output is clamped all the way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch as th

from sb3_angc.circuit.activations import ACTIVATIONS, get_activation
from sb3_angc.circuit.layers import PlainSynapses
from sb3_angc.circuit.settings import CircuitSettings
from sb3_angc.circuit.state import CircuitState, squared_norm, total


class SweptState(CircuitState):
    """
    State of a circuit that settles by sweeps. Learning needs activities and errors alone: potentials
    and predictions are worked out when they are asked for.

    :param activity: Activity of the clamped input, ``(batch, n_in)``
    :param error_gains: What each predicted layer's discrepancy is multiplied by
    """

    output: th.Tensor

    def __init__(self, activity: th.Tensor, error_gains: list[float]) -> None:
        self.activities = [activity]
        self.first_predictions: list[th.Tensor] = []  # before settling
        self.errors = []
        self.energies = []
        # Sum of |e|^2 over the hidden layers, followed along: taken anew it would cost as much as a layer.
        self.hidden_squared_errors: th.Tensor | None = None
        self._error_gains = error_gains
        # How far the potentials of hidden layers but the first, and the output's prediction, have moved:
        # these times ``_gain``, unless that is ``None``.
        self._changes: list[th.Tensor] = []
        self._gain: th.Tensor | None = None

    def move(self, changes: list[th.Tensor], gain: th.Tensor) -> None:
        """
        Move by ``gain * changes``.

        :param changes: Of the potentials of hidden layers but the first, and of the output's prediction;
            the state keeps them and writes to them
        :param gain: How far each sample goes along them, ``(batch, 1)``
        """
        if not self._changes:
            self._changes, self._gain = changes, gain
            return
        for moved, change in zip(self._changes, changes, strict=True):
            if self._gain is not None:
                moved *= self._gain
            moved.addcmul_(gain, change)
        self._gain = None

    def _moved(self, layer: int) -> th.Tensor:
        """Potential of a hidden layer but the first, prediction of the first and of the output."""
        first = self.first_predictions[layer]
        if layer == 0 or not self._changes:  # what the clamped input predicts does not move
            return first
        change = self._changes[layer - 1]
        return first + (change if self._gain is None else self._gain * change)

    @property
    def total_discrepancy(self) -> th.Tensor:
        """Sum over layers of squared errors, ``(batch,)``."""
        squares = squared_norm(self.errors[-1])
        return squares if self.hidden_squared_errors is None else squares.add_(self.hidden_squared_errors)

    @property
    def potentials(self) -> list[th.Tensor]:  # type: ignore[override]
        """``z`` of the predicted layers."""
        hidden = [self._moved(layer) for layer in range(len(self.errors) - 1)]
        if hidden:
            hidden[0] = hidden[0] + self.errors[0] / self._error_gains[0]
        return [*hidden, self.output]

    @property
    def predictions(self) -> list[th.Tensor]:  # type: ignore[override]
        """``zbar``: of a hidden layer, what is left of its potential without its error."""
        last = len(self.errors) - 1
        moved = [self._moved(layer) for layer in range(last + 1)]
        for layer in range(1, last):
            moved[layer] = moved[layer] - self.errors[layer] / self._error_gains[layer]
        return moved


class Sweeping:
    """
    One batch on its way from the projection of its input to the settled state.

    Activities move along the tangent of ``phi`` at the projection, ``phi(z0) + phi'(z0) (z - z0)``,
    so that the energy ``F = beta_e * sum_l |e_l|^2 + gamma_v / 2 * sum_l |z_l|^2`` (the output's
    ``|e|^2`` divided by its precision) is quadratic in the hidden states. A sweep moves all of them at once:

    - inward, the pressure on each layer: ``q_l = phi' * (q_{l+1} E) - gamma_v z_l``, from
      ``q = e`` at the output; a layer's error is to move by ``p_l = q_l - e_l``;
    - outward, what that does to the potentials: ``dz_l = p_l + (phi' * dz_{l-1}) W``;
    - the gain: how far each sample goes along this way, to where its energy is lowest.

    With ``E = W.T``, ``p`` is minus the gradient of ``F`` with respect to the errors, the layers'
    free variables once ``z_l = zbar_l + e_l`` (error optimisation, Goemaere et al. 2025,
    https://arxiv.org/abs/2505.20137); with learned feedback it is so as far as ``E`` is aligned,
    while the gain is right for any ``E``.

    :param synapses: The circuit's synapses, from input to output
    :param settings: The circuit's settings
    :param x: Clamped input, ``(batch, n_in)``
    :param y: Clamped output, ``(batch, n_out)``
    :param clamped: 1 where an output is clamped and 0 where it is free, ``(batch, n_out)``; ``None``
        clamps all
    """

    def __init__(
        self,
        synapses: Sequence[PlainSynapses],
        settings: CircuitSettings,
        x: th.Tensor,
        y: th.Tensor,
        clamped: th.Tensor | None = None,
    ) -> None:
        self.synapses = synapses
        self.settings = settings
        self.clamped = clamped
        self.last = len(synapses) - 1
        self.error_gains = settings.error_gains(len(synapses))

        phi, g = get_activation(settings.activation), get_activation(settings.prediction_activation)
        self.slopes: list[th.Tensor] = []
        self.g_slopes: list[th.Tensor] | None = [] if g != ACTIVATIONS["identity"] else None
        activity = phi.function(x) if settings.activate_input else x
        self.state = state = SweptState(activity, self.error_gains)
        for index, bundle in enumerate(synapses):
            prediction = bundle.predict(state.activities[index])
            if self.g_slopes is not None:
                prediction, slope = g.with_derivative(prediction)
                self.g_slopes.append(slope)
            state.first_predictions.append(prediction)
            if index < self.last:
                activity, slope = phi.with_derivative(prediction)
                self.slopes.append(slope)
                state.activities.append(activity)
        state.output = settings.clamp(y, prediction)
        output_error = state.output - prediction
        if self.error_gains[-1] != 1:
            output_error *= self.error_gains[-1]
        if clamped is not None:
            output_error *= clamped
        # Hidden errors are zero at the projection; views of one zero take no time.
        zero = y.new_zeros(())
        state.errors = [*(zero.expand_as(z) for z in state.first_predictions[: self.last]), output_error]
        state.energies.append(self._energy())

    def run(self) -> CircuitState:
        """Take all inference steps and return the settled state."""
        for _ in range(self.settings.inference_steps or len(self.synapses)):
            if self.last > 0:
                self._sweep(self.drives())
            self.state.energies.append(self._energy())
        return self.state

    # --- the equations ---------------------------------------------------------------------------

    def _energy(self) -> th.Tensor:
        """``F`` of each sample, ``(batch,)``."""
        state = self.state
        energy = squared_norm(state.errors[-1]).div_(2 * self.error_gains[-1])
        if state.hidden_squared_errors is not None:
            energy.add_(state.hidden_squared_errors, alpha=self.settings.error_scale)
        if self.settings.leak > 0 and self.last > 0:
            energy += self.settings.leak / 2 * total([squared_norm(z) for z in state.potentials[:-1]])
        return energy

    def drives(self) -> list[th.Tensor]:
        """Inward: ``p_l = q_l - e_l`` of each hidden layer."""
        state, settings = self.state, self.settings
        potentials = state.potentials if settings.leak > 0 else []
        pressure, moves = state.errors[-1], []
        for hidden in reversed(range(self.last)):
            if self.g_slopes is not None and settings.use_derivatives:
                pressure = pressure * self.g_slopes[hidden + 1]
            pressure = self.synapses[hidden + 1].feed_back(pressure)
            if settings.use_derivatives:
                pressure *= self.slopes[hidden]
            if settings.leak > 0:
                pressure -= settings.leak * potentials[hidden]
            moves.append(
                pressure - state.errors[hidden] if state.hidden_squared_errors is not None else pressure
            )
        return moves[::-1]

    def _sweep(self, moves: list[th.Tensor]) -> None:
        """Outward: ``dz_l = p_l + (phi' * dz_{l-1}) W``; then each sample goes its gain along that way."""
        state = self.state
        has_moved = state.hidden_squared_errors is not None
        potential_changes, activity_changes = [], []
        change = moves[0]
        for hidden in range(self.last):
            potential_changes.append(change)
            activity_changes.append(change * self.slopes[hidden])
            change = self.synapses[hidden + 1].predict_change(activity_changes[hidden])
            if self.g_slopes is not None:
                change *= self.g_slopes[hidden + 1]
            if hidden + 1 < self.last:
                change += moves[hidden + 1]
        output_change = change if self.clamped is None else change * self.clamped

        squared_moves = total([squared_norm(move) for move in moves])
        errors_along = None
        if has_moved:
            errors_along = total([th.linalg.vecdot(e, p) for e, p in zip(state.errors, moves, strict=False)])
        gain = self._gain(squared_moves, errors_along, potential_changes, output_change)
        if th.compiler.is_compiling() or not math.isfinite(gain.sum()):
            lost = ~th.isfinite(gain[:, 0])  # overflow: these samples stay where they are
            for values in (gain, *moves, *potential_changes, *activity_changes, change, output_change):
                values[lost] = 0
            squared_moves[lost] = 0

        for hidden in range(self.last):
            state.activities[hidden + 1].addcmul_(gain, activity_changes[hidden])
        state.errors[-1].addcmul_(gain, output_change, value=-self.error_gains[-1])
        state.move([*potential_changes[1:], change], gain)
        error_gain = self.error_gains[0] * gain
        for hidden, error_change in enumerate(moves):  # last, for it uses up the moves
            error_change *= error_gain
            state.errors[hidden] = state.errors[hidden].add_(error_change) if has_moved else error_change
        self._follow_squared_errors(error_gain.squeeze(1), squared_moves, errors_along)

    def _gain(
        self,
        squared_moves: th.Tensor,
        errors_along: th.Tensor | None,
        potential_changes: list[th.Tensor],
        output_change: th.Tensor,
    ) -> th.Tensor:
        """
        How far each sample goes along its way, ``(batch, 1)``: to where its energy is lowest, and
        nowhere if that lies behind it (learned feedback can point the wrong way); ``nan`` on overflow.
        """
        state, settings = self.state, self.settings
        fall = th.linalg.vecdot(output_change, state.errors[-1])
        if errors_along is not None:
            fall -= errors_along
        curvature = squared_norm(output_change).mul_(self.error_gains[-1])
        curvature.add_(squared_moves, alpha=self.error_gains[0])
        if settings.leak > 0:
            for potential, change in zip(state.potentials, potential_changes, strict=False):
                fall -= settings.leak * th.linalg.vecdot(potential, change)
                curvature += settings.leak * squared_norm(change)
        gain: th.Tensor = fall.div_(curvature.clamp_(min=th.finfo(fall.dtype).tiny)).clamp_(min=0)
        gain += 0 * curvature  # nan where that is infinite
        return gain.mul_(settings.step_size).unsqueeze(1)

    def _follow_squared_errors(
        self, gain: th.Tensor, squared_moves: th.Tensor, errors_along: th.Tensor | None
    ) -> None:
        """``|e + gain p|^2 = |e|^2 + 2 gain e p + gain^2 |p|^2``, summed over the hidden layers."""
        state = self.state
        squared = squared_moves.mul_(gain).mul_(gain)
        if state.hidden_squared_errors is not None and errors_along is not None:
            # Rounding must not take a sum of squares below 0.
            squared += state.hidden_squared_errors.addcmul(gain, errors_along, value=2)
            squared.clamp_(min=0)
        state.hidden_squared_errors = squared
