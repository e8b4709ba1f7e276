"""
The parts of an action, and the values of each.

An action has one part (Discrete), or one for each of its numbers (MultiDiscrete, MultiBinary, Box). The
controller has one group of outputs for each part, one output for each value that the part can take, and what
an action is worth is the mean over its parts (Seyde et al. 2023, https://arxiv.org/abs/2210.12566). The best
action is then the best value of each part, however many actions there are.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from torch import nn

from sb3_angc.circuit import NGCCircuit
from sb3_angc.common.checks import in_a_line, is_integer, require

SPACES = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary, spaces.Box)
ACTION_BINS = 3
# The most outputs of a controller: with 128 units before them, they take about 1 GB of memory.
LARGEST_OUTPUT = 2**18
# The most choices where each is an input: all of them, one after the other, take 256 MB.
LARGEST_INPUT = 2**13


def check_action_space(
    space: spaces.Space[Any], action_bins: int = ACTION_BINS, as_input: bool = False
) -> None:
    """
    :param space: An action space
    :param action_bins: As in :class:`ActionParts`
    :param as_input: As in :class:`ActionParts`
    :raises ValueError: If the circuits cannot choose what is of this space
    """
    require("action_bins", action_bins, is_integer(action_bins, 2), "an integer of at least 2")
    way_out = ""
    if not isinstance(space, SPACES):
        names = ", ".join(kind.__name__ for kind in SPACES)
        way_out = f"It must be one of {names}. Make it one with gymnasium's TransformAction"
    elif isinstance(space, spaces.Box):
        with np.errstate(all="ignore"):
            spans = np.asarray(space.high - space.low, np.float32)
        if not np.issubdtype(space.dtype, np.floating):
            way_out = "Integers are a MultiDiscrete: make it one with gymnasium's TransformAction"
        elif spans.size == 0 or not (np.isfinite(spans) & (spans > 0)).all():
            way_out = (
                "Its bounds must be finite, and the upper ones above the lower ones: give it such bounds "
                "with gymnasium's TransformAction"
            )
    elif isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)) and len(space.shape) != 1:
        way_out = "Its actions must be of one dimension: flatten it with gymnasium's TransformAction"
    if way_out:
        raise ValueError(f"action_space={in_a_line(space)} is not allowed: {way_out}")
    n_outputs = _n_outputs(space, action_bins)
    largest = LARGEST_INPUT if as_input else LARGEST_OUTPUT
    if n_outputs > largest:
        bins = f" with action_bins={action_bins}" if isinstance(space, spaces.Box) else ""
        raise ValueError(
            f"action_space={in_a_line(space)}{bins} is not allowed: its parts have {n_outputs} values "
            f"together, and at most {largest} are allowed{' as inputs' if as_input else ''}. Split or group "
            "them with gymnasium's TransformAction"
        )


def random_action(space: spaces.Space[Any], action_bins: int) -> Any:
    """
    :param space: An action space
    :param action_bins: As in :class:`ActionParts`
    :return: A random action, of a Box one whose numbers are among the values that its parts can take
    """
    action = space.sample()
    if not isinstance(space, spaces.Box):
        return action
    share = (action.astype(np.float64) - space.low) / (space.high.astype(np.float64) - space.low)
    return _level(space, np.minimum((share * action_bins).astype(int), action_bins - 1), action_bins)


def _n_outputs(space: spaces.Space[Any], action_bins: int) -> int:
    if isinstance(space, spaces.Box):
        return math.prod(space.shape) * int(action_bins)
    if isinstance(space, spaces.MultiDiscrete):
        return sum(map(int, space.nvec))
    if isinstance(space, spaces.MultiBinary):
        return 2 * math.prod(space.shape)
    assert isinstance(space, spaces.Discrete)
    return int(space.n)


def _level(space: spaces.Box, index: Any, action_bins: int) -> np.ndarray[Any, Any]:
    """The ``index``-th of the values of each number of a Box, from the lowest to the highest; exact there."""
    weight = index / (action_bins - 1)
    level = (1 - weight) * space.low.astype(np.float64) + weight * space.high.astype(np.float64)
    return np.asarray(level, space.dtype)


class ActionParts(nn.Module):
    """
    What the outputs of a controller stand for. A *choice* is the number of an output: an action is one
    choice for each part. With a single part the values are those of the actions themselves.

    Buffers hold what follows from the space, and are not saved.

    :param space: An action space
    :param action_bins: Values of each number of a Box, at least 2, evenly spaced from its lower to its upper
        bound
    :param as_input: Whether the controller sees a choice as input and has one output, its value, instead of
        one output for each choice
    :raises ValueError: If the space or the number is not allowed
    """

    first: th.Tensor
    start: th.Tensor
    step: th.Tensor
    levels: th.Tensor
    padded: th.Tensor | None

    def __init__(self, space: spaces.Space[Any], action_bins: int, as_input: bool = False) -> None:
        check_action_space(space, action_bins, as_input)
        super().__init__()
        self.as_input = as_input
        self.shape: tuple[int, ...] = space.shape or ()
        self.is_continuous = isinstance(space, spaces.Box)
        self.are_choices = isinstance(space, spaces.Discrete) and bool(space.start == 0)
        sizes, start, step, levels = _values(space, int(action_bins))
        self.sizes, self.n_parts, self.n_outputs = sizes, len(sizes), sum(sizes)
        self.input_size = self.n_parts if self.is_continuous else self.n_outputs
        first = np.cumsum([0, *sizes[:-1]])
        padded = None
        if len(set(sizes)) > 1:  # a part's first choice stands in for those that it does not have
            column = np.arange(max(sizes))
            padded = first[:, None] + np.where(column < np.array(sizes)[:, None], column, 0)
        for name, value in (("first", first), ("start", start), ("step", step), ("levels", levels)):
            self.register_buffer(name, th.as_tensor(value), persistent=False)
        self.register_buffer("padded", None if padded is None else th.as_tensor(padded), persistent=False)

    def best(self, values: th.Tensor) -> th.Tensor:
        """
        :param values: Of the controller, ``(batch, n_outputs)``
        :return: The choice of the largest value of each part, ``(batch, n_parts)``
        """
        if self.n_parts == 1:
            return values.argmax(dim=1, keepdim=True)
        if self.padded is None:
            return values.view(values.shape[0], self.n_parts, -1).argmax(dim=2) + self.first
        best = values[:, self.padded].argmax(dim=2, keepdim=True)
        return self.padded.expand(values.shape[0], -1, -1).gather(2, best).squeeze(2)

    def actions(self, choices: th.Tensor) -> th.Tensor:
        """
        :param choices: ``(batch, n_parts)``
        :return: The environment's actions, ``(batch, *shape)``
        """
        if self.are_choices:
            return choices.squeeze(1)
        return self.levels[choices].view(choices.shape[0], *self.shape)

    def choices(self, stored: th.Tensor) -> th.Tensor:
        """
        :param stored: Actions of a replay buffer, a Box's scaled to ``[-1, 1]`` as SB3 does it,
            ``(batch, n_parts)``
        :return: Their choices; of numbers between two values the nearer one's, ``(batch, n_parts)``
        """
        return ((stored.to(self.start) - self.start) / self.step).round().long() + self.first

    def chosen(self, choices: th.Tensor, dtype: th.dtype) -> th.Tensor:
        """
        :param choices: ``(batch, n_parts)``
        :param dtype: Of the result
        :return: 1 at the choices, 0 elsewhere, ``(batch, n_outputs)``
        """
        nothing = th.zeros(choices.shape[0], self.n_outputs, dtype=dtype, device=choices.device)
        return nothing.scatter_(1, choices, 1.0)

    def outputs(self, controller: NGCCircuit, features: th.Tensor) -> th.Tensor:
        """
        :param controller: The controller or the target controller
        :param features: What it sees of observations, ``(batch, features_dim)``
        :return: What it predicts of all choices, ``(batch, n_outputs)``
        """
        if not self.as_input:
            return controller.infer(features)
        every = th.eye(self.n_outputs, dtype=features.dtype, device=features.device)
        return controller.infer_with_each(features, every).squeeze(2)

    def beside(self, features: th.Tensor, choices: th.Tensor) -> th.Tensor:
        """
        :param features: ``(batch, features_dim)``
        :param choices: Of each of these, ``(batch, n)``
        :return: Each choice, 1 among 0, behind the features that it is of:
            ``(batch * n, features_dim + n_outputs)``
        """
        chosen = self.chosen(choices.reshape(-1, 1), features.dtype)
        return th.cat([features.repeat_interleave(choices.shape[1], dim=0), chosen], dim=1)

    def inputs(self, stored: th.Tensor, chosen: th.Tensor) -> th.Tensor:
        """
        :param stored: As in :meth:`choices`
        :param chosen: Of :meth:`chosen`
        :return: What the generator sees of actions: the numbers of a Box, from -1 to 1, ``chosen`` otherwise;
            ``(batch, input_size)``
        """
        return stored.to(chosen) if self.is_continuous else chosen

    def every(self) -> th.Tensor:
        """:return: The choices of every action, ``(n_actions, n_parts)``"""
        choices = th.tensor(list(itertools.product(*map(range, self.sizes))), device=self.first.device)
        return choices + self.first


def _values(
    space: spaces.Space[Any], action_bins: int
) -> tuple[list[int], np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """
    :return: Of each part the number of values, what a buffer stores of the first, and how far the next is
        from it; of each output what the environment gets
    """
    if isinstance(space, spaces.Box):
        n_parts = math.prod(space.shape)
        levels = np.stack([_level(space, index, action_bins).ravel() for index in range(action_bins)], axis=1)
        step = np.full(n_parts, 2 / (action_bins - 1), np.float32)
        return [action_bins] * n_parts, np.full(n_parts, -1, np.float32), step, levels.ravel()
    if isinstance(space, spaces.MultiDiscrete):
        sizes, start, dtype = [int(n) for n in space.nvec], np.asarray(space.start), space.dtype
    elif isinstance(space, spaces.MultiBinary):
        sizes, start, dtype = [2] * space.shape[0], np.zeros(space.shape[0], np.int64), space.dtype
    else:
        assert isinstance(space, spaces.Discrete)
        sizes, start, dtype = [int(space.n)], np.array([space.start]), np.dtype(np.int64)
    levels = np.concatenate([first + np.arange(n) for first, n in zip(start, sizes, strict=True)])
    return sizes, start.astype(np.int64), np.ones(len(sizes), np.float32), levels.astype(dtype)
