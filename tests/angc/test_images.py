"""Images: layout, sketch, convolutional policies, and an image task learned by local updates alone."""

import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.envs import FakeImageEnv, SimpleMultiObsEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import NatureCNN
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize, VecTransposeImage

from sb3_angc import ANGC
from sb3_angc.angc.features import Sketch, default_convolutions, is_image, observation_layers
from sb3_angc.circuit import Convolution
from sb3_angc.circuit.synapses.convolutional import ConvSynapses
from sb3_angc.circuit.synapses.parallel import ParallelSynapses
from tests.agents import TINY

TINY_IMAGES: dict[str, Any] = {
    **TINY,
    "policy_kwargs": {"net_arch": [16]},
    "buffer_size": 200,
    "learning_starts": 20,
}


class BlobEnv(gym.Env[np.ndarray[Any, Any], np.int64]):
    """A bright square in one quarter of a noisy image; 1 for naming the quarter. One step an episode."""

    action_space: spaces.Discrete

    def __init__(self, channels_first: bool = True, dtype: Any = np.uint8) -> None:
        self.channels_first, self.dtype = channels_first, dtype
        shape = (1, 8, 8) if channels_first else (8, 8, 1)
        self.observation_space = spaces.Box(0, 255 if dtype == np.uint8 else 1, shape, dtype)
        self.action_space = spaces.Discrete(4)
        self.quarter = 0

    def _draw(self) -> np.ndarray[Any, Any]:
        self.quarter = int(self.np_random.integers(4))
        image = self.np_random.uniform(0, 0.4, (8, 8))
        row, column = 4 * (self.quarter // 2), 4 * (self.quarter % 2)
        # Anywhere in the quarter
        row, column = row + int(self.np_random.integers(3)), column + int(self.np_random.integers(3))
        image[row : row + 2, column : column + 2] = 1.0
        image = image[None] if self.channels_first else image[..., None]
        return (image * 255).astype(np.uint8) if self.dtype == np.uint8 else (image > 0.5).astype(self.dtype)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._draw(), {}

    def step(self, action: np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float(action == self.quarter)
        return self._draw(), reward, True, False, {}


@pytest.mark.parametrize(("channels_first", "dtype"), [(True, np.uint8), (False, np.uint8), (False, bool)])
def test_learns_what_is_seen_in_an_image(channels_first: bool, dtype: Any) -> None:
    env = BlobEnv(channels_first, dtype)
    model = ANGC(env, learning_starts=100, train_freq=1, buffer_size=5000, n_steps=1, seed=0, device="cpu")
    assert type(model.policy).__name__ == "CnnPolicy"
    model.learn(1500)
    assert evaluate_policy(model, BlobEnv(channels_first, dtype), 100)[0] > 0.95  # type: ignore[operator]


SPACES = {
    "channels first": spaces.Box(0, 255, (3, 36, 40), np.uint8),
    "channels last": spaces.Box(0, 255, (36, 40, 3), np.uint8),
    "grey": spaces.Box(0, 255, (36, 36, 1), np.uint8),
}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_pixels_are_those_that_dqn_sees(space: spaces.Box) -> None:
    height, width, channels = space.shape if space.shape[0] > 3 else (*space.shape[1:], space.shape[0])
    env = FakeImageEnv(2, height, width, channels)
    if space.shape[0] == 3:
        env = FakeImageEnv(2, 36, 40, 3, channel_first=True)
    assert env.observation_space == space
    model = ANGC(env, **TINY_IMAGES)
    dqn = DQN("CnnPolicy", env, buffer_size=10, device="cpu")
    assert model.observation_space == dqn.observation_space
    observation = np.stack([space.sample() for _ in range(5)])
    tensor, _ = model.policy.obs_to_tensor(observation)
    expected = preprocess_obs(dqn.policy.obs_to_tensor(observation)[0], dqn.observation_space)
    assert isinstance(expected, th.Tensor)
    assert th.equal(model.policy.features(tensor), expected.flatten(1))
    assert expected.max() <= 1


@pytest.mark.parametrize("kwargs", [{}, {"features_extractor_kwargs": {"normalized_image": True}}], ids=str)
def test_images_that_are_not_of_integers_are_taken_as_they_are(kwargs: dict[str, Any]) -> None:
    settings = {**TINY_IMAGES, "policy_kwargs": {**TINY_IMAGES["policy_kwargs"], **kwargs}}
    model = ANGC(BlobEnv(channels_first=False, dtype=bool), **settings)
    observation = th.zeros(2, 8, 8, 1, dtype=th.bool)
    observation[1, 3, 5] = True
    features = model.policy.features(observation)
    assert features.sum(1).tolist() == [0.0, 1.0]
    assert features[1, 3 * 8 + 5] == 1


def test_normalize_images_can_be_left_out() -> None:
    settings = {**TINY_IMAGES, "policy_kwargs": {"net_arch": [16], "normalize_images": False}}
    observation = th.full((1, 1, 8, 8), 200, dtype=th.uint8)
    assert (ANGC(BlobEnv(), **settings).policy.features(observation) == 200).all()


def test_frame_stack_learns_saves_and_loads(tmp_path: Path) -> None:
    venv = VecFrameStack(DummyVecEnv([lambda: FakeImageEnv(3, 40, 40)]), 4)
    model = ANGC("CnnPolicy", venv, **TINY_IMAGES).learn(40)
    assert isinstance(model.get_env(), VecTransposeImage)
    first = model.policy.controller.bundles[0]
    assert isinstance(first, ConvSynapses)
    assert first.in_shape == (4, 40, 40)
    assert model.policy.normalization is None
    model.save(tmp_path / "angc")
    loaded = ANGC.load(tmp_path / "angc", device="cpu")
    images = th.randint(0, 256, (20, 4, 40, 40), dtype=th.uint8)
    assert th.equal(loaded.policy.q_values(images), model.policy.q_values(images))
    # the random sketch is the same after loading:
    features = model.policy.features(images)
    assert th.equal(loaded.policy.generator_features(features), model.policy.generator_features(features))
    last = np.moveaxis(images.numpy(), 1, 3)  # as the environment gives them
    actions = model.policy.q_values(images).argmax(1).numpy()
    assert (loaded.predict(last, deterministic=True)[0] == actions).all()


def test_layers_are_natures_for_large_images() -> None:
    """The circuit's shapes beside those of SB3's NatureCNN and its Q-values."""
    env = FakeImageEnv(6, 84, 84, 4, channel_first=True)
    circuit = ANGC("CnnPolicy", env, buffer_size=10, batch_size=2, device="cpu").policy.controller
    nature = NatureCNN(env.observation_space)
    expected = [tuple(p.shape) for p in nature.parameters() if p.dim() > 1]
    shapes = [tuple(bundle.kernel_shape) for bundle in circuit.bundles if isinstance(bundle, ConvSynapses)]
    shapes += [tuple(b.weight.shape) for b in circuit.bundles if not isinstance(b, ConvSynapses)]
    assert shapes == [*expected, (6, 512)]


@pytest.mark.parametrize(
    ("side", "strides"), [(84, [4, 2, 1]), (36, [4, 2, 1]), (35, [2, 2]), (13, [2, 2]), (12, [1]), (2, [1])]
)
def test_default_convolutions_fit_all_sizes(side: int, strides: list[int]) -> None:
    convolutions = default_convolutions((3, side, side + 5))
    assert [c.stride for c in convolutions] == strides
    shape = (3, side, side + 5)
    for c in convolutions:
        shape = ConvSynapses(shape, c.channels, c.kernel_size, c.stride, c.padding, True, False).out_shape
    assert min(shape) >= 1


def test_parts_pass_as_many_layers() -> None:
    layers = observation_layers([(3, 84, 84), (4, 10, 10)], 5, None)
    assert layers[0] == [(3, 84, 84), (4, 10, 10), 5]
    assert layers[1] == [Convolution(32, 8, 4), Convolution(16, 3), 64]
    assert layers[3] == [Convolution(64, 3), Convolution(16, 1), 64]
    assert len(layers) == 4
    assert observation_layers([(4, 10, 10)], 0, [[8, 3, 2, 1]]) == [(4, 10, 10), Convolution(8, 3, 2, 1)]


@pytest.mark.parametrize("channel_last", [True, False])
def test_dict_with_an_image(channel_last: bool, tmp_path: Path) -> None:
    model = ANGC(SimpleMultiObsEnv(channel_last=channel_last), **TINY_IMAGES).learn(60)
    assert type(model.policy).__name__ == "MultiInputPolicy"
    first = model.policy.controller.bundles[0]
    assert isinstance(first, ParallelSynapses)
    assert first.in_sizes == [64 * 64, 5]
    observations = {"img": th.randint(0, 256, (7, 1, 64, 64), dtype=th.uint8), "vec": th.rand(7, 5)}
    features = model.policy.features(observations)
    assert th.equal(features[:, :4096], observations["img"].flatten(1).float() / 255)
    assert model.policy.normalization is not None
    deviation = model.policy.normalization.variance.sqrt().clamp(min=1e-6)
    normalized = (observations["vec"] - model.policy.normalization.mean) / deviation
    th.testing.assert_close(features[:, 4096:], normalized.clamp(-10, 10))
    model.policy.save(str(tmp_path / "policy"))
    loaded = type(model.policy).load(str(tmp_path / "policy"), device="cpu")
    assert th.equal(loaded.q_values(observations), model.policy.q_values(observations))


@pytest.mark.parametrize("env", [BlobEnv(dtype=bool), SimpleMultiObsEnv()], ids=["image", "dict"])
def test_safe_file_of_an_image_policy(env: gym.Env[Any, Any], tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="safetensors is the extra 'safe'")
    settings = {**TINY_IMAGES, "policy_kwargs": {"net_arch": [16], "cnn_arch": [(4, 3, 2), (6, 2)]}}
    model = ANGC(env, **settings).learn(40)
    model.save_safe(tmp_path / "agent")
    loaded = ANGC.load_safe(tmp_path / "agent", device="cpu")
    model.observation_space.seed(0)
    tensor, _ = model.policy.obs_to_tensor(model.observation_space.sample())
    assert th.equal(loaded.policy.q_values(tensor), model.policy.q_values(tensor))
    features = model.policy.features(tensor)
    assert th.equal(loaded.policy.generator_features(features), model.policy.generator_features(features))


def test_generator_sees_the_sketch_of_images_and_all_else() -> None:
    policy = ANGC(SimpleMultiObsEnv(), **TINY_IMAGES).policy
    features = th.randn(3, 4096 + 5)
    seen = policy.generator_features(features)
    assert seen.shape == (3, 512 + 5)
    assert th.equal(seen[:, 512:], features[:, 4096:])
    assert policy.generator.layer_sizes == [517 + 4, 16, 517]
    small = ANGC(BlobEnv(), **TINY_IMAGES).policy
    assert small.generator_features(features) is features  # 64 pixels need no sketch
    assert small.generator.layer_sizes == [64 + 4, 16, 64]


def test_sketch_by_hand() -> None:
    sketch = Sketch(5, 2)
    sketch.signs.copy_(th.tensor([1.0, 1.0, -1.0, 1.0, 1.0]))
    # dealt in turn: (1, -3, 5) and (2, 4)
    assert sketch(th.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])).tolist() == [[3.0, 6.0]]


def test_sketch_keeps_squared_distances_on_average() -> None:
    th.manual_seed(0)
    x = th.rand(1, 3000) - th.rand(1, 3000)
    ratios = th.stack([Sketch(3000, 512)(x).square().sum() / x.square().sum() for _ in range(400)])
    assert ratios.mean().item() == pytest.approx(1, abs=0.01)
    assert ratios.var().item() < 1.5 * 2 / 512


def test_is_image() -> None:
    assert is_image(spaces.Box(0, 255, (3, 8, 8), np.uint8))
    assert is_image(spaces.Box(0, 1, (10, 10, 4), bool))
    assert is_image(spaces.Box(0, 1, (1, 8, 8), np.float32))
    assert not is_image(spaces.Box(-1, 1, (3, 8, 8), np.float32))
    assert not is_image(spaces.Box(0, 255, (8, 8), np.uint8))
    assert not is_image(spaces.Discrete(4))


@pytest.mark.parametrize(
    ("policy", "env", "policy_kwargs", "message"),
    [
        ("CnnPolicy", "CartPole-v1", {}, "is not allowed with CnnPolicy: it must be a Box of three"),
        ("MultiInputPolicy", "CartPole-v1", {}, "is not allowed with MultiInputPolicy: it must be a Dict"),
        ("MlpPolicy", "CartPole-v1", {"cnn_arch": [[16, 3]]}, "there are no images"),
        ("CnnPolicy", BlobEnv(), {"cnn_arch": []}, "cnn_arch=[] is not allowed: it must be a list"),
        ("CnnPolicy", BlobEnv(), {"cnn_arch": [16, 3]}, "cnn_arch=[16, 3] is not allowed: it must be a"),
        ("CnnPolicy", BlobEnv(), {"cnn_arch": [[16, 0]]}, "cnn_arch=[[16, 0]] is not allowed: kernel_size"),
        ("CnnPolicy", BlobEnv(), {"cnn_arch": [[16, 9]]}, "kernel_size=9 is not allowed: it must be at most"),
        (
            "CnnPolicy",
            FakeImageEnv(2, 36, 36, 1),
            {"features_extractor_class": NatureCNN},
            "NatureCNN has trainable parameters, which would need backpropagation: use CnnPolicy or Multi",
        ),
    ],
)
def test_misfit_is_refused(policy: str, env: Any, policy_kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        ANGC(policy, env, policy_kwargs=policy_kwargs, buffer_size=100, device="cpu")


def test_normalized_pixels_of_a_dict() -> None:
    """VecNormalize makes other numbers of them, in which nobody would see an image."""
    kwargs: dict[str, Any] = {"buffer_size": 50, "learning_starts": 10, "device": "cpu"}
    message = re.escape("norm_obs_keys=['vec']")
    for keys in (None, ["vec", "img"]):
        env = DummyVecEnv([lambda: SimpleMultiObsEnv(discrete_actions=True)])
        with pytest.warns(UserWarning, match=message):
            model = ANGC("MultiInputPolicy", VecNormalize(env, norm_obs_keys=keys), **kwargs)
        assert model.policy.n_pixels == 0
    env = DummyVecEnv([lambda: SimpleMultiObsEnv(discrete_actions=True)])
    model = ANGC("MultiInputPolicy", VecNormalize(VecTransposeImage(env), norm_obs_keys=["vec"]), **kwargs)
    assert model.policy.n_pixels == 64 * 64
    model.learn(20)
