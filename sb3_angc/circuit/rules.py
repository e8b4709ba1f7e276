"""
The rules of torch's optimizers as operations on tensors alone (torch's functional forms), so that they can
be compiled together with what comes before them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch as th
from torch.optim.adam import adam
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

Tensors = list[th.Tensor]
Options = dict[str, Any]


class OptimizerRule(NamedTuple):
    """
    What an optimizer does, without the optimizer.

    :ivar function: Moves parameters along gradients
    :ivar options: Of the optimizer's parameter group, but its parameters and learning rate
    :ivar state: What the optimizer keeps for each parameter, by its name there; moves with each step
    """

    function: Callable[[Tensors, Tensors, dict[str, Tensors], th.Tensor, Options], None]
    options: Options
    state: dict[str, Tensors]

    def __call__(self, parameters: Tensors, gradients: Tensors, learning_rate: th.Tensor) -> None:
        """
        Take the optimizer's step in place.

        :param parameters: Those of :func:`rule_of`
        :param gradients: Of the same shapes
        :param learning_rate: A number
        """
        self.function(parameters, gradients, self.state, learning_rate, self.options)


def rule_of(optimizer: th.optim.Optimizer, parameters: Sequence[th.Tensor]) -> OptimizerRule | None:
    """
    :param optimizer: One of the classes in ``RULES``, with one parameter group
    :param parameters: Those that are to learn
    :return: The optimizer's rule; ``None`` before the optimizer itself has moved these parameters once, as
        it makes its state then
    """
    options = {k: v for k, v in optimizer.param_groups[0].items() if k not in ("params", "lr")}
    state = [optimizer.state.get(parameter, {}) for parameter in parameters]
    is_stateless = isinstance(optimizer, th.optim.SGD) and options["momentum"] == 0
    if is_stateless:
        state = [{} for _ in parameters]
    elif not all(state):
        return None
    names = state[0].keys()
    return OptimizerRule(
        RULES[type(optimizer)], options, {name: [each[name] for each in state] for name in names}
    )


def _adam(
    parameters: Tensors, gradients: Tensors, state: dict[str, Tensors], rate: th.Tensor, options: Options
) -> None:
    adam(
        parameters,
        gradients,
        state["exp_avg"],
        state["exp_avg_sq"],
        state.get("max_exp_avg_sq", []),
        state["step"],
        foreach=False,
        decoupled_weight_decay=options["decoupled_weight_decay"],
        amsgrad=options["amsgrad"],
        beta1=options["betas"][0],
        beta2=options["betas"][1],
        lr=rate,
        weight_decay=options["weight_decay"],
        eps=options["eps"],
        maximize=options["maximize"],
    )


def _sgd(
    parameters: Tensors, gradients: Tensors, state: dict[str, Tensors], rate: th.Tensor, options: Options
) -> None:
    sgd(
        parameters,
        gradients,
        list(state.get("momentum_buffer", [])),
        foreach=False,
        weight_decay=options["weight_decay"],
        momentum=options["momentum"],
        lr=rate,  # type: ignore[arg-type]  # torch's own class passes tensors as well
        dampening=options["dampening"],
        nesterov=options["nesterov"],
        maximize=options["maximize"],
    )


def _rmsprop(
    parameters: Tensors, gradients: Tensors, state: dict[str, Tensors], rate: th.Tensor, options: Options
) -> None:
    rmsprop(
        parameters,
        gradients,
        state["square_avg"],
        state.get("grad_avg", []),
        state.get("momentum_buffer", []),
        state["step"],
        foreach=False,
        maximize=options["maximize"],
        lr=rate,  # type: ignore[arg-type]  # torch's own class passes tensors as well
        alpha=options["alpha"],
        eps=options["eps"],
        weight_decay=options["weight_decay"],
        momentum=options["momentum"],
        centered=options["centered"],
    )


RULES: dict[type[th.optim.Optimizer], Callable[..., None]] = {
    th.optim.Adam: _adam,
    th.optim.AdamW: _adam,
    th.optim.SGD: _sgd,
    th.optim.RMSprop: _rmsprop,
}
