"""
The rules of torch's optimizers as operations on tensors alone, so that they can be compiled.

A rule's numbers (step sizes, corrections for the first steps) are worked out once for all weights: a compiler
would work them out anew for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch as th

Options = dict[str, Any]
State = dict[str, th.Tensor]


class Rule(NamedTuple):
    """
    What an optimizer does with one parameter.

    :ivar numbers: From the optimizer's options and the number of this step, from 1 on
    :ivar move: Moves a parameter and its state against a gradient, in place, with these numbers and options
    """

    numbers: Callable[[Options, float], list[float]]
    move: Callable[[th.Tensor, th.Tensor, State, th.Tensor, Options], None]


def state_of(optimizer: th.optim.Optimizer, parameters: Sequence[th.Tensor]) -> list[State] | None:
    """
    :param optimizer: One whose class is in ``RULES``
    :param parameters: Some of its parameters
    :return: What the optimizer keeps of each; ``None`` before it has moved them all once itself, as it makes
        its state then
    """
    if isinstance(optimizer, th.optim.SGD) and optimizer.param_groups[0]["momentum"] == 0:
        return [{} for _ in parameters]
    state = [optimizer.state.get(parameter, {}) for parameter in parameters]
    return state if all(state) else None


def _with_decay(p: th.Tensor, gradient: th.Tensor, options: Options) -> th.Tensor:
    """Weight decay as a part of the gradient."""
    return gradient + options["weight_decay"] * p if options["weight_decay"] != 0 else gradient


def _adam_numbers(options: Options, step: float) -> list[float]:
    first, second = options["betas"]
    rate = float(options["lr"])
    return [rate / (1 - first**step), math.sqrt(1 - second**step), 1 - rate * options["weight_decay"]]


def _adam(p: th.Tensor, gradient: th.Tensor, state: State, numbers: th.Tensor, options: Options) -> None:
    """Kingma & Ba 2014, https://arxiv.org/abs/1412.6980, with the variants of torch's Adam and AdamW."""
    step_size, correction, shrinking = numbers.unbind()
    if options["decoupled_weight_decay"]:
        p.mul_(shrinking)
    else:
        gradient = _with_decay(p, gradient, options)
    mean, square = state["exp_avg"], state["exp_avg_sq"]
    mean.lerp_(gradient, 1 - options["betas"][0])
    square.mul_(options["betas"][1]).addcmul_(gradient, gradient, value=1 - options["betas"][1])
    if options["amsgrad"]:
        square = state["max_exp_avg_sq"].copy_(th.maximum(state["max_exp_avg_sq"], square))
    p.sub_(step_size * mean / (square.sqrt() / correction + options["eps"]))
    state["step"].add_(1)


def _rate(options: Options, step: float) -> list[float]:
    return [float(options["lr"])]


def _sgd(p: th.Tensor, gradient: th.Tensor, state: State, numbers: th.Tensor, options: Options) -> None:
    """As torch's SGD."""
    gradient = _with_decay(p, gradient, options)
    if options["momentum"] != 0:
        momentum = state["momentum_buffer"]
        momentum.mul_(options["momentum"]).add_(gradient, alpha=1 - options["dampening"])
        gradient = gradient + options["momentum"] * momentum if options["nesterov"] else momentum
    p.sub_(numbers[0] * gradient)


def _rmsprop(p: th.Tensor, gradient: th.Tensor, state: State, numbers: th.Tensor, options: Options) -> None:
    """As torch's RMSprop."""
    gradient = _with_decay(p, gradient, options)
    square = state["square_avg"]
    square.mul_(options["alpha"]).addcmul_(gradient, gradient, value=1 - options["alpha"])
    if options["centered"]:
        mean = state["grad_avg"]
        mean.lerp_(gradient, 1 - options["alpha"])
        square = square - mean.square()
    change = gradient / (square.sqrt() + options["eps"])
    if options["momentum"] > 0:
        change = state["momentum_buffer"].mul_(options["momentum"]).add_(change)
    p.sub_(numbers[0] * change)
    state["step"].add_(1)


# By an optimizer's class: one derived from it may do anything.
RULES: dict[type[th.optim.Optimizer], Rule] = {
    th.optim.Adam: Rule(_adam_numbers, _adam),
    th.optim.AdamW: Rule(_adam_numbers, _adam),
    th.optim.SGD: Rule(_rate, _sgd),
    th.optim.RMSprop: Rule(_rate, _rmsprop),
}
