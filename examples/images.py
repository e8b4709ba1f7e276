"""
An agent that sees images: catch a ball that falls, from pixels, with convolutions that learn locally.

For images of your own, replace the environment: ``ANGC`` chooses ``CnnPolicy`` and its layers by them.
"""

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch as th
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from sb3_angc import ANGC

Image = npt.NDArray[np.uint8]


class Catch(gym.Env[Image, np.int64]):
    """A ball falls one row a step, a paddle moves in the lowest row; 1 for catching the ball, else -1."""

    def __init__(self, size: int = 8) -> None:
        self.size = size
        self.observation_space = spaces.Box(0, 255, (1, size, size), np.uint8)  # channels, rows, columns
        self.action_space = spaces.Discrete(3)  # to the left, stay, to the right
        self.row = self.ball = self.paddle = 0

    def draw(self) -> Image:
        image = np.zeros((1, self.size, self.size), np.uint8)
        image[0, self.row, self.ball] = 255
        image[0, -1, self.paddle] = 255
        return image

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Image, dict[str, Any]]:
        super().reset(seed=seed)
        self.row, self.paddle = 0, self.size // 2
        self.ball = int(self.np_random.integers(self.size))
        return self.draw(), {}

    def step(self, action: np.int64) -> tuple[Image, float, bool, bool, dict[str, Any]]:
        self.row += 1
        self.paddle = min(max(self.paddle + int(action) - 1, 0), self.size - 1)
        terminated = self.row == self.size - 1
        reward = 0.0 if not terminated else 1.0 if self.ball == self.paddle else -1.0
        return self.draw(), reward, terminated, False, {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    th.set_num_threads(1)  # more threads only slow small layers down
    model = ANGC(Catch(), buffer_size=10_000, learning_starts=500, seed=arguments.seed)
    model.learn(arguments.steps)

    env = Monitor(Catch())
    env.reset(seed=arguments.seed)
    returns, _ = evaluate_policy(model, env, n_eval_episodes=100, return_episode_rewards=True)
    assert isinstance(returns, list)  # as asked for
    print(f"caught: {returns.count(1.0)} of {len(returns)}")


if __name__ == "__main__":
    main()
