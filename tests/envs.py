"""Environments of the tests of what surrounds the agent."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit


class Counter(gym.Env[Any, Any]):
    """
    Observation 100 * episode + step: every transition stored can be checked on its own. The
    action moves nothing; each step earns 1.
    """

    observation_space: spaces.Space[Any] = spaces.Box(-1e6, 1e6, (1,), np.float32)
    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def __init__(self) -> None:
        self.episode = -1
        self.count = 0

    def _observe(self) -> Any:
        return np.array([100 * self.episode + self.count], np.float32)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        super().reset(**kwargs)
        self.episode += 1
        self.count = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.count += 1
        return self._observe(), 1.0, False, False, {}


class GoalCounter(Counter):
    """The same with a goal, -1, that is never reached."""

    observation_space = spaces.Dict(
        dict.fromkeys(("observation", "achieved_goal", "desired_goal"), Counter.observation_space)
    )

    def _observe(self) -> Any:
        value = super()._observe()
        return {"observation": value, "achieved_goal": value, "desired_goal": np.full(1, -1, np.float32)}

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        return np.all(achieved == desired, axis=-1).astype(np.float32)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, _, *rest = super().step(action)
        reward = self.compute_reward(observation["achieved_goal"], observation["desired_goal"], {})
        return observation, float(reward), *rest


class Parts(gym.Env[Any, Any]):
    """A Dict observation of two parts, drawn at random; the reward is for naming the larger one."""

    observation_space = spaces.Dict({"a": spaces.Box(0, 1, (1,)), "b": spaces.Box(0, 1, (1,))})
    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def _draw(self) -> dict[str, np.ndarray[Any, Any]]:
        self.state = {name: self.np_random.random(1, np.float32) for name in ("a", "b")}
        return self.state

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        super().reset(**kwargs)
        return self._draw(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float((self.state["b"] > self.state["a"]).item() == bool(action))
        return self._draw(), reward, False, False, {}


def counter(length: int) -> gym.Env[Any, Any]:
    """A ``Counter`` with episodes that are cut after so many steps."""
    return TimeLimit(Counter(), length)


class ScriptedEnv(gym.Env[np.ndarray[Any, Any], Any]):
    """Two-step episodes; observation, reward and end of every step can be set by a test."""

    observation_space = spaces.Box(-10, 10, (2,), np.float32)
    action_space: spaces.Space[Any] = spaces.Discrete(3)

    def __init__(self, step: Callable[[int], tuple[float, float, bool, bool]]) -> None:
        self.script = step
        self.count = 0

    def reset(self, **kwargs: Any) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
        super().reset(**kwargs)
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray[Any, Any], float, bool, bool, dict[str, Any]]:
        self.count += 1
        value, reward, terminated, truncated = self.script(self.count)
        return np.full(2, value, np.float32), reward, terminated, truncated, {}
