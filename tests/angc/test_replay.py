"""Replay buffers: each class of SB3's, one of a user's, and where trajectories end."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium.wrappers import TimeLimit
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_angc import ANGC
from sb3_angc.angc.replay import SuccessorReplayBuffer, batches
from tests.agents import TINY
from tests.envs import Counter, GoalCounter, Parts, ScriptedEnv, counter

NO_TIMEOUTS = {"handle_timeout_termination": False}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, SuccessorReplayBuffer),
        ({"n_steps": 1}, ReplayBuffer),
        ({"n_steps": 1, "replay_buffer_kwargs": {"cut_at_random_choices": False}}, SuccessorReplayBuffer),
        ({"optimize_memory_usage": True, "replay_buffer_kwargs": NO_TIMEOUTS}, ReplayBuffer),
        ({"replay_buffer_class": ReplayBuffer}, ReplayBuffer),
        (
            {"replay_buffer_class": NStepReplayBuffer, "replay_buffer_kwargs": {"n_steps": 2}},
            NStepReplayBuffer,
        ),
    ],
    ids=str,
)
def test_buffer_that_the_arguments_choose(arguments: dict[str, Any], expected: type) -> None:
    model = ANGC("MlpPolicy", counter(7), **TINY, **arguments).learn(100)
    assert type(model.replay_buffer) is expected
    assert model._n_updates > 0
    assert NO_TIMEOUTS == {"handle_timeout_termination": False}  # a user's dict is not written to


def test_dict_buffer() -> None:
    settings = {**TINY, "learning_rate": 1e-2, "gamma": 0.0, "alpha_epistemic": 0.0, "train_freq": 1}
    model = ANGC("MultiInputPolicy", Parts(), exploration_final_eps=1.0, **settings).learn(800)
    assert type(model.replay_buffer) is DictReplayBuffer
    observations = {
        name: np.random.default_rng(i).random((200, 1), np.float32) for i, name in enumerate("ab")
    }
    right = (
        model.predict(observations, deterministic=True)[0] == (observations["b"] > observations["a"])[:, 0]
    )
    assert right.mean() > 0.9


def test_memory_is_optimized_without_a_change_of_the_weights() -> None:
    weights = []
    for optimize in (False, True):
        model = ANGC(
            "CartPole-v1",
            n_steps=1,
            alpha_epistemic=0.0,  # at an episode's end the next observation is not kept, only its end
            optimize_memory_usage=optimize,
            replay_buffer_kwargs=NO_TIMEOUTS,
            **TINY,
        ).learn(200)
        weights.append(model.policy.controller.bundles[0].weight)
    assert th.equal(*weights)


@pytest.mark.parametrize("handled", [True, False])
def test_timeouts_are_ends_only_where_they_are_not_handled(handled: bool) -> None:
    kwargs = {"handle_timeout_termination": handled}
    model = ANGC("MlpPolicy", counter(5), n_steps=1, replay_buffer_kwargs=kwargs, **TINY).learn(100)
    assert model.replay_buffer is not None
    samples = model.replay_buffer.sample(500)
    is_last = samples.observations[:, 0] % 100 == 4
    assert th.equal(samples.dones[:, 0], is_last.float() * (not handled))


@pytest.mark.parametrize("n_steps", [1, 3])
def test_ends_stay_ends_where_runs_are_cut_short(n_steps: int) -> None:
    """Each call of ``learn()`` cuts an episode; what is stored at that place later is not of it."""

    def step(count: int) -> tuple[float, float, bool, bool]:
        return 0.0, 1.0, count % 7 == 0, False

    kwargs = {"handle_timeout_termination": False}
    small: dict[str, Any] = {**TINY, "buffer_size": 60, "n_steps": n_steps, "replay_buffer_kwargs": kwargs}
    model = ANGC("MlpPolicy", ScriptedEnv(step), **small)
    for _ in range(12):
        model.learn(36)
    buffer = model.replay_buffer
    assert isinstance(buffer, ReplayBuffer)
    assert not buffer.timeouts.any()
    if n_steps == 1:
        assert np.array_equal(buffer._get_samples(np.arange(60)).dones[:, 0].numpy(), buffer.dones[:, 0])


def test_subclass_of_a_user() -> None:
    class Newest(ReplayBuffer):
        """Replays the newest transition alone."""

        def sample(self, batch_size: int, env: Any = None) -> Any:
            return self._get_samples(np.full(batch_size, self.pos - 1), env)

    model = ANGC("MlpPolicy", counter(50), replay_buffer_class=Newest, **TINY).learn(92)
    assert (model.sample(4).rewards == 1).all()
    assert isinstance(model.replay_buffer, Newest)
    assert (model.replay_buffer.sample(4).observations == 141).all()  # step 41 of episode 1
    assert model._n_updates > 0


def test_her_learns_to_flip_bits() -> None:
    env = BitFlippingEnv(n_bits=6, continuous=False, max_steps=6)
    model = ANGC(
        "MultiInputPolicy",
        env,
        replay_buffer_class=HerReplayBuffer,
        replay_buffer_kwargs={"n_sampled_goal": 4, "goal_selection_strategy": "future"},
        learning_rate=3e-3,
        learning_starts=200,
        train_freq=4,
        gamma=0.95,
        tau=0.05,
        alpha_epistemic=0.0,
        exploration_fraction=0.5,
        policy_kwargs={"net_arch": [64, 64]},
        seed=0,
        device="cpu",
    )

    def success() -> float:
        returns = evaluate_policy(model, env, 20, return_episode_rewards=True, warn=False)[0]
        return float(np.mean(np.array(returns) > -6))  # -6: the goal was not reached

    assert success() < 0.6
    model.learn(1500)
    assert success() > 0.8


def test_her_puts_goals_that_were_reached_later() -> None:
    env = TimeLimit(GoalCounter(), 7)
    kwargs = {"n_sampled_goal": 4, "goal_selection_strategy": "future"}
    her: dict[str, Any] = {"replay_buffer_class": HerReplayBuffer, "replay_buffer_kwargs": kwargs}
    model = ANGC("MultiInputPolicy", env, **her, **{**TINY, "policy_kwargs": {"normalize_features": False}})
    model.learn(100)
    batch = model.sample(500)
    # Parts are joined in the order of their names.
    achieved, goal, _ = batch.bootstrap_features.unbind(1)
    is_own = goal == -1
    assert is_own.float().mean() == pytest.approx(0.2)  # 1 of 5
    assert (goal >= achieved)[~is_own].all()
    episodes, episodes_of_goals = (part.div(100, rounding_mode="floor") for part in (achieved, goal))
    assert th.equal(episodes[~is_own], episodes_of_goals[~is_own])
    assert th.equal(batch.rewards[:, 0], (goal == achieved).float())
    assert batch.rewards.sum() > 50


def test_each_of_many_updates_gets_a_sample_of_its_own() -> None:
    """HER returns own goals first, then those put in: cut out of one large sample, batches had one kind."""
    kwargs = {"n_sampled_goal": 4, "goal_selection_strategy": "future"}
    her: dict[str, Any] = {"replay_buffer_class": HerReplayBuffer, "replay_buffer_kwargs": kwargs}
    settings = {**TINY, "policy_kwargs": {"normalize_features": False}}
    model = ANGC("MultiInputPolicy", TimeLimit(GoalCounter(), 7), **her, **settings).learn(100)
    assert model.replay_buffer is not None
    dealt = batches(model.replay_buffer, 1, 0.99, None, model.policy, 5, 20)
    shares = [(batch.bootstrap_features[:, 1] == -1).float().mean() for batch in dealt]
    assert shares == pytest.approx([0.2] * 5)


@pytest.mark.parametrize("kind", ["n steps", "HER", "optimized memory"])
def test_nothing_crosses_the_gap_between_two_calls_of_learn(kind: str) -> None:
    """Endless episodes, cut only by the second call of ``learn``, which resets the environment."""
    choices: dict[str, dict[str, Any]] = {
        "n steps": {"n_steps": 3},
        "HER": {"replay_buffer_class": HerReplayBuffer},
        "optimized memory": {"optimize_memory_usage": True, "replay_buffer_kwargs": NO_TIMEOUTS},
    }
    arguments = choices[kind]
    policy = "MultiInputPolicy" if kind == "HER" else "MlpPolicy"
    settings = {**TINY, "learning_starts": 1000}
    model = ANGC(policy, GoalCounter() if kind == "HER" else Counter(), **arguments, **settings).learn(20)
    model._last_obs = None  # as after an error
    model.learn(20, reset_num_timesteps=False)
    model._last_obs = None
    model.learn(20, reset_num_timesteps=False)
    assert isinstance(model.replay_buffer, ReplayBuffer)
    if isinstance(model.replay_buffer, HerReplayBuffer):
        model.replay_buffer.truncate_last_trajectory()
    samples: Any = model.replay_buffer.sample(500)
    if kind == "HER":
        now, later = samples.observations["observation"], samples.observations["desired_goal"]
        later = th.where(later == -1, now, later)  # the environment's own goal
    else:
        now, later = samples.observations, samples.next_observations
    episodes = now.div(100, rounding_mode="floor")
    assert set(episodes.unique().tolist()) == {0.0, 1.0, 2.0}
    crosses = episodes != later.div(100, rounding_mode="floor")
    if kind == "optimized memory":  # which has lost the next observation: nothing is learned from it
        assert samples.dones[crosses[:, 0]].all()
    else:
        assert not crosses.any()
        assert not samples.dones.any()  # cut, not ended
