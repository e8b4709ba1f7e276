"""Deep Sea against its definition."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from benchmarks.environments import DeepSea


def play(env: DeepSea, moves: list[bool]) -> float:
    """Return of an episode of moves to the right (true) and to the left."""
    env.reset()
    total, ends = 0.0, []
    for goes_right in moves:
        right = env.right[env.row, env.column]
        _, reward, terminated, truncated, _ = env.step(np.int64(right if goes_right else 1 - right))
        total += float(reward)
        ends.append(terminated)
        assert not truncated
    assert ends == [False] * (len(moves) - 1) + [True]
    return total


@pytest.mark.parametrize("mapping_seed", [0, 1])
def test_only_the_diagonal_leads_to_the_treasure(mapping_seed: int) -> None:
    env = DeepSea(8, mapping_seed)
    assert play(env, [True] * 8) == pytest.approx(0.99)
    for wrong in range(8):
        moves = [step != wrong for step in range(8)]
        assert play(env, moves) == pytest.approx(-7 * 0.01 / 8)
    assert play(env, [False] * 8) == 0.0


def test_observation_is_the_one_hot_cell() -> None:
    env = DeepSea(4)
    observation, _ = env.reset()
    assert observation.tolist() == [1.0] + [0.0] * 15
    for _ in range(2):
        observation, *_ = env.step(np.int64(env.right[env.row, env.column]))
    assert observation.argmax() == 2 * 4 + 2
    assert observation.sum() == 1.0


def test_follows_the_interface() -> None:
    check_env(gym.make("DeepSea-v0", size=5).unwrapped, skip_render_check=True)
    with pytest.raises(ValueError, match="size=0 is not allowed"):
        DeepSea(0)
