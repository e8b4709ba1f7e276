"""
An environment of one's own: a corridor with the goal at one end, and a policy that can be checked.

Whatever follows gymnasium's interface, with actions that are discrete or have bounds, can be learned from
in this way.
"""

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.env_checker import check_env

from sb3_angc import ANGC


class Corridor(gym.Env[np.int64, np.int64]):
    """Cells in a row. Each step costs 1; the episode ends at the right end."""

    def __init__(self, length: int = 6) -> None:
        self.length = length
        self.observation_space = spaces.Discrete(length)
        self.action_space = spaces.Discrete(2)
        self.cell = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        self.cell = int(self.np_random.integers(self.length - 1))
        return np.int64(self.cell), {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        self.cell = min(max(self.cell + (1 if action == 1 else -1), 0), self.length - 1)
        terminated = self.cell == self.length - 1
        return np.int64(self.cell), -1.0, terminated, False, {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    th.set_num_threads(1)  # more threads only slow small layers down
    check_env(Corridor())
    env = TimeLimit(Corridor(), max_episode_steps=50)  # cut off, not terminated: values go on
    model = ANGC("MlpPolicy", env, learning_starts=200, seed=arguments.seed)
    model.learn(arguments.steps)

    cells = range(Corridor().length - 1)
    actions = [int(model.predict(np.array(cell), deterministic=True)[0]) for cell in cells]
    print("best action by cell:", "".join("<>"[action] for action in actions))


if __name__ == "__main__":
    main()
