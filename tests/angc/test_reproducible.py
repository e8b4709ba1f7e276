"""The same seed on one thread: the same bits, in two processes."""

import hashlib
import json
import subprocess
import sys
from typing import Any

import gymnasium as gym
import pytest
import torch as th
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_angc import ANGC
from tests.agents import TINY
from tests.envs import Parts


def images() -> FakeImageEnv:
    env = FakeImageEnv(screen_height=36, screen_width=36, n_channels=1)
    env.observation_space.seed(
        0
    )  # its observations are drawn from there, and `reset(seed=...)` leaves it out
    return env


ENVIRONMENTS: dict[str, Any] = {
    "MlpPolicy": lambda: gym.make("CartPole-v1"),
    "MultiInputPolicy": Parts,
    "CnnPolicy": images,
}


def fingerprints() -> dict[str, str]:
    """Hash of all weights and moments after training, of each policy class with 1 and 3 environments."""
    result = {}
    for policy in ANGC.policy_aliases:
        for n_envs in (1, 3):
            env = DummyVecEnv([ENVIRONMENTS[policy]] * n_envs)
            settings = {**TINY, "buffer_size": 1000}
            if policy == "CnnPolicy":
                settings.pop("policy_kwargs")
            model = ANGC(policy, env, **settings).learn(90 if policy == "CnnPolicy" else 210)
            digest = hashlib.sha256()
            _add(digest, model.get_parameters())
            result[f"{policy} x {n_envs}"] = digest.hexdigest()
    return result


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, th.Tensor):
        digest.update(value.numpy().tobytes())
    elif isinstance(value, dict):
        for key in value:
            digest.update(str(key).encode())
            _add(digest, value[key])
    elif isinstance(value, (list, tuple)):
        for entry in value:
            _add(digest, entry)
    else:
        digest.update(repr(value).encode())


@pytest.fixture(scope="module")
def two_processes() -> list[dict[str, str]]:
    command = (
        "import json, torch; torch.set_num_threads(1);"
        "from tests.angc.test_reproducible import fingerprints; print(json.dumps(fingerprints()))"
    )
    return [
        json.loads(subprocess.run([sys.executable, "-c", command], check=True, capture_output=True).stdout)
        for _ in range(2)
    ]


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("policy", list(ANGC.policy_aliases))
def test_bit_identical_in_two_processes(
    policy: str, n_envs: int, two_processes: list[dict[str, str]]
) -> None:
    one, other = (process[f"{policy} x {n_envs}"] for process in two_processes)
    assert one == other


def test_fingerprints_tell_runs_apart(two_processes: list[dict[str, str]]) -> None:
    assert len(set(two_processes[0].values())) == len(two_processes[0])
