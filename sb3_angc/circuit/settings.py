"""The settings of a circuit, one per symbol of the equations, and the named presets."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import torch as th

from sb3_angc.circuit.activations import Activation, get_activation
from sb3_angc.common.checks import check_boolean, check_not_negative, is_integer, is_number, require

StepRule = Literal["fixed", "spectral", "neuron", "line_search"]
Order = Literal["sweep", "simultaneous", "scheduled"]
Feedback = Literal["learned", "tied"]
InitialState = Literal["zeros", "projection"]
ErrorOn = Literal["activity", "potential"]


@dataclass(frozen=True)
class CircuitSettings:
    """
    What a circuit computes. Symbols are those of the NGC papers (Ororbia & Mali 2022,
    https://arxiv.org/abs/2107.07046; Ororbia & Kifer 2022, https://arxiv.org/abs/2012.03405).

    :param inference_steps: ``T`` (the paper's ``K``), settling steps per batch. ``None`` is one
        step for each bundle of synapses. Usual range: 1 to 50.
    :param order: Which hidden layers a step moves. ``"sweep"``: all at once, after the errors have
        run inward through all of them, along the tangent of ``phi`` at the projection (see
        :func:`~sb3_angc.circuit.inference.sweep`); needs ``step_rule="line_search"``,
        ``error_on="potential"`` and ``initial_state="projection"``. ``"simultaneous"``: all at once,
        from the errors of their neighbours alone, as in the papers. ``"scheduled"``: step ``t`` moves the
        ``t``-th layer from the output only, while predictions and activities stay as they were at the start;
        it needs ``initial_state="projection"``, and a step for each hidden layer that is to learn.
    :param step_rule: How far a layer moves. ``"fixed"``: ``beta``. ``"spectral"`` and ``"neuron"``:
        ``beta`` over a bound on the curvature, of each layer from the largest singular values of the
        weights into and out of it (tracked by one power iteration per update), or of each neuron from
        sums of the weights around it (:func:`~sb3_angc.circuit.inference.step_sizes`). Both take for
        granted that the activation's slope is at most 1.
        ``"line_search"``: ``beta`` times the gain that lowers the energy most along the step, one gain
        for each sample.
    :param step_size: ``beta``, above 0; at most 2 with ``step_rule="line_search"``, which doubles the way to
        the minimum then. Usual range: 0.01 to 1.
    :param leak: ``gamma_v``, decay of the potentials while settling, at least 0. Usual: 0 to 0.01.
    :param error_scale: ``beta_e``: errors are discrepancies divided by ``2 beta_e``. Above 0.
    :param output_precision: ``pi``, above 0: errors of the clamped output are multiplied by it. 1 is
        the papers'. The smaller it is, the less the states move and the more evenly all samples count:
        at equilibrium a single output's error is ``pi / (2 beta_e (1 + pi |g|^2))`` of its discrepancy,
        ``g`` the gradient of that output with respect to the states. Usual range: 0.001 to 1.
    :param max_discrepancy: An output is clamped at most this far from its prediction before settling,
        so that one far target does not outweigh all others: errors saturate as those of the Huber loss
        do (error clipping, Mnih et al. 2015, https://doi.org/10.1038/nature14236). Above 0, or
        ``None``, as in the papers.
    :param error_on: What a hidden error compares with the prediction: the ``"activity"``
        ``phi(z)``, as in the papers, or the ``"potential"`` ``z``.
    :param initial_state: Hidden potentials before the first step: ``"zeros"``, or the
        ``"projection"`` of the input.
    :param activation: ``phi``, a name or an :class:`Activation`
    :param activate_input: Whether ``phi`` applies to the clamped input as well
    :param use_derivatives: Whether errors that come back are multiplied by ``phi'``. The papers
        leave the derivative out.
    :param feedback: ``"learned"``: errors travel back over their own synapses ``E``.
        ``"tied"``: over ``W``'s transpose (weight transport); the next four settings, which concern ``E``,
        have no effect then.
    :param mirror_patterns: Patterns of random activity from which learned ``E`` takes up ``W``'s
        transpose when the circuit is made, before any learning (weight mirror, Akrout et al. 2019,
        https://arxiv.org/abs/1904.05391); equal changes keep the two aligned from there. 0 leaves
        ``E`` random. Usual range: 0, or 10 to 100 times the layer sizes.
    :param feedback_rate: ``gamma_e``, how much of ``W``'s change ``E`` takes, above 0. Usual: 0.9 to 1.
    :param alignment_decay: Decay of ``W`` and ``E`` in units of the learning rate, at least 0: with
        equal changes and equal decay ``E`` turns towards ``W``'s transpose (Kolen & Pollack 1994;
        Akrout et al. 2019, https://arxiv.org/abs/1904.05391). Usual range: 0 to 5.
    :param alignment_time: Summed learning rate after which the decay has fallen to ``1/e``:
        alignment is needed early, and the decay acts as a weight decay later. What ``W`` and ``E`` do not
        share shrinks to ``exp(-alignment_decay * alignment_time)`` of what it was. Above 0; may be infinite.
    :param modulation: ``M_W`` and ``M_E``, scaling each neuron's update by its share of the
        synaptic weight
    :param normalize_updates: Whether each update is divided by its Frobenius norm
    :param weight_norm: Frobenius norm that each weight matrix is set to after every update, or
        ``None``
    :param bias: Whether predictions have a bias
    :param init_scale: Standard deviation of the initial weights relative to He et al.'s 2015
        (https://arxiv.org/abs/1502.01852), above 0; 1 with ``weight_norm``. 0.41 is that of torch's
        layers, ``1 / sqrt(6)``.
    :param output_init_scale: The same of the output's synapses alone, on top of ``init_scale``: a small one
        makes the first predictions small. Above 0; 1 with ``weight_norm``.
    """

    inference_steps: int | None = 1
    order: Order = "sweep"
    step_rule: StepRule = "line_search"
    step_size: float = 1.0
    leak: float = 0.0
    error_scale: float = 0.5
    output_precision: float = 0.1
    max_discrepancy: float | None = None
    error_on: ErrorOn = "potential"
    initial_state: InitialState = "projection"
    activation: str | Activation = "relu"
    activate_input: bool = False
    use_derivatives: bool = True
    feedback: Feedback = "learned"
    mirror_patterns: int = 20_000
    feedback_rate: float = 1.0
    alignment_decay: float = 0.0
    alignment_time: float = 0.5
    modulation: bool = False
    normalize_updates: bool = False
    weight_norm: float | None = None
    bias: bool = True
    init_scale: float = 1.0
    output_init_scale: float = 1.0

    def __post_init__(self) -> None:
        get_activation(self.activation)
        for name, allowed in _CHOICES.items():
            require(name, getattr(self, name), getattr(self, name) in allowed, f"one of {', '.join(allowed)}")
        steps = self.inference_steps
        fits = steps is None or is_integer(steps, 1)
        require("inference_steps", steps, fits, "None or an integer of at least 1")
        patterns = self.mirror_patterns
        require("mirror_patterns", patterns, is_integer(patterns, 0), "an integer of at least 0")
        for name in ("step_size", "error_scale", "output_precision", "feedback_rate"):
            value = getattr(self, name)
            require(name, value, _is_finite_above_zero(value), "a finite number above 0")
        require(
            "alignment_time", self.alignment_time, _is_above_zero(self.alignment_time), "a number above 0"
        )
        for name in ("init_scale", "output_init_scale"):
            scale = getattr(self, name)
            require(name, scale, _is_finite_above_zero(scale), "a finite number above 0")
            fits = scale == 1 or self.weight_norm is None
            require(name, scale, fits, f"1 where a norm is set, weight_norm={self.weight_norm!r}")
        for name in ("leak", "alignment_decay"):
            check_not_negative(name, getattr(self, name))
        for name in ("weight_norm", "max_discrepancy"):
            value = getattr(self, name)
            fits = value is None or _is_finite_above_zero(value)
            require(name, value, fits, "None or a finite number above 0")
        for name in ("activate_input", "use_derivatives", "modulation", "normalize_updates", "bias"):
            check_boolean(name, getattr(self, name))
        for name, allowed in _ORDER_NEEDS[self.order].items():
            value = getattr(self, name)
            needed = f"{' or '.join(map(repr, allowed))} with order={self.order!r}"
            require(name, value, value in allowed, needed)
        if self.step_rule == "line_search":
            require(
                "step_size", self.step_size, self.step_size <= 2, "at most 2 with step_rule='line_search'"
            )

    @property
    def hidden_gain(self) -> float:
        """What a hidden layer's discrepancy is multiplied by to make its error: ``1 / (2 beta_e)``."""
        return 1 / (2 * self.error_scale)

    @property
    def output_gain(self) -> float:
        """The same of the output: ``pi / (2 beta_e)``."""
        return self.hidden_gain * self.output_precision

    @property
    def settles_at_projection(self) -> bool:
        """
        Whether a circuit whose output is free stays at the projection, where no error and no leak moves it.
        """
        return self.initial_state == "projection" and self.error_on == "potential" and self.leak == 0

    def clamp(self, y: th.Tensor, prediction: th.Tensor) -> th.Tensor:
        """
        What an output is clamped at: ``y``, as far as ``max_discrepancy`` allows.

        :param y: What it is to be, ``(batch, n_out)``
        :param prediction: What it is predicted to be, ``(batch, n_out)``
        :return: ``(batch, n_out)``
        """
        limit = self.max_discrepancy
        if limit is None:
            return y
        clamp = th.clamp(y, prediction - limit, prediction + limit)
        return clamp.add_(0 * y)  # nan where that is infinite, which must not pass for a far target

    def as_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


_CHOICES: dict[str, tuple[str, ...]] = {
    "order": get_args(Order),
    "step_rule": get_args(StepRule),
    "feedback": get_args(Feedback),
    "error_on": get_args(ErrorOn),
    "initial_state": get_args(InitialState),
}

# A scheduled step keeps activities as they are at the start.
_ORDER_NEEDS: dict[str, dict[str, tuple[str, ...]]] = {
    "sweep": {"step_rule": ("line_search",), "error_on": ("potential",), "initial_state": ("projection",)},
    "simultaneous": {"step_rule": ("fixed", "spectral", "neuron")},
    "scheduled": {"step_rule": ("fixed",), "initial_state": ("projection",)},
}


def _is_above_zero(value: Any) -> bool:
    return is_number(value) and value > 0


def _is_finite_above_zero(value: Any) -> bool:
    return _is_above_zero(value) and value < math.inf


PRESETS: dict[str, CircuitSettings] = {
    # Iterative settling with learned feedback that learns as well as backpropagation. The default.
    "settled": CircuitSettings(),
    # The equations of the papers, with absolute sums in the modulation. They do not give step_size, leak,
    # error_scale and the start; with no value that was tried do they learn a task (docs/ladder.md).
    "paper": CircuitSettings(
        inference_steps=10,
        order="simultaneous",
        step_rule="fixed",
        step_size=0.1,
        leak=0.001,
        error_on="activity",
        initial_state="zeros",
        activate_input=True,
        use_derivatives=False,
        mirror_patterns=0,
        feedback_rate=0.95,
        modulation=True,
        normalize_updates=True,
        weight_norm=2.0,
        bias=False,
        output_precision=1.0,
    ),
    # The equations of the papers with the changes that make them learn, everything local (docs/ladder.md).
    "ngc": CircuitSettings(
        inference_steps=5,
        order="simultaneous",
        step_rule="neuron",
        mirror_patterns=0,
        output_precision=1.0,
        init_scale=0.4,
    ),
    # What the authors' released code computes: the gradient of half the squared error.
    "released": CircuitSettings(
        inference_steps=None,
        order="scheduled",
        step_rule="fixed",
        feedback="tied",
        output_precision=1.0,
    ),
}


def make_settings(preset: str = "settled", **overrides: Any) -> CircuitSettings:
    """
    A preset with some of its settings replaced.

    :param preset: A name in ``PRESETS``
    :param overrides: Settings of :class:`CircuitSettings` by name
    :return: The settings
    :raises ValueError: If the preset or a setting is unknown, or a value is not allowed
    """
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ValueError(f"preset={preset!r} is unknown: choose one of {', '.join(PRESETS)}")
    known = [field.name for field in fields(CircuitSettings)]
    for name in overrides:
        if name not in known:
            raise ValueError(f"{name!r} is not a circuit setting: choose from {', '.join(known)}")
    return replace(PRESETS[preset], **overrides)
