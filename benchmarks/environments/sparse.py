"""Environments of the studies that no kept package has. Importing this module registers them."""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium import spaces

Observation = np.ndarray[Any, Any]


class DeepSea(gym.Env[Observation, np.int64]):
    """
    Deep Sea: a test of deep exploration (Osband et al. 2020, https://arxiv.org/abs/1908.03568).

    A diver sinks through ``size`` rows, one a step, and moves a column left or right. Moving right
    costs ``0.01 / size``; only who goes right at every single step finds the treasure of 1 in the
    last column, so that a random policy needs ``2 ** size`` episodes. Which action is "right"
    differs from cell to cell and is the same in every episode.

    The observation is the one-hot cell, ``(size * size,)``; the best return is 0.99.

    :param size: Number of rows, of columns and of steps of an episode
    :param mapping_seed: Seed of what the actions mean in each cell
    """

    action_space: spaces.Discrete

    def __init__(self, size: int = 20, mapping_seed: int = 0) -> None:
        if size < 1:
            raise ValueError(f"size={size} is not allowed: it must be at least 1")
        self.size = size
        self.observation_space = spaces.Box(0.0, 1.0, (size * size,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.right = np.random.default_rng(mapping_seed).integers(2, size=(size, size))
        self.row = self.column = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        self.row = self.column = 0
        return self._observation(), {}

    def step(self, action: np.int64) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        reward = 0.0
        if action == self.right[self.row, self.column]:
            reward -= 0.01 / self.size
            # Only the diagonal leads into the last column, and only in the last row.
            reward += float(self.column == self.size - 1)
            self.column = min(self.column + 1, self.size - 1)
        else:
            self.column = max(self.column - 1, 0)
        self.row += 1
        return self._observation(), reward, self.row == self.size, False, {}

    def _observation(self) -> Observation:
        observation = np.zeros((self.size, self.size), np.float32)
        if self.row < self.size:
            observation[self.row, self.column] = 1.0
        return observation.ravel()


class Whereabouts(gym.ObservationWrapper[Observation, Any, Any]):
    """
    A MiniGrid that is the same in every episode, observed by where the agent stands and which way it
    looks: two one-hot codes, the cell's, row by row, and the direction's, ``(width * height + 4,)``.
    Where nothing but the agent moves, that is all there is to know, and three of the seven actions are
    all that does something: turn left, turn right, go forward.

    :param env: A MiniGrid environment
    :param layout_seed: Seed of every episode
    """

    def __init__(self, env: gym.Env[Any, Any], layout_seed: int) -> None:
        super().__init__(env)
        self.layout_seed = layout_seed
        grid: Any = env.unwrapped
        self.grid, self.n_cells = grid, int(grid.width * grid.height)
        self.observation_space = spaces.Box(0.0, 1.0, (self.n_cells + 4,), np.float32)
        self.action_space = spaces.Discrete(3)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        return super().reset(seed=self.layout_seed, options=options)

    def observation(self, observation: Any) -> Observation:
        column, row = self.grid.agent_pos
        whereabouts = np.zeros(self.n_cells + 4, np.float32)
        whereabouts[row * self.grid.width + column] = 1.0
        whereabouts[self.n_cells + self.grid.agent_dir] = 1.0
        return whereabouts


def four_rooms(layout_seed: int = 0, **kwargs: Any) -> gym.Env[Observation, Any]:
    """
    MiniGrid's four rooms, from a corner of the first into the opposite one: some 26 right actions of 3 in
    a row, the reward at the goal alone. Needs the extra ``bench``.

    :param layout_seed: Seed of where the doors are
    :param kwargs: Further arguments of ``MiniGrid-FourRooms-v0``
    """
    import minigrid  # noqa: F401 -- registers its environments

    grid = gym.make("MiniGrid-FourRooms-v0", agent_pos=(1, 1), goal_pos=(11, 11), **kwargs)
    return Whereabouts(grid, layout_seed)


gym.register("DeepSea-v0", entry_point="benchmarks.environments.sparse:DeepSea")
gym.register("FourRooms-v0", entry_point="benchmarks.environments.sparse:four_rooms")
