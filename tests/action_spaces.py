"""Action spaces of every kind, and an environment that asks for something in each part of an action."""

import copy
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces

MATRIX = spaces.Box(
    np.array([[-1, 0, 2], [0.1, -3, -1]], np.float32), np.array([[1, 5, 3], [0.7, 9, 1]], np.float32)
)
SPACES: dict[str, spaces.Space[Any]] = {
    "Discrete": spaces.Discrete(3),
    "Discrete from 5": spaces.Discrete(3, start=5),
    "MultiDiscrete": spaces.MultiDiscrete([2, 4, 3]),
    "MultiDiscrete, alike": spaces.MultiDiscrete([3, 3]),
    "MultiDiscrete from elsewhere": spaces.MultiDiscrete([2, 3], start=[7, -2]),
    "MultiBinary": spaces.MultiBinary(4),
    "Box": spaces.Box(-2, 2, (1,), np.float32),
    "Box, one number": spaces.Box(-2, 2, (), np.float32),
    "Box, matrix": MATRIX,
    "Box, float64": spaces.Box(-1, 1, (2,), np.float64),
}
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


def by_hand(space: spaces.Space[Any]) -> list[list[Any]]:
    """The values that each part can take, low to high."""
    if isinstance(space, spaces.Discrete):
        return [[space.start + i for i in range(space.n)]]
    if isinstance(space, spaces.MultiDiscrete):
        return [[start + i for i in range(n)] for start, n in zip(space.start, space.nvec, strict=True)]
    if isinstance(space, spaces.MultiBinary):
        return [[0, 1]] * space.shape[0]
    assert isinstance(space, spaces.Box)
    bounds = zip(space.low.flat, space.high.flat, strict=True)
    return [[low, (float(low) + float(high)) / 2, high] for low, high in bounds]


class Sum(gym.Env[Any, Any]):
    """
    Reward: minus how far each part of an action is from what the observation asks of it, in shares of what it
    can be. The best earns 0, and values factor over the parts. Actions outside the space are errors.
    """

    def __init__(self, space: spaces.Space[Any], length: int = 5) -> None:
        self.action_space = copy.deepcopy(space)
        self.levels = by_hand(space)
        self.sizes = np.array([len(levels) for levels in self.levels])
        self.observation_space = spaces.Box(-1, 1, (len(self.sizes),), np.float32)
        self.length = length

    def _observe(self) -> Any:
        self.wanted = self.np_random.integers(self.sizes)
        return np.array(2 * self.wanted / (self.sizes - 1) - 1, np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a Box of no dimensions takes numbers, and warns of them
            assert self.action_space.contains(action), action
        wrong = [
            abs(part - levels[wanted]) / (levels[-1] - levels[0])
            for part, levels, wanted in zip(np.ravel(action), self.levels, self.wanted, strict=True)
        ]
        reward = -float(sum(wrong))
        self.count += 1
        return self._observe(), reward, False, self.count == self.length, {}


def set_values(circuit: Any, values: Any) -> None:
    """Let a circuit's outputs be these whatever it sees."""
    for bundle in circuit.bundles:
        bundle.weight.zero_()
        bundle.bias.zero_()
    circuit.bundles[-1].bias.copy_(th.as_tensor(values))
