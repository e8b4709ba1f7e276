"""Tuning of angc by the Zoo, and the settings it starts from."""

import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

pytest.importorskip("rl_zoo3", reason="RL Zoo is the extra 'zoo'")

import optuna
import yaml
from optuna.storages.journal import JournalFileBackend
from rl_zoo3 import exp_manager

import sb3_angc.hyperparams
from sb3_angc import ANGC
from sb3_angc.zoo.__main__ import main
from sb3_angc.zoo.search_space import NET_ARCHS, convert_angc_params, sample_angc_params

ENV = "CartPole-v1"
ROOT = Path(__file__).resolve().parents[2]
TASKS = [ENV, "MountainCar-v0", "LunarLander-v3", "Acrobot-v1"]
CONTINUOUS_TASKS = ["MountainCarContinuous-v0", "Pendulum-v1"]


def tune(folder: Path, *more: str) -> int:
    storage = ["--storage", str(folder / "study.log"), "--study-name", "tiny", "--no-optim-plots"]
    trials = ["-optimize", "--n-trials", "3", "--n-startup-trials", "3", "--n-evaluations", "2"]
    budget = ["-n", "300", "--eval-episodes", "2", "--num-threads", "1", "-params", "learning_starts:100"]
    logs = ["-f", str(folder / "logs")]
    return main(["train", "--algo", "angc", "--env", ENV, *logs, *storage, *trials, *budget, *more])


def load_study(folder: Path) -> optuna.Study:
    journal = JournalFileBackend(str(folder / "study.log"))
    return optuna.load_study(study_name="tiny", storage=optuna.storages.JournalStorage(journal))


def test_two_workers_share_a_study_and_a_trial_can_be_trained(tmp_path: Path) -> None:
    for seed in ("0", "1"):
        assert tune(tmp_path, "--seed", seed) == 0
    trials = load_study(tmp_path).trials
    assert [trial.number for trial in trials] == list(range(6))
    assert len({trial.params["learning_rate"] for trial in trials}) == 6

    storage = ["--storage", str(tmp_path / "study.log"), "--study-name", "tiny", "--trial-id", "1"]
    logs = str(tmp_path / "trained")
    assert (
        main(["train", "--algo", "angc", "--env", ENV, "-n", "50", "-f", logs, "--eval-freq", "-1", *storage])
        == 0
    )
    config = tmp_path / "trained" / "angc" / f"{ENV}_1" / ENV / "config.yml"
    settings = dict(yaml.load(config.read_text(), Loader=yaml.UnsafeLoader))
    expected = convert_angc_params(trials[1].params)
    assert {key: settings[key] for key in expected} == expected


def test_a_trial_that_diverges_is_pruned_and_the_study_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = ANGC.train
    models: list[ANGC] = []

    def diverge_in_the_second_trial(self: ANGC, gradient_steps: int, batch_size: int) -> None:
        if self not in models:
            models.append(self)
        if len(models) == 2:
            raise ValueError("the controller diverged in layer 1")
        train(self, gradient_steps, batch_size)

    monkeypatch.setattr(ANGC, "train", diverge_in_the_second_trial)
    assert tune(tmp_path, "--seed", "0", "--pruner", "none") == 0
    states = [trial.state.name for trial in load_study(tmp_path).trials]
    assert states == ["COMPLETE", "PRUNED", "COMPLETE"]


def test_angc_accepts_every_sample() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    env = gym.make(ENV)
    seen: dict[str, set[Any]] = {
        name: set() for name in ("feedback", "net_arch", "tau", "learning_rate_schedule", "epistemic_scale")
    }
    for _ in range(30):
        trial = study.ask()
        arguments = sample_angc_params(trial, 0, 1, {})
        model = ANGC("MlpPolicy", env, buffer_size=1000, **arguments)
        # A stored trial becomes the same agent, by way of the Zoo's text for a schedule.
        stored = convert_angc_params(trial.params)
        linear = trial.params["learning_rate_schedule"] == "linear"
        assert isinstance(stored.pop("learning_rate"), str if linear else float)
        schedule = arguments.pop("learning_rate")
        for left in (1.0, 0.25):
            expected = trial.params["learning_rate"] * (left if linear else 1)
            assert schedule(left) == pytest.approx(expected)
        assert arguments == stored
        # A target copied now and then, or one that follows at every step.
        assert (arguments["tau"] == 1) == (arguments["target_update_interval"] >= 10)
        assert 1 <= model.gradient_steps <= model.train_freq.frequency  # type: ignore[union-attr]
        assert model.policy.net_arch == NET_ARCHS[trial.params["net_arch"]]
        assert model.policy.controller.settings.output_precision == trial.params["output_precision"]
        for name, values in seen.items():
            values.add(trial.params.get(name))
    assert {name: len(values) for name, values in seen.items()} == {
        "feedback": 2,
        "net_arch": 3,
        "tau": 4,
        "learning_rate_schedule": 2,
        "epistemic_scale": 3,  # two, and none without an epistemic reward
    }


def test_continuous_actions_have_settings_of_their_own() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    env = gym.make("Pendulum-v1")
    bins, steps = set(), set()
    for _ in range(10):
        trial = study.ask()
        model = ANGC("MlpPolicy", env, buffer_size=1000, **sample_angc_params(trial, 1, 1, {}))
        assert model.policy.controller.layer_sizes[-1] == trial.params["action_bins"]
        assert model.exploration_steps == trial.params["exploration_steps"]
        assert convert_angc_params(trial.params)["exploration_steps"] == model.exploration_steps
        bins.add(trial.params["action_bins"])
        steps.add(trial.params["exploration_steps"])
    assert (bins, steps) == ({2, 3, 5}, {1, 8, 64})


def test_settings_keep_the_budgets_of_the_zoo_and_build_an_agent() -> None:
    folder = Path(exp_manager.__file__).parent / "hyperparams"
    dqn, sac = (yaml.safe_load((folder / name).read_text()) for name in ("dqn.yml", "sac.yml"))
    ours = sb3_angc.hyperparams.hyperparams
    games = {task: ours.pop(task) for task in ("MinAtar/Breakout-v1", "MinAtar/Asterix-v1")}
    study = yaml.safe_load((ROOT / "benchmarks" / "studies" / "minatar.yml").read_text())
    for settings in games.values():  # the Zoo has none of them
        assert settings["n_timesteps"] == study["n_timesteps"]
        told = study["algorithms"][0]["hyperparams"]
        assert {name: settings[name] for name in told} == told
    # The Zoo has the first version of it.
    assert ours.pop("FetchReach-v4")["n_timesteps"] == sac["FetchReach-v1"]["n_timesteps"]
    # Fewer steps are enough.
    assert (
        ours.pop("LunarLanderContinuous-v3")["n_timesteps"] < sac["LunarLanderContinuous-v3"]["n_timesteps"]
    )
    assert set(ours) == {"default", "atari", *TASKS, *CONTINUOUS_TASKS}
    assert ours["atari"].items() <= dqn["atari"].items()
    for task, settings in ours.items():
        theirs = sac if task in CONTINUOUS_TASKS else dqn
        assert settings["n_timesteps"] == theirs[task]["n_timesteps"]
    settings = dict(ours["LunarLander-v3"])
    del settings["n_timesteps"]
    model = ANGC(env="LunarLander-v3", **settings)
    assert model.policy.controller.settings.max_discrepancy == 0.1


def test_settings_are_plain_and_read_anew() -> None:
    def check(value: Any) -> None:
        if isinstance(value, dict):
            for inner in value.values():
                check(inner)
        elif isinstance(value, list):
            for inner in value:
                check(inner)
        else:
            assert value is None or isinstance(value, (str, int, float, bool))
            # The Zoo evaluates text in its own namespace.
            assert not isinstance(value, str) or re.fullmatch(r"[\w.]+|lin_[0-9.e-]+", value)

    first = sb3_angc.hyperparams.hyperparams
    check(first)
    del first[ENV]["n_timesteps"]  # as the Zoo does
    assert "n_timesteps" in sb3_angc.hyperparams.hyperparams[ENV]
