"""Every kind of observation that DQN takes: seen as DQN sees it, learned from, saved and loaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import CombinedExtractor
from stable_baselines3.her import HerReplayBuffer

from sb3_angc import ANGC
from tests.agents import TINY


class SampledEnv(gym.Env[Any, np.int64]):
    """Observations drawn from a space; reward and end drawn as well."""

    action_space: spaces.Discrete

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        self.observation_space = observation_space
        self.action_space = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        draw = self.np_random.random()
        return self.observation_space.sample(), draw, draw < 0.1, draw > 0.95, {}


SPACES: dict[str, spaces.Space[Any]] = {
    "scalar Box": spaces.Box(-1, 1, (1,), np.float32),
    "matrix": spaces.Box(-2, 2, (3, 4), np.float32),
    "cube": spaces.Box(-2, 2, (2, 3, 4), np.float32),
    "four dimensions": spaces.Box(-2, 2, (2, 3, 2, 2), np.float64),
    "integers": spaces.Box(-5, 5, (3,), np.int32),
    "Discrete": spaces.Discrete(5),
    "MultiDiscrete": spaces.MultiDiscrete([3, 2, 4]),
    "MultiDiscrete of bytes": spaces.MultiDiscrete([3, 2, 4], dtype=np.uint8),
    "MultiDiscrete of small integers": spaces.MultiDiscrete([3, 2, 4], dtype=np.int16),
    "MultiBinary": spaces.MultiBinary(6),
    "Dict": spaces.Dict(
        {
            "z": spaces.Box(-1, 1, (2, 2), np.float32),
            "a": spaces.Discrete(3),
            "m": spaces.MultiDiscrete([2, 3]),
            "b": spaces.MultiBinary(2),
        }
    ),
}


def batch_of(space: spaces.Space[Any], n: int) -> Any:
    samples = [space.sample() for _ in range(n)]
    if isinstance(space, spaces.Dict):
        return {key: np.stack([sample[key] for sample in samples]) for key in space}
    return np.stack(samples)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_space(space: spaces.Space[Any], tmp_path: Path) -> None:
    settings = {**TINY, "policy_kwargs": {"net_arch": [16], "normalize_features": False}}
    model = ANGC(SampledEnv(space), **settings).learn(100)
    assert model._n_updates > 0
    observations = batch_of(space, 8)

    # What the circuits see is what DQN's network sees.
    policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    dqn = DQN(policy, SampledEnv(space), buffer_size=10, device="cpu")
    tensor, is_batch = dqn.policy.obs_to_tensor(observations)
    assert is_batch
    expected = preprocess_obs(tensor, space)
    if isinstance(space, spaces.Dict):
        expected = CombinedExtractor(space)(expected)
    assert isinstance(expected, th.Tensor)
    assert th.equal(model.policy.features(model.policy.obs_to_tensor(observations)[0]), expected.flatten(1))

    # One observation alone gets the action that it gets in a batch, and after loading as well.
    model.save(tmp_path / "angc")
    actions, _ = model.predict(observations, deterministic=True)
    loaded_actions, _ = ANGC.load(tmp_path / "angc", device="cpu").predict(observations, deterministic=True)
    assert (actions == loaded_actions).all()
    for row in range(8):
        is_dict = isinstance(space, spaces.Dict)
        one = {key: part[row] for key, part in observations.items()} if is_dict else observations[row]
        assert model.predict(one, deterministic=True)[0] == actions[row]


GOALS: dict[str, Callable[[], gym.Env[Any, Any]]] = {
    "bits": lambda: BitFlippingEnv(n_bits=4),
    "discrete": lambda: BitFlippingEnv(n_bits=4, discrete_obs_space=True),
    "images": lambda: BitFlippingEnv(n_bits=4, image_obs_space=True, channel_first=True),
    "images, channels last": lambda: BitFlippingEnv(n_bits=4, image_obs_space=True, channel_first=False),
}


@pytest.mark.parametrize("make", GOALS.values(), ids=GOALS)
def test_goal_environment_with_hindsight(make: Callable[[], gym.Env[Any, Any]]) -> None:
    """Hindsight rewards reach the controller: its targets hold goals that no episode reached."""
    model = ANGC(
        make(),
        replay_buffer_class=HerReplayBuffer,
        replay_buffer_kwargs={"n_sampled_goal": 4, "goal_selection_strategy": "future"},
        buffer_size=200,
        **TINY,
    ).learn(80)
    assert model._n_updates > 0
    assert model.replay_buffer is not None
    batch = model.sample(100)
    reached = batch.rewards.flatten() == 0
    stored = (model.replay_buffer.rewards[: model.replay_buffer.pos] == 0).mean()
    assert reached.float().mean() > stored + 0.2  # BitFlippingEnv: 0 where the goal is reached, else -1


def test_learns_to_flip_bits_with_hindsight() -> None:
    model = ANGC(
        "MultiInputPolicy",
        BitFlippingEnv(n_bits=4),
        learning_rate=1e-2,
        learning_starts=100,
        train_freq=1,
        replay_buffer_class=HerReplayBuffer,
        replay_buffer_kwargs={"n_sampled_goal": 4, "goal_selection_strategy": "future"},
        policy_kwargs={"net_arch": [32]},
        seed=0,
        device="cpu",
    ).learn(1500)
    env = BitFlippingEnv(n_bits=4)
    reached = 0
    for _ in range(20):
        observation: Any = env.reset()[0]
        done = False
        while not done:
            action, _ = model.predict(observation, deterministic=True)
            observation, _, terminated, truncated, info = env.step(int(action))
            done = terminated or truncated
        reached += info["is_success"]
    assert reached >= 18
