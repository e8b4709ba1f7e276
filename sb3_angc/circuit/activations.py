"""Activation functions ``phi`` with the derivatives that settling and local updates need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch as th
from torch.nn import functional as F

ELU_ALPHA = 1.0
LEAKY_SLOPE = 0.01


@dataclass(frozen=True)
class Activation:
    """
    An element-wise activation and its derivative, both functions of the potential ``z``.

    Own pairs can be passed wherever a name is accepted, e.g.
    ``Activation("sine", torch.sin, torch.cos)``.

    :param name: Name shown in errors and diagnostics
    :param function: ``phi(z)``, element-wise, same shape as its input
    :param derivative: ``phi'(z)``, element-wise, same shape as its input
    """

    name: str
    function: Callable[[th.Tensor], th.Tensor]
    derivative: Callable[[th.Tensor], th.Tensor]


def _identity(potential: th.Tensor) -> th.Tensor:
    return potential


def _relu_derivative(potential: th.Tensor) -> th.Tensor:
    # sign(relu(z)): comparing into booleans and back is several times slower on a CPU
    return th.relu(potential).sign_()


def _leaky_relu(potential: th.Tensor) -> th.Tensor:
    return F.leaky_relu(potential, LEAKY_SLOPE)


def _leaky_relu_derivative(potential: th.Tensor) -> th.Tensor:
    return _relu_derivative(potential).mul_(1 - LEAKY_SLOPE).add_(LEAKY_SLOPE)


def _relu6_derivative(potential: th.Tensor) -> th.Tensor:
    return ((potential > 0) & (potential < 6)).to(potential.dtype)


def _tanh_derivative(potential: th.Tensor) -> th.Tensor:
    return 1 - th.tanh(potential).square_()


def _elu(potential: th.Tensor) -> th.Tensor:
    return F.elu(potential, ELU_ALPHA)


def _elu_derivative(potential: th.Tensor) -> th.Tensor:
    return ELU_ALPHA * th.exp(potential.clamp(max=0))


ACTIVATIONS: dict[str, Activation] = {
    activation.name: activation
    for activation in (
        Activation("identity", _identity, th.ones_like),
        Activation("relu", th.relu, _relu_derivative),
        Activation("leaky_relu", _leaky_relu, _leaky_relu_derivative),
        Activation("relu6", F.relu6, _relu6_derivative),
        Activation("tanh", th.tanh, _tanh_derivative),
        Activation("elu", _elu, _elu_derivative),
        Activation("softplus", F.softplus, th.sigmoid),
    )
}


def get_activation(activation: str | Activation) -> Activation:
    """
    Look an activation up by name.

    :param activation: A name in ``ACTIVATIONS``, or an ``Activation``, which is returned as it is
    :return: The activation
    :raises ValueError: If the name is unknown
    """
    if isinstance(activation, Activation):
        return activation
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ValueError(
            f"activation={activation!r} is unknown: choose one of {', '.join(ACTIVATIONS)}, "
            "or pass an sb3_angc.circuit.Activation"
        )
    return ACTIVATIONS[activation]
