"""Deep Sea against its definition, four rooms against MiniGrid's."""

from collections import defaultdict, deque
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

pytest.importorskip("rl_zoo3", reason="RL Zoo is in the extra 'bench'")
pytest.importorskip("minigrid", reason="MiniGrid is in the extra 'bench'")

from benchmarks.environments.sparse import DeepSea

# MiniGrid: which way each direction looks, and the three actions that move the agent
AHEAD = [(1, 0), (0, 1), (-1, 0), (0, -1)]
LEFT, RIGHT, FORWARD = range(3)


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


def shortest_way(grid: Any) -> list[int]:
    """Actions of a shortest way to the goal, by breadth-first search on the map."""
    start = (*map(int, grid.agent_pos), int(grid.agent_dir))
    ways: dict[tuple[int, ...], list[int]] = {start: []}
    queue = deque([start])
    while queue:
        x, y, direction = at = queue.popleft()
        ahead = grid.grid.get(x + AHEAD[direction][0], y + AHEAD[direction][1])
        nexts = {LEFT: (x, y, (direction - 1) % 4), RIGHT: (x, y, (direction + 1) % 4)}
        if ahead is None or ahead.type == "goal":
            nexts[FORWARD] = (x + AHEAD[direction][0], y + AHEAD[direction][1], direction)
        for action, there in nexts.items():
            if there not in ways:
                ways[there] = [*ways[at], action]
                if action == FORWARD and ahead is not None:
                    return ways[there]
                queue.append(there)
    raise AssertionError("no way to the goal")


def test_four_rooms_are_the_same_in_every_episode_and_reward_the_goal() -> None:
    env = gym.make("FourRooms-v0")
    grid: Any = env.unwrapped
    maps = []
    for seed in (3, None):
        observation, _ = env.reset(seed=seed)
        maps.append(str(grid))
        way = shortest_way(grid)
        assert len(way) >= 22  # 10 cells to the right and 10 down, and at least 2 turns
        for step, action in enumerate(way, start=1):
            cell, direction = np.flatnonzero(observation)
            assert (cell % 19, cell // 19, direction - 361) == (*grid.agent_pos, grid.agent_dir)
            observation, reward, terminated, truncated, _ = env.step(action)
            assert not truncated
            assert terminated == (step == len(way))
            assert reward == (pytest.approx(1 - 0.9 * step / 100) if terminated else 0)
        assert tuple(grid.agent_pos) == (11, 11)
    assert maps[0] == maps[1]


def chance_of_the_goal(grid: Any) -> float:
    """Probability that the random policy reaches the goal in an episode, carried on step by step."""
    chances = {(*map(int, grid.agent_pos), int(grid.agent_dir)): 1.0}
    reached = 0.0
    for _ in range(grid.max_steps):
        following: dict[tuple[int, ...], float] = defaultdict(float)
        for (x, y, direction), chance in chances.items():
            ahead = (x + AHEAD[direction][0], y + AHEAD[direction][1])
            there = grid.grid.get(*ahead)
            if there is not None and there.type == "goal":
                reached += chance / 3
            else:
                following[(*((x, y) if there is not None else ahead), direction)] += chance / 3
            for turned in ((direction - 1) % 4, (direction + 1) % 4):
                following[x, y, turned] += chance / 3
        chances = following
    return reached


def test_a_random_walk_hardly_ever_crosses_the_four_rooms() -> None:
    env = gym.make("FourRooms-v0")
    env.reset()
    assert env.action_space == gym.spaces.Discrete(3)
    assert chance_of_the_goal(env.unwrapped) == pytest.approx(5.55e-5, rel=1e-3)


def steps_of(env: gym.Env[Any, Any], action: int) -> list[tuple[float, bool, bool]]:
    """Reward and ends of the steps of an episode of one action, over and over."""
    env.reset(seed=0)
    steps: list[tuple[float, bool, bool]] = []
    while not steps or not any(steps[-1][1:]):
        _, reward, terminated, truncated, _ = env.step(action)
        steps.append((float(reward), terminated, truncated))
    return steps


def test_tasks_of_the_study_of_defaults() -> None:
    # Up against the wall, to the limit; right into the cliff, and back at the start
    assert steps_of(gym.make("CliffWalkingLimited-v1"), 0) == [(-1, False, False)] * 199 + [(-1, False, True)]
    assert steps_of(gym.make("CliffWalkingLimited-v1"), 1) == [(-100, False, False)] * 199 + [
        (-100, False, True)
    ]
    lake = gym.make("FrozenLake8x8Sure-v1")
    lake.reset(seed=0)
    assert [lake.step(action)[0] for action in (2, 2, 1, 1)] == [1, 2, 10, 18]  # right, right, down, down
    assert gym.make("DeepSea10-v0").observation_space.shape == (100,)
    for name in ("Empty-8x8", "DoorKey-5x5"):
        space = gym.make(f"Flat{name}-v0").observation_space
        assert isinstance(space, gym.spaces.Box)
        assert len(space.shape) == 1
    assert len(steps_of(gym.make("BitFlipping10-v0"), 0)) == 10
