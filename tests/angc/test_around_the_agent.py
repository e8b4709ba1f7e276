"""Everything that SB3 puts around an agent works around this one."""

import csv
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import (
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from sb3_angc import ANGC
from tests.agents import TINY
from tests.envs import Counter, GoalCounter, Parts, counter


def cartpoles(n_envs: int = 1) -> DummyVecEnv:
    return DummyVecEnv([lambda: gym.make("CartPole-v1")] * n_envs)


def test_environments_of_the_tests_are_sound() -> None:
    for env in (Counter(), GoalCounter(), Parts()):
        check_env(env, warn=False)


def test_vec_normalize_trains_saves_and_evaluates(tmp_path: Path) -> None:
    env = VecNormalize(cartpoles(2), gamma=0.9)
    model = ANGC(
        "MlpPolicy", env, **{**TINY, "policy_kwargs": {"net_arch": [16], "normalize_features": False}}
    )
    model.learn(400)
    assert model.replay_buffer is not None
    # The buffer keeps what the environment said; batches are normalised with the present statistics.
    assert (model.replay_buffer.rewards[:100] == 1).all()
    stored = model.replay_buffer.observations[: model.replay_buffer.pos].reshape(-1, 4)
    assert isinstance(env.obs_rms, RunningMeanStd)
    np.testing.assert_allclose(env.obs_rms.mean, stored.mean(0), atol=0.2)
    np.random.seed(0)  # noqa: NPY002
    batch = model.sample(64)
    np.random.seed(0)  # noqa: NPY002
    unnormalized = model.replay_buffer.sample(64).observations.numpy()
    normalized = np.asarray(env.normalize_obs(unnormalized))
    np.testing.assert_allclose(batch.features.numpy(), normalized, rtol=1e-5)

    model.save(tmp_path / "model")
    env.save(str(tmp_path / "statistics.pkl"))
    frozen = VecNormalize.load(str(tmp_path / "statistics.pkl"), cartpoles())
    frozen.training, frozen.norm_reward = False, False
    loaded = ANGC.load(tmp_path / "model", env=frozen, device="cpu")
    raw = np.random.default_rng(0).normal(size=(50, 4))
    mine, its = (
        model.predict(env.normalize_obs(raw), deterministic=True),
        loaded.predict(frozen.normalize_obs(raw), deterministic=True),
    )
    assert (mine[0] == its[0]).all()
    assert evaluate_policy(loaded, frozen, 3)[0] >= 8
    assert loaded.get_vec_normalize_env() is frozen


def test_workers_give_the_same_weights_as_one_process() -> None:
    weights = []
    for kind in (DummyVecEnv, SubprocVecEnv):
        kwargs = {"start_method": "fork"} if kind is SubprocVecEnv else {}
        env = make_vec_env("CartPole-v1", 3, seed=0, vec_env_cls=kind, vec_env_kwargs=kwargs)
        weights.append(ANGC("MlpPolicy", env, **TINY).learn(240).policy.state_dict())
        env.close()
    assert all(th.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_monitor_and_statistics_window(tmp_path: Path) -> None:
    env = Monitor(counter(6), str(tmp_path / "log"))
    model = ANGC("MlpPolicy", env, stats_window_size=3, **TINY).learn(60)
    rows = list(csv.reader((tmp_path / "log.monitor.csv").read_text().splitlines()[1:]))
    assert [row[:2] for row in rows[1:]] == [["6.0", "6"]] * 10
    assert model.ep_info_buffer is not None
    assert (len(model.ep_info_buffer), model.ep_info_buffer.maxlen) == (3, 3)


def test_callbacks_of_evaluation_and_checkpoints(tmp_path: Path) -> None:
    env = VecNormalize(DummyVecEnv([lambda: Monitor(counter(6))]), norm_reward=False)
    eval_env = VecNormalize(DummyVecEnv([lambda: Monitor(counter(6))]), norm_reward=False)
    stop = StopTrainingOnRewardThreshold(reward_threshold=5.5, verbose=0)
    evaluation = EvalCallback(
        eval_env,
        callback_on_new_best=stop,
        eval_freq=100,
        n_eval_episodes=2,
        best_model_save_path=str(tmp_path),
        log_path=str(tmp_path),
        verbose=0,
    )
    checkpoints = CheckpointCallback(
        40, str(tmp_path), name_prefix="angc", save_replay_buffer=True, save_vecnormalize=True
    )
    model = ANGC("MlpPolicy", env, **TINY)
    model.learn(1000, CallbackList([checkpoints, evaluation]))
    assert model.num_timesteps == 100  # each episode earns 6, above the threshold
    assert evaluation.best_mean_reward == 6
    assert np.load(tmp_path / "evaluations.npz")["results"].tolist() == [[6, 6]]
    best = ANGC.load(tmp_path / "best_model", device="cpu")
    assert th.equal(best.policy.controller.bundles[0].weight, model.policy.controller.bundles[0].weight)
    for steps in (40, 80):
        loaded = ANGC.load(tmp_path / f"angc_{steps}_steps", env=env, device="cpu")
        loaded.load_replay_buffer(tmp_path / f"angc_replay_buffer_{steps}_steps")
        assert loaded.replay_buffer is not None
        assert (loaded.num_timesteps, loaded.replay_buffer.size()) == (steps, steps - 1)
        assert (tmp_path / f"angc_vecnormalize_{steps}_steps.pkl").exists()


def test_loggers(tmp_path: Path) -> None:
    model = ANGC("MlpPolicy", counter(10), **TINY)
    model.set_logger(configure(str(tmp_path), ["csv", "json", "log"]))
    model.learn(200, log_interval=5)
    table = list(csv.DictReader((tmp_path / "progress.csv").read_text().splitlines()))
    lines = [json.loads(line) for line in (tmp_path / "progress.json").read_text().splitlines()]
    for records in (table, lines):
        assert [int(record["time/total_timesteps"]) for record in records] == [50, 100, 150, 200]
        assert float(records[-1]["rollout/ep_rew_mean"]) == 10
    assert "epistemic_reward" in (tmp_path / "log.txt").read_text()


def test_every_logged_key_is_in_the_glossary(tmp_path: Path) -> None:
    glossary = (Path(__file__).parents[2] / "docs/logging.md").read_text()
    model = ANGC("MlpPolicy", counter(10), **TINY)
    model.set_logger(configure(str(tmp_path), ["json"]))
    evaluation = EvalCallback(Monitor(counter(10)), eval_freq=50, n_eval_episodes=1, verbose=0)
    model.learn(200, evaluation, log_interval=1)
    keys = {key for line in (tmp_path / "progress.json").read_text().splitlines() for key in json.loads(line)}
    assert {"train/loss", "train/learning_rate", "eval/mean_reward", "rollout/exploration_rate"} <= keys
    assert not [key for key in keys if f"`{key}`" not in glossary]


def test_tensorboard(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    ANGC("MlpPolicy", counter(10), tensorboard_log=str(tmp_path), **TINY).learn(200, log_interval=5)
    events = accumulator.EventAccumulator(str(tmp_path / "ANGC_1"))
    events.Reload()
    assert [event.step for event in events.Scalars("rollout/ep_rew_mean")] == [50, 100, 150, 200]


def test_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    ANGC("MlpPolicy", counter(10), **TINY).learn(60, progress_bar=True)
    assert "60/60" in "".join(capsys.readouterr())


def test_learning_rate_schedule_of_sb3() -> None:
    model = ANGC("MlpPolicy", counter(10), learning_rate=LinearSchedule(1e-2, 1e-3, 0.5), **TINY)
    rates = {}

    def record(locals_: dict[str, Any], globals_: dict[str, Any]) -> bool:
        rates[model.num_timesteps] = model.policy.optimizer.param_groups[0]["lr"]
        return True

    model.learn(200, record)
    # After step 80 of 200, 0.4 of the progress is made: 0.8 of the way from 1e-2 to 1e-3.
    assert rates[81] == pytest.approx(1e-2 - 0.8 * 9e-3)
    assert rates[200] == pytest.approx(1e-3)


def test_parameters_travel_between_models() -> None:
    one, other = (ANGC("CartPole-v1", **{**TINY, "seed": seed}).learn(100) for seed in (0, 1))
    other.set_parameters(one.get_parameters())
    assert set(one.get_parameters()) == {"policy", "policy.optimizer"}
    for name, value in one.policy.state_dict().items():
        assert th.equal(value, other.policy.state_dict()[name])
    moments = [model.policy.optimizer.state_dict()["state"][0]["exp_avg"] for model in (one, other)]
    assert th.equal(*moments)
    policy_alone = {"policy": one.policy.state_dict()}
    with pytest.raises(ValueError, match="Names of parameters do not match"):
        other.set_parameters(policy_alone)
    other.set_parameters(policy_alone, exact_match=False)


def test_evaluate_policy_and_other_environments() -> None:
    model = ANGC("CartPole-v1", **TINY).learn(100)
    mean, deviation = evaluate_policy(model, gym.make("CartPole-v1"), 3, warn=False)
    assert 8 <= mean <= 500  # type: ignore[operator]
    assert deviation >= 0  # type: ignore[operator]
    model.set_env(gym.make("CartPole-v1"))
    model.learn(40, reset_num_timesteps=False)
    assert model.num_timesteps == 140
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        model.set_env(gym.make("Acrobot-v1"))
    with pytest.raises(AssertionError, match="number of environments"):
        model.set_env(cartpoles(2))


def test_more_environments_after_loading(tmp_path: Path) -> None:
    ANGC("CartPole-v1", **TINY).learn(100).save(tmp_path / "model")
    loaded = ANGC.load(tmp_path / "model", env=cartpoles(3), device="cpu")
    loaded.learn(90, reset_num_timesteps=False)
    assert (loaded.n_envs, loaded.num_timesteps) == (3, 196)  # 8 rollouts of 4 steps in 3 environments


def test_device_by_name_and_by_object() -> None:
    for device in ("cpu", th.device("cpu"), "auto"):
        model = ANGC("CartPole-v1", **{**TINY, "device": device})
        assert model.policy.controller.bundles[0].weight.device.type == model.device.type
    assert model.device.type == ("cuda" if th.cuda.is_available() else "cpu")


def test_set_random_seed_repeats_exploration() -> None:
    model = ANGC("CartPole-v1", **{**TINY, "seed": None})
    model.exploration_rate = 1.0
    actions = []
    for seed in (5, 5, 6):
        model.set_random_seed(seed)
        actions.append([int(model.predict(np.zeros(4))[0]) for _ in range(30)])
    assert actions[0] == actions[1] != actions[2]


def test_loaded_without_memory_to_act_only(tmp_path: Path) -> None:
    """As the Zoo's enjoy loads its agents."""
    model = ANGC("CartPole-v1", **TINY).learn(100)
    model.save(tmp_path / "model")
    loaded = ANGC.load(tmp_path / "model", env=gym.make("CartPole-v1"), device="cpu", seed=0, buffer_size=1)
    observations = np.random.default_rng(0).normal(size=(50, 4))
    assert loaded.replay_buffer is not None
    assert loaded.replay_buffer.buffer_size == 1
    mine, its = (agent.predict(observations, deterministic=True)[0] for agent in (model, loaded))
    assert (mine == its).all()
