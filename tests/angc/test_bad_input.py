"""What is refused, with which words, and that nothing is lost by it."""

import functools
import math
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor, NatureCNN
from stable_baselines3.dqn.policies import DQNPolicy
from torch import nn

from sb3_angc import ANGC
from sb3_angc.angc.policies import ANGCPolicy
from tests.agents import TINY
from tests.envs import Parts, ScriptedEnv

BAD_ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    (
        {"policy_kwargs": {"circuit": "best"}},
        "circuit='best' is unknown: choose one of settled, paper",
    ),
    ({"policy_kwargs": {"activation_fn": "swish"}}, "activation='swish' is unknown: choose one of"),
    ({"policy_kwargs": {"activation_fn": nn.GELU}}, "activation_fn=GELU has no local counterpart"),
    ({"policy_kwargs": {"net_arch": 64}}, "net_arch=64 is not allowed"),
    (
        {"policy_kwargs": {"features_extractor_kwargs": {"features_dim": 64}}},
        "features_extractor_kwargs={'features_dim': 64} is not allowed",
    ),
    ({"policy_kwargs": {"net_arch": [64, -1]}}, "net_arch=[64, -1] is not allowed"),
    ({"policy_kwargs": {"net_arch": {"pi": [64]}}}, "must have the keys 'controller' and 'generator'"),
    ({"policy_kwargs": {"circuit_kwargs": {"inference_steps": 0}}}, "inference_steps=0 is not allowed"),
    ({"batch_size": 0}, "batch_size=0 is not allowed: it must be an integer of at least 1"),
    ({"buffer_size": -5}, "buffer_size=-5 is not allowed"),
    ({"n_steps": 0}, "n_steps=0 is not allowed"),
    (
        {"replay_buffer_kwargs": {"cut_at_random_choices": "no"}},
        "cut_at_random_choices='no' is not allowed: it must be True or False",
    ),
    ({"exploration_steps": 0}, "exploration_steps=0 is not allowed: it must be an integer of at least 1"),
    ({"target_update_interval": 0}, "target_update_interval=0 is not allowed"),
    ({"gamma": 1.5}, "gamma=1.5 is not allowed: it must be a number from 0 to 1"),
    ({"tau": -0.1}, "tau=-0.1 is not allowed"),
    ({"exploration_fraction": 2}, "exploration_fraction=2 is not allowed"),
    ({"epistemic_fraction": 1.5}, "epistemic_fraction=1.5 is not allowed"),
    ({"policy_kwargs": {"epistemic_scale": "median"}}, "epistemic_scale='median' is unknown"),
    ({"exploration_final_eps": math.nan}, "exploration_final_eps=nan is not allowed"),
    (
        {"learning_rate": -1e-3},
        "learning_rate=-0.001 is not allowed: it must be a finite",
    ),
    ({"learning_rate": "fast"}, "learning_rate='fast' is not allowed"),
    ({"alpha_epistemic": -1.0}, "alpha_epistemic=-1.0 is not allowed"),
    ({"alpha_instrumental": math.inf}, "alpha_instrumental=inf is not allowed"),
    ({"max_grad_norm": 0}, "max_grad_norm=0 is not allowed: it must be above 0"),
    *(
        ({name: "False"}, f"{name}='False' is not allowed: it must be True or False")
        for name in ("double_q", "clamp_all_actions", "compile_updates")
    ),
    *(
        ({"policy_kwargs": {name: "no"}}, f"{name}='no' is not allowed: it must be True or False")
        for name in ("action_input", "normalize_features", "normalize_values")
    ),
    ({"replay_buffer_kwargs": {"n_steps": 2.7}}, "n_steps=2.7 is not allowed: it must be an integer"),
    ({"replay_buffer_kwargs": {"n_steps": "a"}}, "n_steps='a' is not allowed: it must be an integer"),
    ({"seed": 2**32}, "seed=4294967296 is not allowed: it must be an integer from 0 to 2**32 - 1"),
    (
        {"train_freq": [4, "step"]},
        "train_freq=[4, 'step'] is not allowed: it must be an integer of at least 1, or",
    ),
    ({"train_freq": (0, "step")}, "train_freq=(0, 'step') is not allowed"),
    (
        {"policy_kwargs": {"activation_fn": nn.ReLU()}},
        "activation_fn=ReLU() is not allowed",
    ),
    ({"policy_kwargs": {"optimizer_class": "Adam"}}, "optimizer_class='Adam' is not allowed"),
    ({"policy_kwargs": {"optimizer_class": th.optim.LBFGS}}, "takes a step from updates alone"),
    *(
        (
            {"policy_kwargs": {"optimizer_class": wrong}},
            f"optimizer_class={wrong!r} is not allowed: it must be",
        )
        for wrong in (nn.Linear, dict, th.optim.Optimizer)
    ),
    ({"policy_kwargs": {"bogus": 1}}, "policy_kwargs={'bogus': 1} is not allowed: got an unexpected keyword"),
    (
        {"policy_kwargs": {"bogus": 1}},
        "It must be a dict of arguments of ANGCPolicy: net_arch, activation_fn,",
    ),
    (
        {"policy_kwargs": {"lr_schedule": 1}},
        "policy_kwargs={'lr_schedule': 1} is not allowed: multiple values",
    ),
    ({"policy_kwargs": {1: 2}}, "policy_kwargs={1: 2} is not allowed: it must be a dict of arguments by"),
    *(
        (
            {"policy_kwargs": {name: wrong}},
            f"{name}={wrong!r} is not allowed: it must be a dict of arguments by",
        )
        for name in ("optimizer_kwargs", "features_extractor_kwargs", "circuit_kwargs")
        for wrong in ("x", [1], {1: 2})
    ),
    (
        {"policy_kwargs": {"optimizer_kwargs": {"bogus": 1}}},
        "optimizer_kwargs={'bogus': 1} is not allowed: got an unexpected keyword argument 'bogus'. It must "
        "be a dict of arguments of Adam: betas, eps,",
    ),
    (
        {"policy_kwargs": {"optimizer_kwargs": {"lr": 1}}},
        "optimizer_kwargs={'lr': 1} is not allowed: 'lr' is told already",
    ),
    ({"policy_kwargs": {"optimizer_kwargs": {"lr": 1}}}, "The learning rate is the agent's learning_rate"),
    ({"policy_kwargs": {"circuit": ["x"]}}, "circuit=['x'] is unknown: choose one of settled, paper"),
    ({"policy_kwargs": {"circuit_kwargs": {"preset": "paper"}}}, "the preset is told by circuit"),
    ({"policy_kwargs": {"activation_fn": [1]}}, "activation_fn=[1] is not allowed: it must be a name, an"),
    *(
        (
            {"policy_kwargs": {"features_extractor_class": wrong, "normalize_images": scaled}},
            f"features_extractor_class={wrong!r} is not allowed: it must be a subclass of BaseFeatures",
        )
        for wrong in ("x", dict)
        for scaled in (True, False)
    ),
]


@pytest.mark.parametrize(
    ("arguments", "message"), BAD_ARGUMENTS, ids=[str(case) for case, _ in BAD_ARGUMENTS]
)
def test_bad_argument_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        ANGC("CartPole-v1", **{**TINY, **arguments})


class Needs(FlattenExtractor):
    """A features extractor with an argument that has no default."""

    def __init__(self, observation_space: spaces.Space[Any], scale: float) -> None:
        unset: dict[str, Any] = {"offset": None}
        super().__init__(observation_space)
        self.scale = scale if scale >= 0 else unset["offset"] + 1


def test_a_bug_in_a_features_extractor_stays_what_it_is() -> None:
    """It is told as Python tells it, and not as a fault of the arguments, which are checked by themselves."""
    settings: dict[str, Any] = {"features_extractor_class": Needs}
    for given, error, message in (
        ({"scale": -1.0}, TypeError, "unsupported operand"),
        (
            {},
            ValueError,
            r"features_extractor_kwargs=\{\} is not allowed: missing a required argument: 'scale'",
        ),
    ):
        with pytest.raises(error, match=message):
            ANGC("CartPole-v1", policy_kwargs={**settings, "features_extractor_kwargs": given})
    model = ANGC("CartPole-v1", policy_kwargs={**settings, "features_extractor_kwargs": {"scale": 2.0}})
    assert isinstance(model.policy.features_extractor, Needs)
    assert model.policy.features_extractor.scale == 2


def test_what_hands_its_arguments_on_is_not_refused() -> None:
    """What becomes of them, a class of one's own and a function know themselves."""

    class Handing(ANGCPolicy):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.own = kwargs.pop("own")
            super().__init__(*args, **kwargs)

    settings = {
        "own": 3,
        "optimizer_class": functools.partial(th.optim.SGD, momentum=0.5),
        "optimizer_kwargs": {"maximize": True},
    }
    policy = ANGC(Handing, "CartPole-v1", policy_kwargs=settings).policy
    assert getattr(policy, "own") == 3  # noqa: B009 -- the type knows nothing of it
    assert policy.optimizer.param_groups[0]["momentum"] == 0.5
    assert policy.optimizer.param_groups[0]["maximize"]


def test_steps_of_numpy_in_a_pair() -> None:
    model = ANGC("CartPole-v1", **{**TINY, "train_freq": (np.int64(2), "step")}).learn(60)
    assert model._n_updates == 5


def test_returns_of_a_dict_observation_are_not_cut() -> None:
    with pytest.raises(ValueError, match=r"cut_at_random_choices'.* is not allowed with Dict observations"):
        ANGC(Parts(), replay_buffer_kwargs={"cut_at_random_choices": False}, **TINY)


def test_numbers_too_large_to_be_stored() -> None:
    class Huge(ScriptedEnv):
        observation_space: Any = spaces.Box(-1, 1, (2,), np.float64)

        def reset(self, **kwargs: Any) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
            return np.full(2, 1e39), {}

    with pytest.raises(ValueError, match=r"a first observation that is not finite as float32: .*1\.e\+39"):
        ANGC(Huge(lambda count: (0, 0, False, False)), **TINY).learn(10)


def test_unknown_environment_names_the_closest() -> None:
    with pytest.raises(ValueError, match=r"env='CartPol-v1' is not a registered environment: .*`CartPole`"):
        ANGC("CartPol-v1")
    with pytest.raises(ValueError, match=r"env='CartPol-v1' is not a registered environment: .*`CartPole`"):
        ANGC("MlpPolicy", "CartPol-v1")
    with pytest.raises(ValueError, match=r"Namespace Nobodys not found\. Have you installed"):
        ANGC("Nobodys/Breakout-v5")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("MlpPolcy",),
            "env='MlpPolcy' is not a registered environment: .* Or is the policy 'MlpPolicy' meant",
        ),
        (("MlpPolicy",), "env=None is not allowed"),
        ((ANGCPolicy,), "env=None is not allowed"),
        (
            (ScriptedEnv,),
            "policy=ScriptedEnv is not allowed: it must be MlpPolicy, CnnPolicy, MultiInputPolicy",
        ),
        ((DQNPolicy, "CartPole-v1"), "policy=DQNPolicy is not allowed: it must be MlpPolicy"),
    ],
    ids=str,
)
def test_policy_and_environment_mistaken(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ANGC(*arguments)


@pytest.mark.parametrize("wrong", [None, 5, [1], {}, ScriptedEnv, gym.make], ids=range(6))
def test_what_is_no_environment(wrong: Any, tmp_path: Path) -> None:
    message = re.escape(f"env={wrong!r} is not allowed: it must be an environment, a VecEnv or the id")
    if not isinstance(wrong, type):  # in the first place it is taken for a policy
        with pytest.raises(ValueError, match=message):
            ANGC(wrong)
    if wrong is None:
        return
    with pytest.raises(ValueError, match=message):
        ANGC("MlpPolicy", wrong)
    ANGC("CartPole-v1", **TINY).save(tmp_path / "agent.zip")
    with pytest.raises(ValueError, match=message):
        ANGC.load(tmp_path / "agent.zip", env=wrong)


@pytest.mark.parametrize("policy", [[1], {}], ids=str)
def test_what_is_no_policy(policy: Any) -> None:
    with pytest.raises(
        ValueError, match=re.escape(f"policy={policy!r} is not allowed: it must be MlpPolicy")
    ):
        ANGC(policy, "CartPole-v1")


@pytest.mark.parametrize(
    ("space", "what"),
    [
        (spaces.Box(-1, 1, (0,)), "observation_space"),
        (spaces.Box(0, 255, (0, 3, 3), np.uint8), "observation_space"),
        (spaces.MultiDiscrete([]), "observation_space"),
        (spaces.Dict(), "observation_space"),
        (spaces.Dict(image=spaces.Box(0, 255, (0, 3, 3), np.uint8), b=spaces.Discrete(2)), "['image']"),
    ],
    ids=str,
)
def test_observations_without_a_number(space: spaces.Space[Any], what: str) -> None:
    class Empty(gym.Env[Any, Any]):
        observation_space = space
        action_space = spaces.Discrete(2)

    with pytest.raises(ValueError, match=rf"{re.escape(what)}=.* is not allowed: .*( no| one) number"):
        ANGC(Empty(), **TINY)


def test_trainable_features_extractor_is_refused() -> None:
    class Images(gym.Env[Any, Any]):
        observation_space = spaces.Box(0, 255, (3, 36, 36), np.uint8)
        action_space = spaces.Discrete(2)

    with pytest.raises(ValueError, match="NatureCNN has trainable parameters, which would need"):
        ANGC("MlpPolicy", Images(), policy_kwargs={"features_extractor_class": NatureCNN}, buffer_size=100)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("what", ["reward", "observation", "terminal observation"])
def test_value_that_is_not_finite_stops_before_the_buffer(what: str, value: float) -> None:
    def step(count: int) -> tuple[float, float, bool, bool]:
        is_bad = count == 80
        observation = value if is_bad and what != "reward" else 0.0
        reward = value if is_bad and what == "reward" else 1.0
        return observation, reward, is_bad and what == "terminal observation", False

    model = ANGC(ScriptedEnv(step), **TINY)
    with pytest.raises(ValueError, match=f"The environment returned a {what} that is not finite"):
        model.learn(200)
    assert model._n_updates > 0
    assert all(th.isfinite(parameter).all() for parameter in model.policy.parameters())
    assert model.replay_buffer is not None
    assert model.replay_buffer.size() == 79
    assert np.isfinite(model.replay_buffer.rewards).all()


def test_first_observation_that_is_not_finite() -> None:
    class Broken(ScriptedEnv):
        def reset(self, **kwargs: Any) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
            return np.full(2, np.nan, np.float32), {}

    with pytest.raises(ValueError, match="The environment returned a first observation that is not finite"):
        ANGC(Broken(lambda count: (0, 0, False, False)), **TINY).learn(10)


def test_divergence_names_the_circuit_and_keeps_the_weights_finite() -> None:
    settings: dict[str, Any] = {"circuit": "paper", "net_arch": [16, 16]}
    settings["circuit_kwargs"] = {"weight_norm": None, "step_size": 50.0, "inference_steps": 60}
    model = ANGC("CartPole-v1", **{**TINY, "policy_kwargs": settings})
    with pytest.raises(ValueError, match=r"(controller|generator) diverged in layer \d of 3"):
        model.learn(500)
    assert all(th.isfinite(parameter).all() for parameter in model.policy.parameters())
