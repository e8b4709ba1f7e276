"""The optimizer that both circuits share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch as th

from sb3_angc.circuit import NGCCircuit
from sb3_angc.circuit.learning import parameters_of
from sb3_angc.common.checks import require


def make_optimizer(
    optimizer_class: Callable[..., th.optim.Optimizer],
    circuits: Sequence[NGCCircuit],
    learning_rate: float,
    kwargs: dict[str, Any],
) -> th.optim.Optimizer:
    """
    One for all: with small circuits, calling an optimizer takes longer than what it computes.

    :param optimizer_class: Any of torch's, or like them
    :param circuits: Whose weights and biases it moves
    :param learning_rate: Its first
    :param kwargs: Its other arguments
    :raises ValueError: If it is no optimizer, or one that computes gradients when it asks for them
    """
    is_allowed = callable(optimizer_class) and optimizer_class is not th.optim.LBFGS
    allowed = "the class of an optimizer that takes a step from updates alone"
    require("optimizer_class", optimizer_class, is_allowed, allowed)
    kwargs = dict(kwargs)
    if optimizer_class in (th.optim.Adam, th.optim.AdamW, th.optim.SGD):
        # One call for all parameters: a third of the time on small networks.
        # torch allows one of these
        kwargs.setdefault("fused", not (kwargs.get("foreach") or kwargs.get("differentiable")))
        # Updates are to be added: no copy with the sign turned.
        kwargs.setdefault("maximize", True)
    return optimizer_class(parameters_of(circuits), lr=learning_rate, **kwargs)
