"""Activations by the names that DQN's users know them by."""

from __future__ import annotations

from torch import nn

from sb3_angc.circuit import ACTIVATIONS, Activation
from sb3_angc.common.checks import require

# DQN's `activation_fn` takes module classes; the same classes are understood here.
MODULE_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.Identity: "identity",
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.ReLU6: "relu6",
    nn.Tanh: "tanh",
    nn.ELU: "elu",
    nn.Softplus: "softplus",
}


def activation_of(activation_fn: str | Activation | type[nn.Module]) -> str | Activation:
    """
    :param activation_fn: As in :class:`~sb3_angc.angc.policies.ANGCPolicy`
    :return: What a circuit takes
    :raises ValueError: If the class of a module has no local counterpart, or it is something else
    """
    if isinstance(activation_fn, type):
        if activation_fn not in MODULE_ACTIVATIONS:
            raise ValueError(
                f"activation_fn={activation_fn.__name__} has no local counterpart: choose one of "
                f"{', '.join(ACTIVATIONS)}, or pass an sb3_angc.circuit.Activation"
            )
        return MODULE_ACTIVATIONS[activation_fn]
    if isinstance(activation_fn, nn.Module):
        raise ValueError(f"activation_fn={activation_fn} is not allowed: it must be a class, as nn.ReLU")
    allowed = "a name, an sb3_angc.circuit.Activation or the class of a torch module, as nn.ReLU"
    require("activation_fn", activation_fn, isinstance(activation_fn, (str, Activation)), allowed)
    return activation_fn
