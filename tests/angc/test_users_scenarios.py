"""What users met, as bug reports about agents like this one tell; DQN stands beside it."""

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize, VecTransposeImage
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from sb3_angc import ANGC
from sb3_angc.angc.features import RunningNormalization
from tests.agents import TINY
from tests.envs import Parts, ScriptedEnv, counter


class Bandit(gym.Env[Any, Any]):
    """Which half of a noisy image is brighter tells the right one of two choices."""

    def __init__(self, dtype: Any, high: float) -> None:
        self.observation_space = spaces.Box(0, high, (12, 12, 1), dtype)
        self.action_space = spaces.Discrete(2)

    def _image(self) -> Any:
        self.right = int(self.np_random.integers(2))
        image = self.np_random.integers(0, 100, (12, 12, 1))
        image[:, 6 * self.right : 6 * self.right + 6] += 100
        space: Any = self.observation_space
        return (image * (float(space.high.max()) / 255)).astype(space.dtype)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self._image(), {}

    def step(self, action: Any) -> Any:
        reward = float(action == self.right)
        return self._image(), reward, True, False, {}


def shown(env: Any) -> Iterator[tuple[Any, int]]:
    for _ in range(100):
        yield env._image(), env.right


@pytest.mark.parametrize(("dtype", "high"), [(np.uint8, 255), (np.float32, 255), (np.float32, 1)])
@pytest.mark.parametrize("place", ["alone", "frame stack", "Dict"])
def test_images_of_every_scale_are_seen_alike(dtype: Any, high: float, place: str) -> None:
    """The circuits see pixels from 0 to 1, whatever the space says."""
    env: Any = Bandit(dtype, high)
    if place == "Dict":
        space = spaces.Dict({"image": env.observation_space, "n": spaces.Box(-1, 1, (1,))})
        env = gym.wrappers.TransformObservation(
            env, lambda image: {"image": image, "n": np.zeros(1, np.float32)}, space
        )
    vec_env: Any = DummyVecEnv([lambda: env])
    vec_env = VecFrameStack(vec_env, 2) if place == "frame stack" else vec_env
    policy = "MultiInputPolicy" if place == "Dict" else "CnnPolicy"
    model = ANGC(policy, vec_env, buffer_size=50, batch_size=8, seed=0, device="cpu")
    vec_env = model.get_env()
    tensor, _ = model.policy.obs_to_tensor(vec_env.reset())
    seen = model.policy.features(tensor)[:, : model.policy.n_pixels]
    assert 0.5 < float(seen.max()) <= 1


def test_a_float_image_is_learned_as_one_of_uint8() -> None:
    settings: dict[str, Any] = {"learning_rate": 1e-3, "gamma": 0.0, "alpha_epistemic": 0.0, "train_freq": 1}
    for dtype in (np.uint8, np.float32):
        env = Bandit(dtype, 255)
        model = ANGC("CnnPolicy", env, learning_starts=100, seed=0, device="cpu", **settings).learn(700)
        right = [model.predict(image, deterministic=True)[0] == choice for image, choice in shown(env)]
        assert np.mean(right) > 0.95


def test_unnormalised_images_stay_as_they_are() -> None:
    kwargs = {"normalize_images": False}
    model = ANGC("CnnPolicy", Bandit(np.float32, 255), policy_kwargs=kwargs, buffer_size=50, device="cpu")
    features = model.policy.features(th.full((1, 12, 12, 1), 200.0))
    assert (features == 200).all()


def test_numbers_of_numpy_are_numbers() -> None:
    numbers = {
        "gamma": np.float64(0.99),
        "batch_size": np.int64(16),
        "learning_starts": np.int32(50),
        "train_freq": np.int64(4),
        "tau": np.float32(0.5),
        "alpha_epistemic": np.float64(0.1),
        "policy_kwargs": {"net_arch": [np.int64(16)]},
    }
    model = ANGC("MlpPolicy", "CartPole-v1", seed=0, device="cpu", **numbers).learn(100)  # type: ignore[arg-type]
    model.gamma = np.float64(0.9)
    model.learn(100, reset_num_timesteps=False)
    assert type(model.batch_size) is int
    assert all(p.dtype == th.float32 for p in model.policy.parameters())


class Double(ReplayBuffer):
    """A buffer of somebody's own, that returns rewards in double precision."""

    def _get_samples(self, batch_inds: Any, env: Any = None) -> Any:
        samples = super()._get_samples(batch_inds, env)
        return samples._replace(rewards=samples.rewards.double(), dones=samples.dones.double())


def test_what_a_buffer_returns_is_cast_to_the_circuits_type() -> None:
    model = ANGC("MlpPolicy", "CartPole-v1", replay_buffer_class=Double, **TINY).learn(100)
    batch = model.sample(8)
    assert {field.dtype for field in (batch.rewards, batch.discounts, batch.features)} == {th.float32}


def test_a_buffer_of_other_steps_takes_the_agents(tmp_path: Path) -> None:
    env = ScriptedEnv(lambda k: (float(k % 7), 0.0, False, False))
    dqn = DQN("MlpPolicy", env, n_steps=3, seed=0, device="cpu").learn(80)
    dqn.save_replay_buffer(tmp_path / "buffer")
    model = ANGC("MlpPolicy", env, gamma=0.5, **TINY)
    del model.replay_buffer  # as SB3's documentation does, to make room
    model.load_replay_buffer(tmp_path / "buffer")
    assert type(model.replay_buffer) is NStepReplayBuffer
    assert model.sample(200).discounts.min() == 0.5**5


def test_a_buffer_of_one_step_is_refused_where_more_are_meant(tmp_path: Path) -> None:
    one = ANGC("MlpPolicy", "CartPole-v1", n_steps=1, **TINY).learn(80)
    one.save_replay_buffer(tmp_path / "buffer")
    model = ANGC("MlpPolicy", "CartPole-v1", **TINY)
    before = model.replay_buffer
    with pytest.raises(ValueError, match=r"it is a ReplayBuffer, of returns of one step, and n_steps=5"):
        model.load_replay_buffer(tmp_path / "buffer")
    assert model.replay_buffer is before


class Mine(NStepReplayBuffer):
    """A subclass of somebody's own."""


def test_a_subclass_of_the_n_step_buffer_gets_steps_and_discount() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = ANGC("MlpPolicy", counter(50), replay_buffer_class=Mine, n_steps=4, gamma=0.5, **TINY).learn(
            80
        )
    assert isinstance(model.replay_buffer, Mine)
    assert (model.replay_buffer.n_steps, model.replay_buffer.gamma) == (4, 0.5)


def test_a_policy_can_be_exported() -> None:
    """What is exported acts as ``predict`` does."""
    policy = ANGC("CartPole-v1", **TINY).learn(100).policy
    observations = th.randn(7, 4)
    expected, _ = policy.predict(observations.numpy(), deterministic=True)
    exported = th.export.export(policy, (observations,)).module()
    assert np.array_equal(exported(observations).numpy(), expected)


def test_values_near_the_end_of_float32_leave_no_mark(tmp_path: Path) -> None:
    model = ANGC("CartPole-v1", **TINY).learn(100)
    normalization = model.policy.normalization
    assert normalization is not None
    before = copy.deepcopy(normalization.state_dict())
    rows = th.randn(16, 4)
    rows[3, 1] = 1e30
    model.policy.observe(rows)
    assert th.isfinite(model.policy.features(rows)).all()
    assert normalization.variance[1] == before["variance"][1]
    assert normalization.variance[0] != before["variance"][0]
    model.save(tmp_path / "model")
    ANGC.load(tmp_path / "model", device="cpu")
    alone = RunningNormalization(2)
    alone.update(th.tensor([[1e30, 1.0], [0.0, 3.0]]))
    assert alone.mean.tolist() == [0.0, 2.0]


def test_nothing_in_a_policy_needs_double_precision() -> None:
    """``device="mps"`` has none."""
    policy = ANGC("CartPole-v1", **TINY).policy
    assert th.float64 not in {value.dtype for value in policy.state_dict().values()}


def test_autocast_is_refused_by_name() -> None:
    model = ANGC("CartPole-v1", **TINY).learn(100)
    with (
        th.autocast("cpu", dtype=th.bfloat16),
        pytest.raises(ValueError, match=r"torch\.autocast is not allowed"),
    ):
        model.predict(np.zeros(4, np.float32), deterministic=True)


class Of(gym.Env[Any, Any]):
    def __init__(self, space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = space, spaces.Discrete(2)


@pytest.mark.parametrize(
    ("space", "way_out"),
    [
        (spaces.Discrete(3, start=1), "TransformObservation"),
        (spaces.MultiDiscrete([3, 3], start=[0, 1]), "TransformObservation"),
        (spaces.MultiDiscrete(np.array([[2, 3], [4, 5]])), "FlattenObservation"),
        (spaces.Box(-1, 1, ()), "ReshapeObservation"),
        (
            spaces.Dict({"mission": spaces.Text(9), "n": spaces.Discrete(3)}),
            "FilterObservation, or flatten all",
        ),
        (
            spaces.Dict({"nested": spaces.Dict({"n": spaces.Discrete(3)})}),
            "FilterObservation, or flatten all",
        ),
        (spaces.Dict({"pairs": spaces.Sequence(spaces.Discrete(3))}), "FilterObservation$"),
        (spaces.Dict({"graph": spaces.Graph(spaces.Discrete(3), None)}), "FilterObservation$"),
        (spaces.Text(9), "Flatten it with gymnasium's FlattenObservation"),
        (
            spaces.OneOf((spaces.Discrete(3), spaces.Discrete(2))),
            "Flatten it with gymnasium's FlattenObservation",
        ),
        (spaces.Graph(spaces.Discrete(3), None), "TransformObservation"),
    ],
    ids=str,
)
def test_observations_that_cannot_be_seen_are_refused_at_once(space: spaces.Space[Any], way_out: str) -> None:
    policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    with pytest.raises(ValueError, match=rf"observation_space.* is not allowed: .*{way_out}"):
        ANGC(policy, Of(space), device="cpu")


def test_frames_stacked_over_normalized_observations_are_refused() -> None:
    env = DummyVecEnv([lambda: gym.make("CartPole-v1")])
    with pytest.raises(ValueError, match="Put VecNormalize around all other wrappers"):
        ANGC("MlpPolicy", VecFrameStack(VecNormalize(env), 2), device="cpu")
    model = ANGC("MlpPolicy", VecNormalize(VecFrameStack(env, 2)), **TINY).learn(30)
    model.set_env(VecFrameStack(VecNormalize(env), 2))
    with pytest.raises(ValueError, match="Put VecNormalize around all other wrappers"):
        model.learn(30)


def test_normalized_pixels_are_refused() -> None:
    env = DummyVecEnv([lambda: Bandit(np.uint8, 255)])
    kwargs: dict[str, Any] = {"buffer_size": 50, "batch_size": 8, "learning_starts": 10, "device": "cpu"}
    with pytest.raises(ValueError, match=r"VecNormalize is not allowed on images: .* norm_obs=False"):
        ANGC("CnnPolicy", VecNormalize(env), **kwargs)
    with pytest.raises(ValueError, match="Put VecNormalize around all other wrappers"):
        ANGC("CnnPolicy", VecNormalize(env, norm_obs=False), **kwargs)
    ANGC("CnnPolicy", VecNormalize(VecTransposeImage(env), norm_obs=False), **kwargs).learn(20)
    ANGC("MlpPolicy", VecNormalize(env), **kwargs).learn(20)  # numbers like others, as to DQN


def test_small_returns_do_not_drown_in_initial_values() -> None:
    # The settings of SB3's test of HER, at a budget at which DQN reaches .26, .60 and .16 (seeds 0 to 2)
    env = BitFlippingEnv(n_bits=10, continuous=False)
    model = ANGC(
        "MultiInputPolicy",
        env,
        replay_buffer_class=HerReplayBuffer,
        replay_buffer_kwargs={"n_sampled_goal": 5, "goal_selection_strategy": "future"},
        learning_rate=5e-4,
        train_freq=1,
        gradient_steps=1,
        learning_starts=100,
        exploration_final_eps=0.02,
        target_update_interval=500,
        batch_size=32,
        seed=0,
        device="cpu",
    ).learn(2000)
    returns = evaluate_policy(model, env, 50, return_episode_rewards=True, warn=False)[0]
    assert np.mean(np.array(returns) > -10) > 0.6  # -10: the goal was not reached


def test_parameters_that_do_not_fit_raise_what_sb3_raises() -> None:
    for algorithm in (DQN, ANGC):
        model = algorithm("MlpPolicy", "CartPole-v1", device="cpu")
        parameters: Any = model.get_parameters()
        del parameters["policy"][next(iter(parameters["policy"]))]
        with pytest.raises(RuntimeError):
            model.set_parameters(parameters)
    with pytest.raises(ValueError, match="do not fit"):
        model.set_parameters(parameters)


def test_tiny_numbers_where_numpy_raises() -> None:
    env = ScriptedEnv(lambda k: (1e-42, 1e-310, False, False))
    with np.errstate(all="raise"):
        ANGC("MlpPolicy", env, **TINY).learn(60)


def test_diagnosing_without_data_says_so() -> None:
    with pytest.raises(ValueError, match="The replay buffer is empty: train first, or load one"):
        ANGC("CartPole-v1", **TINY).diagnose()


def test_more_environments_than_the_interval_warn_as_in_dqn() -> None:
    for algorithm in (DQN, ANGC):
        envs = DummyVecEnv([lambda: gym.make("CartPole-v1")] * 4)
        with pytest.warns(UserWarning, match=r"update interval \(4 > 2\)"):
            algorithm("MlpPolicy", envs, target_update_interval=2, device="cpu")


@pytest.mark.parametrize("kind", ["CnnPolicy", "MultiInputPolicy"])
def test_width_behind_the_convolutions(kind: str) -> None:
    """``features_dim`` and ``cnn_output_dim`` say what SB3's say: a dense layer before ``net_arch``."""
    env: Any = Bandit(np.uint8, 255)
    name = "features_dim"
    if kind == "MultiInputPolicy":
        space, name = spaces.Dict({"image": env.observation_space}), "cnn_output_dim"
        env = gym.wrappers.TransformObservation(env, lambda image: {"image": image}, space)
    for net_arch, expected in ((None, [40]), ([30, 20], [40, 30, 20])):
        kwargs = {"features_extractor_kwargs": {name: 40}, "net_arch": net_arch}
        model = ANGC(kind, env, policy_kwargs=kwargs, buffer_size=50, device="cpu")
        assert model.policy.controller.layer_sizes[2:] == [*expected, 2]
        assert model.policy.generator.layer_sizes[1:-1] == ([128, 128] if net_arch is None else net_arch)


@pytest.mark.parametrize("name", ["CartPole-v1", "Parts", "FrozenLake-v1"])
def test_values_of_what_an_environment_returns(name: str) -> None:
    """One observation as it comes, or a batch of them, has the values of its tensors."""
    env: gym.Env[Any, Any] = Parts() if name == "Parts" else gym.make(name)
    policy = ANGC(env, **TINY).policy
    observations = [env.reset(seed=seed)[0] for seed in range(3)]
    batch: Any
    if isinstance(observations[0], dict):
        batch = {key: np.stack([each[key] for each in observations]) for key in observations[0]}
    else:
        batch = np.stack(observations)
    tensors, _ = policy.obs_to_tensor(batch)
    expected = policy.controller.project(policy.features(tensors))
    assert th.equal(policy.q_values(tensors), expected)
    assert th.equal(policy.q_values(batch), expected)
    assert th.equal(policy.q_net(batch), expected)
    for observation, value in zip(observations, expected, strict=True):
        th.testing.assert_close(policy.q_values(observation), value[None])


def test_q_net_reads_as_dqns(tmp_path: Path) -> None:
    """Everything that scripts ask of DQN's, with DQN beside it."""
    observations = th.randn(5, 4)
    for algorithm in (DQN, ANGC):
        model: Any = algorithm("MlpPolicy", "CartPole-v1", seed=0, device="cpu", learning_starts=20).learn(60)
        for net in (model.q_net, model.q_net_target, model.policy.q_net, model.policy.q_net_target):
            net.set_training_mode(False)
            values = net(observations)
            assert values.shape == (5, 2)
            actions, _ = net.predict(observations.numpy(), deterministic=True)
            assert np.array_equal(actions, values.argmax(1).numpy())
            assert np.shape(net.predict(observations[0].numpy())[0]) == ()
            tensor, is_batch = net.obs_to_tensor(observations.numpy())
            assert th.equal(tensor, observations)
            assert is_batch
            assert net.device == th.device("cpu")
            assert all(parameter.device == net.device for parameter in net.parameters())
            assert len(net.state_dict()) >= len(list(net.parameters())) > 0
        expected, _ = model.predict(observations.numpy(), deterministic=True)
        assert np.array_equal(model.q_net.predict(observations.numpy())[0], expected)
        model.save(tmp_path / "model")
        loaded: Any = algorithm.load(tmp_path / "model", device="cpu")
        assert th.equal(loaded.q_net(observations), model.q_net(observations))
        for net in (model.q_net, model.q_net_target):
            net.save(str(tmp_path / "net"))
            assert th.equal(net.load(str(tmp_path / "net"), device="cpu")(observations), net(observations))
    assert not th.equal(model.q_net(observations), model.q_net_target(observations))


def test_evaluating_on_the_training_environment_leaves_one_transition_across() -> None:
    """As DQN: the algorithm cannot know that somebody else has reset the environment."""

    class Evaluate(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps == 55:
                self.training_env.reset()
            return True

    for algorithm in (DQN, ANGC):
        model: Any = algorithm("MlpPolicy", counter(1000), seed=0, device="cpu", learning_starts=1000)
        model.learn(80, Evaluate())
        buffer = model.replay_buffer
        steps = buffer.next_observations[:80] - buffer.observations[:80]
        assert (steps != 1).sum() == 1


class Normalised(BaseFeaturesExtractor):
    """Normalisation and dropout, and no trainable weight."""

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        super().__init__(observation_space, 4)
        self.layers = th.nn.Sequential(th.nn.BatchNorm1d(4, affine=False), th.nn.Dropout(0.5))

    def forward(self, observations: th.Tensor) -> th.Tensor:
        features: th.Tensor = self.layers(observations)
        return features


def test_extractors_without_trainable_weights_train_and_act_in_their_modes() -> None:
    """Statistics move while the agent learns, not while it acts; nothing is dropped while it acts."""
    kwargs = {**TINY, "policy_kwargs": {"net_arch": [16], "features_extractor_class": Normalised}}
    model: Any = ANGC("MlpPolicy", "CartPole-v1", **kwargs).learn(120)
    statistics = model.policy.features_extractor.layers[0]
    assert int(statistics.num_batches_tracked) > 0
    before = statistics.running_mean.clone()
    observations = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    actions = [model.predict(observations, deterministic=True)[0] for _ in range(3)]
    model.policy.set_training_mode(False)
    assert np.array_equal(actions[0], actions[1])
    assert np.array_equal(actions[0], actions[2])
    assert th.equal(statistics.running_mean, before)


def test_steps_that_a_buffer_of_ones_own_ignores_are_told_as_in_dqn() -> None:
    for algorithm in (DQN, ANGC):
        with pytest.warns(UserWarning, match="`n_steps=3` is ignored"):
            algorithm("MlpPolicy", "CartPole-v1", replay_buffer_class=ReplayBuffer, n_steps=3, device="cpu")
