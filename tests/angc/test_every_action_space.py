"""What surrounds an agent works with every space of actions: saving, compiling, wrappers, buffers, errors."""

import copy
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from sb3_angc import ANGC
from sb3_angc.angc import actions as actions_module
from sb3_angc.angc.actions import ActionParts
from sb3_angc.angc.compiled import CompiledUpdate
from sb3_angc.diagnostics.plots import plot_epistemic_reward
from tests.action_spaces import MATRIX, SPACES, Sum, every_space
from tests.agents import TINY


@every_space
@pytest.mark.parametrize("circuit", ["settled", "paper"])
def test_trains_saves_and_loads(space: spaces.Space[Any], circuit: str, tmp_path: Path) -> None:
    settings = {**TINY, "policy_kwargs": {"net_arch": [16], "circuit": circuit}}
    env = DummyVecEnv([lambda: Sum(space)] * 2)
    model = ANGC("MlpPolicy", env, exploration_steps=4, **settings).learn(200)
    assert model._n_updates > 0
    observations = np.random.default_rng(0).uniform(-1, 1, (30, model.policy.action_parts.n_parts))
    actions, _ = model.predict(observations, deterministic=True)
    assert len(np.unique(actions.reshape(30, -1), axis=0)) > 1 or circuit == "paper"
    one, _ = model.predict(observations[3], deterministic=True)
    assert (one == actions[3]).all()
    assert one.shape == (space.shape or ())
    model.save(tmp_path / "angc")
    model.policy.save(str(tmp_path / "policy"))
    model.save_safe(tmp_path / "safe")
    others = (
        ANGC.load(tmp_path / "angc", env, device="cpu"),
        ANGC.load_safe(tmp_path / "safe", env, device="cpu"),
        type(model.policy).load(str(tmp_path / "policy"), device="cpu"),
    )
    for other in others:
        assert (other.predict(observations, deterministic=True)[0] == actions).all()
    tensor = th.as_tensor(observations, dtype=th.float32)
    assert (model.policy(tensor).numpy() == actions).all()
    assert (model.q_net.predict(observations.astype(np.float32))[0] == actions).all()
    assert pickle.loads(pickle.dumps(model.policy.action_parts)).sizes == model.policy.action_parts.sizes


@pytest.mark.parametrize("kind", ["MultiDiscrete", "Box, matrix"])
def test_a_run_that_was_stopped_goes_on_exactly(kind: str, tmp_path: Path) -> None:
    settings = {**TINY, "exploration_steps": 20, "learning_rate": 1e-3}
    whole = ANGC(Sum(SPACES[kind]), **settings)
    whole.learn(100)
    env = whole.get_env()
    whole.save(tmp_path / "half")
    whole.save_replay_buffer(tmp_path / "buffer")
    half_env = copy.deepcopy(env)
    whole.learn(100, reset_num_timesteps=False)
    rest = ANGC.load(tmp_path / "half", device="cpu")
    rest.set_env(half_env, force_reset=False)  # type: ignore[arg-type]
    rest.load_replay_buffer(tmp_path / "buffer", truncate_last_traj=False)
    rest.learn(100, reset_num_timesteps=False)
    for name, value in whole.policy.state_dict().items():
        assert th.equal(value, rest.policy.state_dict()[name]), name


@pytest.mark.parametrize("kind", ["MultiDiscrete", "MultiBinary", "Box, matrix"])
@pytest.mark.parametrize("clamp_all_actions", [False, True])
def test_compiled_updates_are_the_updates(kind: str, clamp_all_actions: bool) -> None:
    th.compiler.reset()
    settings = {**TINY, "clamp_all_actions": clamp_all_actions}
    plain = ANGC(Sum(SPACES[kind]), **settings).learn(150)
    fast = ANGC(Sum(SPACES[kind]), compile_updates=True, **settings)
    fast._compiled_update = CompiledUpdate(backend="aot_eager")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "torch.compile does not work")
        fast.learn(150)
    th.testing.assert_close(
        dict(plain.policy.state_dict()), dict(fast.policy.state_dict()), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("action_input", [False, True], ids=["outputs", "inputs"])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_policy_can_be_exported_for_batches_of_any_size(space: spaces.Space[Any], action_input: bool) -> None:
    settings = {**TINY, "policy_kwargs": {**TINY["policy_kwargs"], "action_input": action_input}}
    policy = ANGC(Sum(space), **settings).learn(60).policy
    n_numbers = policy.action_parts.n_parts
    few, many = th.randn(4, n_numbers), th.randn(9, n_numbers)
    exported = th.export.export(policy, (few,), dynamic_shapes=({0: th.export.Dim("batch")},)).module()
    trace: Any = th.jit.trace  # torch has no types for it
    traced = trace(policy, few)
    for observations in (few, many):
        assert th.equal(exported(observations), policy(observations))
        assert th.equal(traced(observations), policy(observations))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int64])
def test_numbers_of_an_action_may_be_of_any_integer_type(dtype: Any) -> None:
    space = spaces.MultiDiscrete([2, 3], dtype=dtype)
    model = ANGC(Sum(space), **TINY).learn(60)
    action, _ = model.predict(np.zeros(2, np.float32))
    assert space.contains(action)


def test_vec_normalize_and_evaluation() -> None:
    env = VecNormalize(DummyVecEnv([lambda: Sum(MATRIX)]))
    model = ANGC("MlpPolicy", env, **TINY).learn(200)
    assert model._n_updates > 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is no Monitor
        mean, _ = evaluate_policy(model, env, 3)
    assert np.isfinite(mean)


class Reach(gym.Env[Any, Any]):
    """Two numbers are moved to a goal by steps of their own."""

    observation_space = spaces.Dict(
        dict.fromkeys(("observation", "achieved_goal", "desired_goal"), spaces.Box(-1, 1, (2,), np.float32))
    )
    action_space = spaces.Box(-0.25, 0.25, (2,), np.float32)

    def _observe(self) -> dict[str, Any]:
        return {"observation": self.place, "achieved_goal": self.place, "desired_goal": self.goal}

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        return np.where(np.abs(achieved - desired).max(axis=-1) < 0.3, 0.0, -1.0).astype(np.float32)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        super().reset(**kwargs)
        self.place, self.goal = np.zeros(2, np.float32), self.np_random.uniform(-1, 1, 2).astype(np.float32)
        self.count = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place = np.clip(self.place + action, -1, 1).astype(np.float32)
        self.count += 1
        reward = float(self.compute_reward(self.place, self.goal, {}))
        return self._observe(), reward, reward == 0, self.count == 10, {"is_success": reward == 0}


def test_hindsight_learns_to_reach() -> None:
    her = {"replay_buffer_class": HerReplayBuffer, "replay_buffer_kwargs": {"n_sampled_goal": 4}}
    settings = {**TINY, "learning_starts": 200, "train_freq": 1, "batch_size": 64, "alpha_epistemic": 0.0}
    settings["policy_kwargs"] = {"net_arch": [64]}
    model = ANGC(Reach(), gamma=0.9, **her, **settings).learn(1500)  # type: ignore[arg-type]
    env, reached = Reach(), 0
    observation, _ = env.reset(seed=0)
    for _ in range(50):
        done = False
        while not done:
            action, _ = model.predict(observation, deterministic=True)
            observation, _, terminated, truncated, _ = env.step(action)
            done = terminated or truncated
        reached += terminated
        observation, _ = env.reset()
    assert reached >= 45


def test_epistemic_reward_of_continuous_actions_is_drawn() -> None:
    pytest.importorskip("matplotlib").use("Agg")
    env = gym.make("MountainCarContinuous-v0")
    model = ANGC(env, **TINY).learn(100)
    axes = plot_epistemic_reward(model, gym.make("MountainCarContinuous-v0"), resolution=4)
    whole = np.asarray(axes.images[0].get_array())
    of_each = [
        np.asarray(
            plot_epistemic_reward(
                model, gym.make("MountainCarContinuous-v0"), np.array([force], np.float32), resolution=4
            )
            .images[0]
            .get_array()
        )
        for force in (-1, 0, 1)
    ]
    np.testing.assert_allclose(whole, np.mean(of_each, axis=0), rtol=1e-5)
    many = ANGC(env, **{**TINY, "policy_kwargs": {"action_bins": 101}})
    with pytest.raises(ValueError, match="there are 101 actions, and the mean is taken over at most 100"):
        plot_epistemic_reward(many, gym.make("MountainCarContinuous-v0"), resolution=4)


# What is refused


@pytest.mark.parametrize(
    ("space", "kwargs", "message"),
    [
        (
            spaces.Box(-np.inf, np.inf, (2,)),
            {},
            "is not allowed: Its bounds must be finite, and the upper ones above the lower ones: give it "
            "such bounds with gymnasium's TransformAction",
        ),
        (spaces.Box(-1, np.inf, (2,)), {}, "Its bounds must be finite"),
        (spaces.Box(-3e38, 3e38, (2,)), {}, "Its bounds must be finite"),
        (spaces.Box(1, 1, (2,)), {}, "the upper ones above the lower ones"),
        (spaces.Box(0, 5, (2,), np.int32), {}, "Integers are a MultiDiscrete"),
        (spaces.Box(0, 1, (2**17,)), {}, "393216 values together, and at most 262144 are allowed"),
        (
            spaces.Discrete(8193),
            {"action_input": True},
            "8193 values together, and at most 8192 are allowed as inputs",
        ),
        (spaces.Box(0, 1, (2,)), {"action_bins": 10**9}, "with action_bins=1000000000 is not allowed"),
        (spaces.Box(0, 1, (2,)), {"action_bins": 1}, "action_bins=1 is not allowed: it must be an integer"),
        (spaces.Box(0, 1, (2,)), {"action_bins": 2.5}, "action_bins=2.5 is not allowed"),
        (spaces.MultiDiscrete([2**17, 2**18]), {}, "393216 values together"),
        (spaces.MultiDiscrete(np.array([[2, 3], [4, 5]])), {}, "flatten it with gymnasium's TransformAction"),
        (spaces.MultiBinary([2, 3]), {}, "flatten it with gymnasium's TransformAction"),
        (
            spaces.Tuple([spaces.Discrete(2)]),
            {},
            "It must be one of Discrete, MultiDiscrete, MultiBinary, Box. Make it one",
        ),
    ],
    ids=str,
)
def test_spaces_that_are_refused(space: spaces.Space[Any], kwargs: dict[str, Any], message: str) -> None:
    class Env(gym.Env[Any, Any]):
        observation_space = spaces.Box(-1, 1, (2,))
        action_space = space

    with pytest.raises(ValueError, match=re.escape(message)):
        ANGC("MlpPolicy", Env(), policy_kwargs=kwargs)


def test_the_largest_output_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions_module, "LARGEST_OUTPUT", 6)
    assert ActionParts(spaces.MultiBinary(3), 3).n_outputs == 6
    with pytest.raises(ValueError, match="9 values together, and at most 6"):
        ActionParts(spaces.Box(0, 1, (3,)), 3)
