"""Each function between a transition and the local updates, and that questions change nothing."""

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_angc import ANGC
from sb3_angc.angc import arguments, replay, update
from sb3_angc.angc.epistemic import weight_left
from sb3_angc.saving.resuming import numpy_random_state_kept
from tests.agents import TINY
from tests.envs import counter


def numpy_state() -> Any:
    """The state of numpy's global generator."""
    return np.random.get_state(legacy=False)["state"]["key"]  # noqa: NPY002


@pytest.mark.parametrize(
    ("given", "kind", "kwargs", "has_parts", "optimized", "expected"),
    [
        (None, None, None, False, False, 5),
        (None, None, None, True, False, 1),
        (None, None, None, False, True, 1),
        (None, ReplayBuffer, None, False, False, 1),
        (None, replay.SuccessorReplayBuffer, None, False, False, 5),
        (None, replay.SuccessorReplayBuffer, {"n_steps": 3}, False, False, 3),
        (None, None, {"n_steps": 3, "gamma": 0.9}, False, False, 3),
        (3, None, {"n_steps": 3}, False, False, 3),
        (7, ReplayBuffer, None, True, True, 7),
    ],
)
def test_number_of_steps(
    given: Any, kind: Any, kwargs: Any, has_parts: bool, optimized: bool, expected: int
) -> None:
    assert replay.choose_n_steps(given, 0.9, kind, kwargs, has_parts, optimized) == expected


@pytest.mark.parametrize("kind", [None, NStepReplayBuffer])
@pytest.mark.parametrize(("name", "value"), [("n_steps", 3), ("gamma", 0.5)])
def test_what_is_said_twice_must_agree(kind: Any, name: str, value: float) -> None:
    kwargs: dict[str, Any] = {"replay_buffer_class": kind, "replay_buffer_kwargs": {name: value}}
    message = re.escape(f"replay_buffer_kwargs[{name!r}]={value} is not allowed with {name}=")
    with pytest.raises(ValueError, match=message):
        ANGC("CartPole-v1", **{**TINY, "n_steps": 2, "gamma": 0.9}, **kwargs)


def test_steps_of_the_buffers_arguments_are_taken(tmp_path: Path) -> None:
    for n_steps in (1, 3):
        given = {"n_steps": n_steps, "gamma": 0.9}
        model = ANGC("CartPole-v1", **{**TINY, "n_steps": None}, gamma=0.9, replay_buffer_kwargs=given).learn(
            60
        )
        assert isinstance(model.replay_buffer, NStepReplayBuffer)
        assert (model.n_steps, model.replay_buffer.n_steps, model.replay_buffer.gamma) == (
            n_steps,
            n_steps,
            0.9,
        )
    model.save(tmp_path / "angc")
    model.save_safe(tmp_path / "safe")
    for load in (ANGC.load, ANGC.load_safe):
        other: Any = load(tmp_path / ("angc" if load == ANGC.load else "safe"), "CartPole-v1", gamma=0.8)
        assert (other.replay_buffer.n_steps, other.replay_buffer.gamma) == (3, 0.8)


def test_buffer_class_and_its_arguments() -> None:
    mine = {"n_steps": 2, "handle_timeout_termination": False}
    kind, kwargs = replay.choose_buffer(None, mine, 4, 0.9, False)
    assert kind is replay.SuccessorReplayBuffer
    assert kwargs == {"n_steps": 4, "gamma": 0.9, "handle_timeout_termination": False}
    assert mine["n_steps"] == 2  # a user's dict is not written to
    for n_steps, has_parts in ((1, False), (4, True)):
        assert replay.choose_buffer(None, {}, n_steps, 0.9, has_parts) == (None, {})
    assert replay.choose_buffer(ReplayBuffer, {}, 4, 0.9, False) == (ReplayBuffer, {})


@pytest.mark.parametrize("n_envs", [1, 4])
def test_sampling_draws_as_sb3_does_and_rewinds_nothing(n_envs: int) -> None:
    states = []
    for kind in (replay.SuccessorReplayBuffer, NStepReplayBuffer):
        buffer = kind(40 * n_envs, spaces.Box(-1, 1, (2,)), spaces.Discrete(2), "cpu", n_envs, n_steps=3)
        for _ in range(50):  # once round and on
            zeros = np.zeros((n_envs, 2))
            buffer.add(zeros, zeros, zeros[:, :1], zeros[:, 0], zeros[:, 0], [{}] * n_envs)
        set_random_seed(3)
        buffer.sample(64)
        states.append(numpy_state())
    assert np.array_equal(*states)


def test_batches_deal_out_one_draw() -> None:
    """Together they hold each transition of the draw once, each batch every third of them."""
    model = ANGC("MlpPolicy", counter(500), n_steps=1, **TINY).learn(200)
    buffer, policy = model.replay_buffer, model.policy
    assert buffer is not None
    set_random_seed(0)
    whole = buffer.sample(12).rewards
    set_random_seed(0)
    dealt = [batch.rewards for batch in replay.batches(buffer, 1, 0.99, None, policy, 3, 4)]
    assert th.equal(th.stack(dealt, dim=1).flatten(), whole.flatten())


def test_questions_change_nothing() -> None:
    model = ANGC("CartPole-v1", **TINY).learn(150)
    policy = model.policy
    batch = model.sample(32)
    before = copy.deepcopy(policy.state_dict())
    values = update.target_values(policy, batch, batch.rewards, True)
    state = policy.controller.settle(*update.clamp_controller(policy, batch, values, False))
    policy.controller.local_updates(state)
    surprise = update.settle_generator(policy, batch.features, batch.taken, batch.successor_features)
    policy.epistemic_reward(1e6 * surprise.total_discrepancy)
    policy.q_values(th.full((3, 4), 5.0))
    model.diagnose(with_gradient=True)
    for name, value in policy.state_dict().items():
        assert th.equal(value, before[name]), name


def test_local_updates_are_those_of_the_steps_by_hand() -> None:
    """r = 2 r_in + 0.5 r_ep; the target from it; each circuit's updates from its own settled state."""
    model = ANGC("CartPole-v1", **TINY).learn(150)
    policy, batch = model.policy, model.sample(32)
    state = update.settle_generator(policy, batch.features, batch.taken, batch.successor_features)
    usual = policy.epistemic_reward.divisor.lerp(state.total_discrepancy.mean(), 0.01)
    surprise = (state.total_discrepancy / usual).clamp(max=5)
    rewards = 2 * batch.rewards + 0.5 * surprise.unsqueeze(1)
    targets = update.target_values(policy, batch, rewards, True)
    twin = copy.deepcopy(policy)
    twin.observe_targets(targets)  # before the controller settles, at targets of unit scale
    assert twin.value_scale is not None
    outputs = (targets - twin.value_scale.mean) / twin.value_scale.deviation
    settled = twin.controller.settle(batch.features, outputs.expand(-1, 2), batch.taken)
    found = update.local_updates(policy, batch, update.Objective(2.0, th.tensor(0.5), True, False))
    assert found.generator is not None
    assert found.epistemic_reward is not None
    th.testing.assert_close(policy.epistemic_reward.divisor, usual)
    th.testing.assert_close(found.epistemic_reward, surprise.mean())
    th.testing.assert_close(found.loss, settled.energies[0].mean())
    for ours, circuit, its_state in (
        (found.controller, twin.controller, settled),
        (found.generator, policy.generator, state),
    ):
        expected = circuit.local_updates(its_state)
        assert ours.keys() == expected.keys() == circuit.prediction_parameters().keys()
        for name, value in ours.items():
            th.testing.assert_close(value, expected[name])
    alone = update.local_updates(policy, batch, update.Objective(2.0, None, True, False))
    assert alone.generator is None
    assert alone.epistemic_reward is None


@pytest.mark.parametrize(
    ("fraction", "expected"), [(None, [1.0, 1.0, 1.0]), (0.5, [1.0, 0.5, 0.0]), (0.0, [0.0, 0.0, 0.0])]
)
def test_weight_of_the_epistemic_reward(fraction: float | None, expected: list[float]) -> None:
    assert [weight_left(fraction, remaining) for remaining in (1.0, 0.75, 0.0)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("observation", "reward", "info", "message"),
    [
        ([np.nan], [0.0], {}, "observation that is not finite"),
        ([0.0], [np.inf], {}, "reward that is not finite"),
        ([0.0], [1e39], {}, "reward that is not finite"),  # as a float32, which is what is stored
        ([0.0], [0.0], {"terminal_observation": np.array([-np.inf])}, "terminal observation that is not"),
    ],
)
def test_transitions_that_are_refused(observation: Any, reward: Any, info: Any, message: str) -> None:
    arguments.check_transition(np.zeros(1), np.zeros(1), [{}], None)
    with pytest.raises(ValueError, match=message):
        arguments.check_transition(np.array(observation), np.array(reward), [info], None)


def test_what_vec_normalize_clips_is_refused_too() -> None:
    env = VecNormalize(DummyVecEnv([lambda: counter(5)]))
    env.reset()
    arguments.check_transition(np.zeros((1, 1)), np.zeros(1), [{}], env)
    env.old_obs = np.array([[np.inf]])
    with pytest.raises(ValueError, match="observation that is not finite"):
        arguments.check_transition(np.zeros((1, 1)), np.zeros(1), [{}], env)
    env.old_obs, env.old_reward = np.zeros((1, 1)), np.array([np.inf])
    with pytest.raises(ValueError, match="reward that is not finite"):
        arguments.check_transition(np.zeros((1, 1)), np.zeros(1), [{}], env)


def test_normalisation_goes_on_with_the_batches_that_are_learned_from() -> None:
    model = ANGC("CartPole-v1", **TINY).learn(150)
    normalization = model.policy.normalization
    assert normalization is not None
    count = float(normalization.count)
    assert count == 16 * model._n_updates
    model.sample(64)
    assert float(normalization.count) == count
    model.train(3, 16)
    assert float(normalization.count) == count + 3 * 16


def test_random_state_is_put_back_after_an_error_too() -> None:
    def draw_and_fail() -> None:
        with numpy_random_state_kept():
            np.random.rand(1000)  # noqa: NPY002
            raise ZeroDivisionError

    before = numpy_state()
    with pytest.raises(ZeroDivisionError):
        draw_and_fail()
    assert np.array_equal(numpy_state(), before)
