"""Replay of n steps with the observation that follows at once."""

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_angc import ANGC
from sb3_angc.angc.policies import ANGCPolicy
from sb3_angc.angc.replay import SuccessorReplayBuffer
from tests.agents import TINY
from tests.envs import ScriptedEnv


@pytest.mark.parametrize("n_envs", [1, 3])
def test_one_step_beside_n_steps(n_envs: int) -> None:
    """Observation of step k in environment i: 100 i + k; episodes end at every tenth step."""
    buffers = [
        kind(60 * n_envs, spaces.Box(-1e3, 1e3, (1,)), spaces.Discrete(2), "cpu", n_envs, n_steps=3)
        for kind in (SuccessorReplayBuffer, NStepReplayBuffer)
    ]
    first = 100.0 * np.arange(n_envs)[:, None]
    for buffer in buffers:
        for k in range(40):
            done = np.full(n_envs, k % 10 == 9)
            rewards = np.full(n_envs, float(k))
            buffer.add(first + k, first + k + 1, np.zeros((n_envs, 1)), rewards, done, [{}] * n_envs)
    set_random_seed(0)
    samples: Any = buffers[0].sample(200)
    set_random_seed(0)
    expected = buffers[1].sample(200)
    # All that SB3's buffer gives, from the same draws ...
    for name, value in expected._asdict().items():
        assert th.equal(getattr(samples, name), value)
    # ... and the next observation, where that of SB3's is 3 steps later, or the episode's last.
    th.testing.assert_close(samples.successors, samples.observations + 1)
    steps = (samples.observations % 100).round()
    later = th.minimum(steps + 3, (steps // 10 + 1) * 10).clamp(max=40)
    th.testing.assert_close(samples.next_observations, samples.observations - steps + later)


def test_generator_learns_one_step_and_controller_n(tmp_path: Path) -> None:
    env = ScriptedEnv(lambda k: (float(k % 1000) / 100, 0.0, False, False))
    settings = {**TINY, "policy_kwargs": {"net_arch": [16], "normalize_features": False}}
    uncut = {"cut_at_random_choices": False}
    model = ANGC(env, n_steps=4, replay_buffer_kwargs=uncut, **settings).learn(300)
    batch = model.sample(64)
    inside = (batch.features < 2.9).all(dim=1)  # not at the end of what is in the buffer
    th.testing.assert_close(batch.successor_features[inside], batch.features[inside] + 0.01)
    th.testing.assert_close(batch.bootstrap_features[inside], batch.features[inside] + 0.04)
    # A loaded model goes on with the same replay, and is not told that `n_steps` is ignored.
    path = tmp_path / "angc"
    model.save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = ANGC.load(path, env=env, device="cpu")
    assert loaded.n_steps == 4
    assert isinstance(loaded.replay_buffer, SuccessorReplayBuffer)
    assert loaded.replay_buffer.n_steps == 4


def test_steps_and_discount_given_anew_reach_the_replay(tmp_path: Path) -> None:
    env = ScriptedEnv(lambda k: (float(k), 0.0, False, False))
    path = tmp_path / "angc"
    ANGC(env, n_steps=4, **TINY).save(path)
    loaded = ANGC.load(path, env=env, device="cpu", n_steps=2, gamma=0.5)
    assert isinstance(loaded.replay_buffer, SuccessorReplayBuffer)
    assert (loaded.replay_buffer.n_steps, loaded.replay_buffer.gamma) == (2, 0.5)
    loaded = ANGC.load(path, env=env, device="cpu", n_steps=1)
    assert isinstance(loaded.replay_buffer, SuccessorReplayBuffer)
    assert loaded.replay_buffer.n_steps == 1


@pytest.mark.parametrize("how", ["load", "load_safe"])
def test_another_buffer_is_asked_for_on_loading(how: str, tmp_path: Path) -> None:
    """One of single steps takes no number of steps, and none was asked for by its arguments."""
    if how == "load_safe":
        pytest.importorskip("safetensors", reason="safetensors is the extra 'safe'")
    env = ScriptedEnv(lambda k: (float(k), 0.0, False, False))
    model = ANGC(env, n_steps=4, replay_buffer_kwargs={"handle_timeout_termination": False}, **TINY)
    path = tmp_path / "angc.zip"
    (model.save if how == "load" else model.save_safe)(path)
    arguments: dict[str, Any] = {"replay_buffer_class": ReplayBuffer, "n_steps": 1}
    loaded = getattr(ANGC, how)(path, env=env, device="cpu", **arguments).learn(60)
    assert type(loaded.replay_buffer) is ReplayBuffer
    assert not loaded.replay_buffer.handle_timeout_termination
    assert (loaded.sample(20).discounts[:, 0] == loaded.gamma).all()


@pytest.mark.parametrize("how", ["load", "load_safe"])
@pytest.mark.parametrize(
    ("saved", "given", "expected"),
    [
        ({"n_steps": 4}, {"n_steps": None}, {"n_steps": 5}),
        ({"n_steps": 1}, {"n_steps": None}, {"n_steps": 1}),  # its buffer is of one step
        ({"n_steps": 4, "gamma": 0.9}, {"n_steps": None, "gamma": 0.5}, {"n_steps": 5, "gamma": 0.5}),
        ({"n_steps": 1}, {"n_steps": None, "replay_buffer_class": None}, {"n_steps": 5}),
        ({"tau": 0.3}, {"tau": None}, {"tau": 0.005}),
        ({"tau": 0.3, "target_update_interval": 100}, {"tau": None}, {"tau": 1.0}),
        ({}, {"replay_buffer_kwargs": None}, {"replay_buffer_kwargs": {}}),
    ],
    ids=str,
)
def test_none_means_on_loading_what_it_means_to_the_constructor(
    how: str, saved: dict[str, Any], given: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    if how == "load_safe":
        pytest.importorskip("safetensors", reason="safetensors is the extra 'safe'")
    model = ANGC("CartPole-v1", **saved, **TINY)
    path = tmp_path / "angc.zip"
    (model.save if how == "load" else model.save_safe)(path)
    loaded = getattr(ANGC, how)(path, env="CartPole-v1", device="cpu", **given)
    assert {name: getattr(loaded, name) for name in expected} == expected
    if "n_steps" in expected and expected["n_steps"] > 1:
        assert isinstance(loaded.replay_buffer, SuccessorReplayBuffer)
        kept = loaded.replay_buffer.n_steps, loaded.replay_buffer.gamma
        assert kept == (loaded.n_steps, loaded.gamma)


def test_no_updates_change_and_record_nothing(recwarn: pytest.WarningsRecorder) -> None:
    model = ANGC("CartPole-v1", **TINY).learn(60)
    before, n_updates = copy.deepcopy(model.policy.state_dict()), model._n_updates
    model.logger.name_to_value.clear()
    model.train(0, 8)
    assert model._n_updates == n_updates
    assert set(model.logger.name_to_value) == {"train/learning_rate", "train/n_updates"}
    assert all(th.equal(value, model.policy.state_dict()[name]) for name, value in before.items())
    assert not list(recwarn)


def test_steps_and_discount_set_later_reach_the_replay(tmp_path: Path) -> None:
    """Of a loaded buffer, which has its own, and while training goes on, as in DQN."""
    env = ScriptedEnv(lambda k: (float(k % 7), 0.0, False, False))
    model = ANGC(env, n_steps=4, **TINY).learn(100)
    model.save(tmp_path / "angc")
    model.save_replay_buffer(tmp_path / "buffer")
    loaded = ANGC.load(tmp_path / "angc", env=env, device="cpu", n_steps=2, gamma=0.5)
    loaded.load_replay_buffer(tmp_path / "buffer")
    discounts = loaded.sample(500).discounts
    assert set(discounts[:, 0].tolist()) == {0.25, 0.5}  # the newest transition is of one step
    loaded.gamma = 0.0
    assert (loaded.sample(500).discounts == 0).all()


@pytest.mark.parametrize(
    ("arguments", "n_steps"),
    [
        ({}, 5),
        ({"n_steps": 7}, 7),
        ({"replay_buffer_kwargs": {"n_steps": 3}}, 3),
        ({"n_steps": 3, "replay_buffer_kwargs": {"n_steps": 3}}, 3),
    ],
)
def test_steps_of_a_replay_class_given_by_name(arguments: dict[str, Any], n_steps: int) -> None:
    env = ScriptedEnv(lambda k: (float(k), 0.0, False, False))
    model = ANGC(env, replay_buffer_class=SuccessorReplayBuffer, gamma=0.9, **arguments, **TINY)
    assert isinstance(model.replay_buffer, SuccessorReplayBuffer)
    assert (model.n_steps, model.replay_buffer.n_steps, model.replay_buffer.gamma) == (n_steps, n_steps, 0.9)


def test_returns_end_before_the_next_random_choice() -> None:
    """Worked by hand: rewards 0 to 9 in steps 0 to 9, random choices in steps 0, 3 and 4."""
    kind = SuccessorReplayBuffer
    space = spaces.Box(-1e3, 1e3, (1,))
    for cut in (True, False):
        buffer = kind(20, space, spaces.Discrete(2), "cpu", n_steps=3, gamma=0.5, cut_at_random_choices=cut)
        for k in range(10):
            buffer.add(
                np.array([[k]]), np.array([[k + 1]]), np.zeros((1, 1)), np.array([k]), np.array([False]), [{}]
            )
            buffer.note_random_choices(np.array([k in (0, 3, 4)]))
        samples: Any = buffer._get_samples(np.arange(10))
        rewards = {
            True: [0 + 1 / 2 + 2 / 4, 1 + 2 / 2, 2, 3, 4 + 5 / 2 + 6 / 4],
            False: [
                0 + 1 / 2 + 2 / 4,
                1 + 2 / 2 + 3 / 4,
                2 + 3 / 2 + 4 / 4,
                3 + 4 / 2 + 5 / 4,
                4 + 5 / 2 + 6 / 4,
            ],
        }
        bootstraps = {True: [3, 3, 3, 4, 7], False: [3, 4, 5, 6, 7]}
        discounts = {True: [1 / 8, 1 / 4, 1 / 2, 1 / 2, 1 / 8], False: [1 / 8] * 5}
        assert samples.rewards[:5, 0].tolist() == rewards[cut]
        assert samples.next_observations[:5, 0].tolist() == bootstraps[cut]
        assert samples.discounts[:5, 0].tolist() == discounts[cut]
        assert (samples.dones == 0).all()
        assert samples.successors[:, 0].tolist() == list(range(1, 11))


def test_random_choices_of_an_earlier_round_are_forgotten() -> None:
    buffer = SuccessorReplayBuffer(3, spaces.Box(-1e3, 1e3, (1,)), spaces.Discrete(2), "cpu")
    for k in range(5):
        buffer.add(
            np.array([[k]]), np.array([[k + 1]]), np.zeros((1, 1)), np.array([k]), np.array([False]), [{}]
        )
        if k < 3:
            buffer.note_random_choices(True)
    assert buffer.was_random[:, 0].tolist() == [False, False, True]


@pytest.mark.parametrize("exploration_steps", [1, 3])
@pytest.mark.parametrize("n_envs", [1, 2])
def test_the_buffer_knows_which_choices_were_random(n_envs: int, exploration_steps: int) -> None:
    """The best action is always 0, and a callback asks for random actions in between."""

    class First(ANGCPolicy):
        def _predict(self, obs: Any, deterministic: bool = True) -> th.Tensor:
            return super()._predict(obs, deterministic) * 0

    def ask(locals_: dict[str, Any], _: dict[str, Any]) -> bool:
        locals_["self"].predict(locals_["new_obs"], deterministic=False)
        return True

    def make() -> ScriptedEnv:
        env = ScriptedEnv(lambda k: (float(k % 7), 0.0, False, k % 10 == 9))
        env.action_space = spaces.Discrete(1000)
        return env

    settings = {**TINY, "exploration_initial_eps": 0.3, "exploration_final_eps": 0.3, "learning_starts": 20}
    model = ANGC(First, DummyVecEnv([make] * n_envs), exploration_steps=exploration_steps, **settings)
    model.learn(200 * n_envs, callback=ask)
    buffer = model.replay_buffer
    assert isinstance(buffer, SuccessorReplayBuffer)
    was_random, actions = buffer.was_random[: buffer.pos], buffer.actions[: buffer.pos, :, 0]
    # One random choice of a thousand is 0 as well
    assert np.mean(was_random == (actions != 0)) > 0.97
    assert was_random[: 20 // n_envs].all()
    assert 0.2 < was_random[20:].mean() < (0.45 if exploration_steps == 1 else 0.7)
