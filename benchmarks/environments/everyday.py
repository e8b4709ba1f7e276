"""
Tasks of the study "defaults" that no package registers as they are meant there: with a step limit, on sure
ground, or with observations that a plain policy can see. Importing this module registers them.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym


def flat_minigrid(name: str, **kwargs: Any) -> gym.Env[Any, Any]:
    """
    A MiniGrid environment with flat observations, as in the Zoo's settings. Needs the extra ``bench``.

    :param name: What MiniGrid calls it
    :param kwargs: Its arguments
    """
    from minigrid.wrappers import FlatObsWrapper

    return FlatObsWrapper(gym.make(name, **kwargs))


HERE = "benchmarks.environments.everyday"
TOY_TEXT = "gymnasium.envs.toy_text"
gym.register(
    "CliffWalkingLimited-v1",
    entry_point=f"{TOY_TEXT}.cliffwalking:CliffWalkingEnv",
    max_episode_steps=200,
)
gym.register(
    "FrozenLake8x8Sure-v1",
    entry_point=f"{TOY_TEXT}.frozen_lake:FrozenLakeEnv",
    kwargs={"map_name": "8x8", "is_slippery": False},
    max_episode_steps=200,
)
gym.register("DeepSea10-v0", entry_point="benchmarks.environments.sparse:DeepSea", kwargs={"size": 10})
for grid in ("Empty-8x8", "DoorKey-5x5"):
    gym.register(
        f"Flat{grid}-v0", entry_point=f"{HERE}:flat_minigrid", kwargs={"name": f"MiniGrid-{grid}-v0"}
    )
# Hindsight: flip bits until all 10 are as in the goal, -1 for each of at most 10 steps before
gym.register(
    "BitFlipping10-v0", entry_point="stable_baselines3.common.envs:BitFlippingEnv", disable_env_checker=True
)
