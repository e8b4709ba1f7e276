"""Inference: how the hidden layers of a circuit settle between a clamped input and output."""

from __future__ import annotations

from collections.abc import Sequence

import torch as th

from sb3_angc.circuit.activations import get_activation
from sb3_angc.circuit.layers import PlainSynapses
from sb3_angc.circuit.settings import CircuitSettings
from sb3_angc.circuit.state import CircuitState, squared_norm, total


class Settling:
    """
    One batch on its way from the initial state to the settled one.

    The energy of a sample is ``F = beta_e * sum_l |e_l|^2 + gamma_v / 2 * sum_l |z_l|^2``, with the
    output's ``|e|^2`` divided by its precision. With tied feedback, derivatives and ``g`` the identity,
    the drive of a layer is ``-dF/dz``; with learned feedback it approaches that as ``E`` aligns.

    :param synapses: The circuit's synapses, from input to output
    :param settings: The circuit's settings
    :param x: Clamped input, ``(batch, n_in)``
    :param y: Clamped output, ``(batch, n_out)``
    :param clamped: 1 where an output is clamped and 0 where it is free (a free output has no
        error), ``(batch, n_out)``; ``None`` clamps all
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
        self.phi = get_activation(settings.activation)
        self.g = get_activation(settings.prediction_activation)
        self.error_gains = settings.error_gains(len(synapses))
        self.clamped = clamped
        self.last = len(synapses) - 1

        self.state = state = CircuitState([self.phi.function(x) if settings.activate_input else x])
        for index, bundle in enumerate(synapses):
            prediction = self.g.function(bundle.predict(state.activities[index]))
            state.predictions.append(prediction)
            if index == self.last:
                state.potentials.append(settings.clamp(y, prediction))
            else:
                starts_projected = settings.initial_state == "projection"
                state.potentials.append(prediction if starts_projected else th.zeros_like(prediction))
                state.activities.append(self.phi.function(state.potentials[index]))
            state.errors.append(self._error(index))
        self.layer_energies = [self._layer_energy(index) for index in range(len(synapses))]
        state.energies.append(self._energy())

    def run(self) -> CircuitState:
        """Take all inference steps and return the settled state."""
        for step in range(self.settings.inference_steps or len(self.synapses)):
            if self.settings.order == "inward":
                self._step_inward()
            elif self.settings.order == "simultaneous":
                self._step_simultaneously()
            else:
                self._step_scheduled(self.last - 1 - step)
            self.state.energies.append(self._energy())
        return self.state

    # --- the equations ---------------------------------------------------------------------------

    def _error(self, index: int) -> th.Tensor:
        """``e = (phi(z) - zbar) / (2 beta_e)``, or ``(z - zbar) / (2 beta_e)``, by ``pi`` at the output."""
        state = self.state
        on_activity = self.settings.error_on == "activity" and index < self.last
        value = state.activities[index + 1] if on_activity else state.potentials[index]
        error = value - state.predictions[index]
        if self.error_gains[index] != 1:
            error *= self.error_gains[index]
        if index == self.last and self.clamped is not None:
            error *= self.clamped
        return error

    def _layer_energy(self, index: int) -> th.Tensor:
        """``beta_e |e|^2``, divided by ``pi`` at the output, ``(batch,)``."""
        return squared_norm(self.state.errors[index]) / (2 * self.error_gains[index])

    def _energy(self) -> th.Tensor:
        """``F`` of each sample, ``(batch,)``."""
        energy = total(self.layer_energies)
        if self.settings.leak > 0:
            for potential in self.state.potentials[: self.last]:
                energy += self.settings.leak / 2 * squared_norm(potential)
        return energy

    def slope(self, hidden: int) -> th.Tensor | None:
        """``phi'(z)`` of a hidden layer; ``None`` stands for 1 where derivatives are left out."""
        if not self.settings.use_derivatives:
            return None
        return self.phi.derivative(self.state.potentials[hidden])

    def drive(self, hidden: int, slope: th.Tensor | None) -> th.Tensor:
        """``d = -e_l + phi'(z) * (e_below E) - gamma_v z``, the pressure on a hidden layer."""
        state = self.state
        drive = self.synapses[hidden + 1].feed_back(state.errors[hidden + 1])
        if self.settings.error_on == "activity":
            drive -= state.errors[hidden]
            if slope is not None:
                drive *= slope
        else:
            if slope is not None:
                drive *= slope
            drive -= state.errors[hidden]
        if self.settings.leak > 0:
            drive -= self.settings.leak * state.potentials[hidden]
        return drive

    def drives(self) -> list[th.Tensor]:
        """The pressure on each hidden layer."""
        return [self.drive(hidden, self.slope(hidden)) for hidden in range(self.last)]

    # --- steps -----------------------------------------------------------------------------------

    def _step_inward(self) -> None:
        """Gauss-Seidel: from the layer next to the output towards the input, fresh errors each."""
        for hidden in reversed(range(self.last)):
            slope = self.slope(hidden)
            drive = self.drive(hidden, slope)
            gain = self._gain(hidden, drive, slope)
            self._move(hidden, drive * gain)

    def _step_simultaneously(self) -> None:
        """All layers from the same errors, as the papers write it."""
        state = self.state
        gain = self._simultaneous_gain()
        for hidden, drive in enumerate(self.drives()):
            state.potentials[hidden] = state.potentials[hidden] + gain * drive
            state.activities[hidden + 1] = self.phi.function(state.potentials[hidden])
            prediction = self.synapses[hidden + 1].predict(state.activities[hidden + 1])
            state.predictions[hidden + 1] = self.g.function(prediction)
        for index in range(len(self.synapses)):
            state.errors[index] = self._error(index)
            self.layer_energies[index] = self._layer_energy(index)

    def _step_scheduled(self, hidden: int) -> None:
        """
        Move one layer; predictions and presynaptic activities stay as they were at the start, so
        that each synapse learns from its error at the step at which it arrives (Song et al. 2020,
        https://proceedings.neurips.cc/paper/2020/hash/fec87a37cdeec1c6ecf8181c0aa2d3bf-Abstract.html).
        """
        if hidden < 0:
            return
        state = self.state
        drive = self.drive(hidden, self.slope(hidden))
        state.potentials[hidden] = state.potentials[hidden] + self.settings.step_size * drive
        state.errors[hidden] = self._error(hidden)
        self.layer_energies[hidden] = self._layer_energy(hidden)

    def _gain(self, hidden: int, drive: th.Tensor, slope: th.Tensor | None) -> th.Tensor | float:
        """How far a layer moves along its drive: a number, or one for each sample, ``(batch, 1)``."""
        settings = self.settings
        if settings.step_rule == "fixed":
            return settings.step_size
        if settings.step_rule == "spectral":
            largest = self.synapses[hidden + 1].squared_spectral_norm()
            bound = self.error_gains[hidden] + self.error_gains[hidden + 1] * largest
            return settings.step_size / (bound + settings.leak)
        # The minimum of F along the drive, if phi were linear there. F depends on this layer
        # through its own error, which changes by `own`, and through that of the layer it predicts,
        # which changes by `-below`.
        state = self.state
        change = drive if slope is None else drive * slope
        own = change if settings.error_on == "activity" else drive
        below = self.synapses[hidden + 1].predict_change(change)
        if hidden + 1 == self.last and self.clamped is not None:
            below *= self.clamped
        fall = th.linalg.vecdot(below, state.errors[hidden + 1]) - th.linalg.vecdot(own, state.errors[hidden])
        curvature = self.error_gains[hidden] * squared_norm(own)
        curvature += self.error_gains[hidden + 1] * squared_norm(below)
        if settings.leak > 0:
            fall -= settings.leak * th.linalg.vecdot(drive, state.potentials[hidden])
            curvature += settings.leak * squared_norm(drive)
        tiny = th.finfo(fall.dtype).tiny
        gain: th.Tensor = (settings.step_size * fall / curvature.clamp(min=tiny)).clamp(min=0)
        return gain.unsqueeze(1)

    def _simultaneous_gain(self) -> th.Tensor | float:
        """As ``_gain``, for all layers at once: the curvature is at most ``(1 + sigma)^2``."""
        settings = self.settings
        if settings.step_rule == "fixed" or self.last == 0:
            return settings.step_size
        largest = th.stack([bundle.squared_spectral_norm() for bundle in self.synapses[1:]]).max().sqrt()
        return settings.step_size / (max(self.error_gains) * (1 + largest) ** 2 + settings.leak)

    def _move(self, hidden: int, change: th.Tensor) -> None:
        """Move a layer, except in the samples whose energy would rise: there it stays."""
        state, settings = self.state, self.settings
        old_potential, old_activity = state.potentials[hidden], state.activities[hidden + 1]
        old_prediction, old_errors = state.predictions[hidden + 1], state.errors[hidden : hidden + 2]
        old_energies = self.layer_energies[hidden : hidden + 2]

        state.potentials[hidden] = old_potential + change
        state.activities[hidden + 1] = self.phi.function(state.potentials[hidden])
        prediction = self.synapses[hidden + 1].predict(state.activities[hidden + 1])
        state.predictions[hidden + 1] = self.g.function(prediction)
        for index in (hidden, hidden + 1):
            state.errors[index] = self._error(index)
            self.layer_energies[index] = self._layer_energy(index)

        before = old_energies[0] + old_energies[1]
        after = self.layer_energies[hidden] + self.layer_energies[hidden + 1]
        if settings.leak > 0:
            before += settings.leak / 2 * squared_norm(old_potential)
            after += settings.leak / 2 * squared_norm(state.potentials[hidden])
        # Not `after > before`: an overflow to nan must not pass.
        rose = (~(after <= before)).nonzero().squeeze(1)
        if len(rose) > 0:
            for new, old in (
                (state.potentials[hidden], old_potential),
                (state.activities[hidden + 1], old_activity),
                (state.predictions[hidden + 1], old_prediction),
                (state.errors[hidden], old_errors[0]),
                (state.errors[hidden + 1], old_errors[1]),
                (self.layer_energies[hidden], old_energies[0]),
                (self.layer_energies[hidden + 1], old_energies[1]),
            ):
                new[rose] = old[rose]
