"""
One update of a settled circuit, written plainly: the oracle of the fast path.

Every sample has a loop of its own, every layer its equation from the docstring of
:mod:`sb3_angc.circuit.sweeping`, in the notation of the papers (row vectors, ``W`` of shape
``(n_in, n_out)``, ``E`` of shape ``(n_out, n_in)``). Nothing is shared with the package but the
settings and the initial weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch as th

from sb3_angc.circuit import NGCCircuit

Tensors = list[th.Tensor]

PHI: dict[str, Callable[[th.Tensor], th.Tensor]] = {
    "relu": lambda z: th.where(z > 0, z, 0),
    "tanh": lambda z: (th.exp(z) - th.exp(-z)) / (th.exp(z) + th.exp(-z)),
}
PHI_SLOPE: dict[str, Callable[[th.Tensor], th.Tensor]] = {
    "relu": lambda z: th.where(z > 0, 1.0, 0.0).to(z.dtype),
    "tanh": lambda z: 4 / (th.exp(z) + th.exp(-z)) ** 2,
}
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # Adam's defaults


class ReferenceCircuit:
    """
    A settled circuit with the settings and weights that another one has now, learning by Adam.

    :param circuit: What to start from; it is not changed
    :param learning_rate: Adam's learning rate
    :param max_norm: Largest joint norm of the updates of weights and biases, in units of the output's gain
    """

    def __init__(self, circuit: NGCCircuit, learning_rate: float, max_norm: float = math.inf) -> None:
        self.settings = circuit.settings
        self.learning_rate, self.max_norm = learning_rate, max_norm
        self.weights = [bundle.weight.t().clone() for bundle in circuit.bundles]
        self.biases = [
            th.zeros_like(bundle.weight[:, 0]) if bundle.bias is None else bundle.bias.clone()
            for bundle in circuit.bundles
        ]
        self.feedback = [None if b.feedback is None else b.feedback.clone() for b in circuit.bundles]
        self.moments = [(th.zeros_like(p), th.zeros_like(p)) for p in (*self.weights, *self.biases)]
        self.n_updates = 0
        self.learning_time = 0.0

    def error_synapses(self, index: int) -> th.Tensor:
        """``E`` of a bundle: its own, or ``W.T``."""
        feedback = self.feedback[index]
        return self.weights[index].t() if feedback is None else feedback

    def update(self, x: th.Tensor, y: th.Tensor, clamped: th.Tensor | None) -> None:
        """
        Settle on a batch and learn from it.

        :param x: Input, ``(batch, n_in)``
        :param y: Output to clamp, ``(batch, n_out)``
        :param clamped: 1 where an output is clamped, 0 where it is free; ``None`` clamps all
        """
        mask = th.ones_like(y) if clamped is None else clamped
        weight_updates = [th.zeros_like(weight) for weight in self.weights]
        bias_updates = [th.zeros_like(bias) for bias in self.biases]
        for sample in range(len(x)):
            activities, errors = self.settle(x[sample], y[sample], mask[sample])
            for index, (activity, error) in enumerate(zip(activities, errors, strict=True)):
                weight_updates[index] += th.outer(activity, error) / len(x)  # dW = phi(z).T e
                bias_updates[index] += error / len(x)
        self.learn(weight_updates, bias_updates)

    def settle(self, x: th.Tensor, y: th.Tensor, mask: th.Tensor) -> tuple[Tensors, Tensors]:
        """
        :return: Of one sample, the activities of the layers that predict, from the input, and the
            errors of the predicted ones, to the output
        """
        phi, slope = PHI[str(self.settings.activation)], PHI_SLOPE[str(self.settings.activation)]
        beta_e, gamma_v = self.settings.error_scale, self.settings.leak
        precision, n_hidden = self.settings.output_precision, len(self.weights) - 1

        # The projection: every hidden layer is what it is predicted to be.
        projected: Tensors = []
        activity = x
        for weight, bias in zip(self.weights, self.biases, strict=True):
            projected.append(activity @ weight + bias)
            activity = phi(projected[-1])
        *projected_hidden, output = projected
        slopes = [slope(z) for z in projected_hidden]
        potentials = [z.clone() for z in projected_hidden]
        errors = [th.zeros_like(z) for z in projected_hidden]
        output_error = precision * (y - output) * mask / (2 * beta_e)

        for _ in range(self.settings.inference_steps or n_hidden + 1):
            # Inward: q_l = phi' * (q_{l+1} E) - gamma_v z_l, p_l = q_l - e_l
            pressure = output_error
            moves = [th.empty(0)] * n_hidden
            for layer in reversed(range(n_hidden)):
                returning = pressure @ self.error_synapses(layer + 1)
                pressure = slopes[layer] * returning - gamma_v * potentials[layer]
                moves[layer] = pressure - errors[layer]
            # Outward: dz_l = p_l + (phi' * dz_{l-1}) W
            changes: Tensors = []
            arriving = th.zeros_like(projected[0])
            for layer in range(n_hidden):
                changes.append(moves[layer] + arriving)
                arriving = (slopes[layer] * changes[layer]) @ self.weights[layer + 1]
            # Errors are (z - zbar) / (2 beta_e): what they change by for a gain of 1
            error_changes = [move / (2 * beta_e) for move in moves]
            output_change = -precision * arriving * mask / (2 * beta_e)
            # F(gain) = beta_e |e + gain de|^2 + gamma_v / 2 |z + gain dz|^2 is lowest at -F'(0) / F'';
            # the output's |e|^2 counts 1 / precision
            slope_of_energy = curvature = th.zeros((), dtype=x.dtype)
            scales = [2 * beta_e] * n_hidden + [2 * beta_e / precision]
            all_errors, all_changes = (*errors, output_error), (*error_changes, output_change)
            for scale, error, change in zip(scales, all_errors, all_changes, strict=True):
                slope_of_energy = slope_of_energy + scale * (error * change).sum()
                curvature = curvature + scale * (change * change).sum()
            for potential, change in zip(potentials, changes, strict=True):
                slope_of_energy = slope_of_energy + gamma_v * (potential * change).sum()
                curvature = curvature + gamma_v * (change * change).sum()
            gain = 0.0
            if curvature > 0 and slope_of_energy < 0:
                gain = self.settings.step_size * float(-slope_of_energy / curvature)
            errors = [error + gain * change for error, change in zip(errors, error_changes, strict=True)]
            output_error = output_error + gain * output_change
            potentials = [z + gain * change for z, change in zip(potentials, changes, strict=True)]

        # On the tangent of phi at the projection
        activities = [
            phi(start) + derivative * (z - start)
            for start, derivative, z in zip(projected_hidden, slopes, potentials, strict=True)
        ]
        return [x, *activities], [*errors, output_error]

    def learn(self, weight_updates: Tensors, bias_updates: Tensors) -> None:
        """
        Clip, Adam, the same change for ``E`` as for ``W``, alignment decay.

        :param weight_updates: Of each bundle, ``(n_in, n_out)``
        :param bias_updates: Of each bundle, ``(n_out,)``
        """
        updates = [*weight_updates, *(bias_updates if self.settings.bias else [])]
        norm = math.sqrt(sum(float((update * update).sum()) for update in updates))
        limit = self.max_norm * self.settings.output_precision / (2 * self.settings.error_scale)
        if norm > limit:
            updates = [update * (limit / norm) for update in updates]
        self.n_updates += 1
        before = [weight.clone() for weight in self.weights]
        parameters = [*self.weights, *(self.biases if self.settings.bias else [])]
        for number, (parameter, update) in enumerate(zip(parameters, updates, strict=True)):
            mean, square = self.moments[number]
            mean = BETA_1 * mean + (1 - BETA_1) * update
            square = BETA_2 * square + (1 - BETA_2) * update * update
            self.moments[number] = mean, square
            mean = mean / (1 - BETA_1**self.n_updates)
            square = square / (1 - BETA_2**self.n_updates)
            parameter += self.learning_rate * mean / (square.sqrt() + EPSILON)
        rate = self.settings.alignment_decay * math.exp(-self.learning_time / self.settings.alignment_time)
        kept = max(1 - self.learning_rate * rate, 0)
        learned = [index for index, feedback in enumerate(self.feedback) if feedback is not None]
        for index in learned:
            change = (self.weights[index] - before[index]).t()
            self.feedback[index] = (self.error_synapses(index) + self.settings.feedback_rate * change) * kept
            self.weights[index] = self.weights[index] * kept
        if learned:
            self.learning_time += self.learning_rate


def trainable(circuit: NGCCircuit) -> dict[str, th.Tensor]:
    """Copies of a circuit's weights and biases by name, for autograd."""
    parameters = circuit.prediction_parameters().items()
    return {name: value.detach().clone().requires_grad_(True) for name, value in parameters}
