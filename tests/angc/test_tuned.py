"""``ANGC.tuned`` is what ``angc.yml`` says, and what RL Zoo makes of it."""

import inspect
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit

pytest.importorskip("yaml", reason="pyyaml is in the extra 'extra'")

import yaml

import sb3_angc.hyperparams
from sb3_angc import ANGC
from sb3_angc.hyperparams import tuned_environments
from sb3_angc.saving.resuming import ResumableAlgorithm
from tests.agents import TINY

FILE = Path(sb3_angc.hyperparams.__file__).with_name("angc.yml")
SETTINGS = yaml.safe_load(FILE.read_text(encoding="utf-8"))
TASKS = [name for name in SETTINGS if name not in ("default", "atari")]
WRAPPED = {
    "n_timesteps": 3e3,
    "policy": "MlpPolicy",
    "train_freq": [2, "episode"],
    "learning_rate": "lin_1e-3",
    "env_wrapper": [
        {"gymnasium.wrappers.RescaleObservation": {"min_obs": -1, "max_obs": 1}},
        "gymnasium.wrappers.FlattenObservation",
    ],
}


def skip_without_its_package(task: str) -> None:
    if task.startswith("LunarLander"):
        pytest.importorskip("Box2D", reason="LunarLander needs the extra 'bench'")
    if task.startswith("Fetch"):
        reason = "FetchReach needs gymnasium-robotics"
        gym.register_envs(pytest.importorskip("gymnasium_robotics", reason=reason))


@pytest.mark.parametrize("task", TASKS)
def test_settings_are_those_of_the_file(task: str) -> None:
    """Every line of the file is found in the agent; what the file does not name is the default."""
    skip_without_its_package(task)
    model = ANGC.tuned(task, seed=3, device="cpu")
    told = dict(SETTINGS[task])
    assert model.budget == told.pop("n_timesteps")
    assert model.policy_class is ANGC.policy_aliases[told.pop("policy")]
    rate = told.pop("learning_rate", "lin_3e-3")
    start, is_linear = float(str(rate).removeprefix("lin_")), str(rate).startswith("lin_")
    for progress in (1.0, 0.5, 0.0):
        expected = start * progress if is_linear else start
        assert model.lr_schedule(progress) == pytest.approx(expected)
    assert model.train_freq.frequency == told.pop("train_freq", 4)  # type: ignore[union-attr]
    kwargs = told.pop("policy_kwargs", {})
    assert model.policy_kwargs == kwargs
    if "replay_buffer_class" in told:
        assert model.replay_buffer_class is getattr(stable_baselines3, told.pop("replay_buffer_class"))
    assert told.pop("replay_buffer_kwargs", {}).items() <= model.replay_buffer_kwargs.items()
    for name, value in told.items():
        assert getattr(model, name) == value, name
    for name, value in kwargs.get("circuit_kwargs", {}).items():
        assert getattr(model.policy.controller.settings, name) == value
    defaults = inspect.signature(ANGC).parameters
    for name in {"double_q", "clamp_all_actions", "epistemic_fraction", "max_grad_norm"} - set(told):
        assert getattr(model, name) == defaults[name].default
    assert model.seed == 3
    assert model.get_env().envs[0].spec.id == task  # type: ignore[union-attr]


@pytest.mark.parametrize("task", TASKS)
def test_the_zoo_gives_the_constructor_the_same(
    task: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("rl_zoo3", reason="RL Zoo is the extra 'zoo'")
    skip_without_its_package(task)
    from sb3_angc.zoo.__main__ import main

    given: list[dict[str, Any]] = []

    class Recorder(ANGC):
        def __init__(self, **arguments: Any) -> None:
            given.append(arguments)
            raise KeyboardInterrupt

    monkeypatch.setattr("sb3_angc.zoo.ANGC", Recorder)
    monkeypatch.setitem(pytest.importorskip("rl_zoo3.utils").ALGOS, "angc", ANGC)  # to be put back
    monkeypatch.chdir(tmp_path)
    for make in (lambda: main(["train", "--algo", "angc", "--env", task]), lambda: Recorder.tuned(task)):
        with pytest.raises(KeyboardInterrupt):
            make()
    theirs, ours = given
    for name in ("tensorboard_log", "seed", "verbose", "device"):  # of the command line
        theirs.pop(name)
    assert theirs.pop("env").observation_space == ours.pop("env").observation_space
    assert ("learning_rate" in ours) == ("learning_rate" in SETTINGS[task])
    if "learning_rate" in ours:
        schedules = theirs.pop("learning_rate"), ours.pop("learning_rate")
        for progress in (1.0, 0.3, 0.0):
            one, other = (rate(progress) if callable(rate) else rate for rate in schedules)
            assert one == pytest.approx(other)
    assert ours == theirs


def test_learns_for_the_tuned_number_of_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[int] = []
    learn = ResumableAlgorithm.learn

    def learn_briefly(self: ANGC, total_timesteps: int, **rest: Any) -> Any:
        asked.append(total_timesteps)
        return learn(self, 60, **rest)

    monkeypatch.setattr(ResumableAlgorithm, "learn", learn_briefly)
    model = ANGC.tuned("Acrobot-v1", **TINY).learn()
    assert model.batch_size == TINY["batch_size"]  # which was changed
    assert model.gradient_steps == SETTINGS["Acrobot-v1"]["gradient_steps"]
    model.save(tmp_path / "model")
    ANGC.load(tmp_path / "model", env="Acrobot-v1").learn()
    model.learn(70)
    ANGC("CartPole-v1", **TINY).learn()
    assert asked == [100_000, 100_000, 70, 50_000]


def test_wrappers_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sb3_angc.hyperparams, "_read", lambda: {"MountainCar-v0": dict(WRAPPED)})
    model = ANGC.tuned("MountainCar-v0", device="cpu")
    env = model.get_env()
    assert env is not None
    np.testing.assert_allclose(env.observation_space.low, -1)  # type: ignore[attr-defined]
    assert "FlattenObservation<RescaleObservation" in str(env.envs[0])  # type: ignore[attr-defined]
    assert [model.lr_schedule(progress) for progress in (1.0, 0.5, 0.0)] == pytest.approx([1e-3, 5e-4, 0.0])
    frequency: Any = model.train_freq
    assert frequency == TrainFreq(2, TrainFrequencyUnit.EPISODE)
    own = gym.make("MountainCar-v0")
    assert ANGC.tuned("MountainCar-v0", env=own, device="cpu").observation_space == own.observation_space


def test_buffer_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SETTINGS["FetchReach-v4"]
    monkeypatch.setattr(sb3_angc.hyperparams, "_read", lambda: {"Flips": settings})
    model = ANGC.tuned("Flips", env=BitFlippingEnv(n_bits=3), device="cpu")
    assert isinstance(model.replay_buffer, HerReplayBuffer)


def test_what_is_not_tuned_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Blackjack-v1", "default", "atari"):
        with pytest.raises(ValueError, match=rf"env_id='{name}' has no tuned settings: .* CartPole-v1, "):
            ANGC.tuned(name)
    assert tuned_environments() == TASKS
    with pytest.raises(TypeError, match="bach_size"):
        ANGC.tuned("CartPole-v1", bach_size=3)
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ImportError, match=r"pip install 'sb3_angc\[extra\]'"):
        ANGC.tuned("CartPole-v1")
