"""The optimizer that both circuits share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch as th

from sb3_angc.circuit import NGCCircuit
from sb3_angc.circuit.learning import parameters_of
from sb3_angc.common.checks import check_keywords, require


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
    :raises ValueError: If it is no optimizer, or one that computes gradients when it asks for them, or takes
        none of these arguments
    """
    is_allowed = callable(optimizer_class) and optimizer_class not in (th.optim.LBFGS, th.optim.Optimizer)
    if isinstance(optimizer_class, type):  # a function may make one as well
        is_allowed = is_allowed and issubclass(optimizer_class, th.optim.Optimizer)
    allowed = "the class of an optimizer that takes a step from updates alone"
    require("optimizer_class", optimizer_class, is_allowed, allowed)
    parameters = parameters_of(circuits)
    hint = "The learning rate is the agent's learning_rate"
    check_keywords("optimizer_kwargs", kwargs, optimizer_class, parameters, hint=hint, lr=learning_rate)
    kwargs = dict(kwargs)
    if optimizer_class in (th.optim.Adam, th.optim.AdamW, th.optim.SGD):
        # One call for all parameters: a third of the time on small networks.
        # torch allows one of these
        kwargs.setdefault("fused", not (kwargs.get("foreach") or kwargs.get("differentiable")))
        # Updates are to be added: no copy with the sign turned.
        kwargs.setdefault("maximize", True)
    return optimizer_class(parameters, lr=learning_rate, **kwargs)
