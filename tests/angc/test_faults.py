"""Whatever goes wrong: an error that names the cause, sound weights and buffer, and no hanging process."""

import errno
import io
import math
import os
import resource
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import (
    BaseCallback,
    StopTrainingOnMaxEpisodes,
)
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from sb3_angc import ANGC
from sb3_angc.common.workers import dead_workers_named
from tests.agents import TINY
from tests.envs import Counter, GoalCounter, ScriptedEnv, counter
from tests.processes import in_a_fork


def assert_sound(model: ANGC) -> None:
    """Weights and buffer hold finite values alone; the model acts, saves and learns on."""
    assert all(th.isfinite(value).all() for value in model.policy.state_dict().values())
    buffer = model.replay_buffer
    assert buffer is not None
    assert np.isfinite(buffer.rewards).all()
    assert np.isfinite(buffer.observations).all()
    assert 0 <= buffer.pos < buffer.buffer_size
    model.predict(np.zeros(model.observation_space.shape, np.float32))
    model.save(io.BytesIO())


class At(ScriptedEnv):
    """Episodes of 10 steps; one value of one step (or of the reset after it) is bad."""

    def __init__(self, what: str, value: float, when: int) -> None:
        def step(count: int) -> tuple[float, float, bool, bool]:
            is_bad = count == when
            bad_observation = is_bad and what in ("observation", "terminal observation")
            ends = count % 10 == 0 or (is_bad and what in ("terminal observation", "reset"))
            return (
                value if bad_observation else 0.5,
                value if is_bad and what == "reward" else 1.0,
                ends,
                False,
            )

        super().__init__(step)
        self.bad_reset = (what, value, when)

    def reset(self, **kwargs: Any) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
        what, value, when = self.bad_reset
        observation, info = super().reset(**kwargs)
        return (observation + value if what == "reset" and self.count == when else observation), info


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, in the environment's wrappers
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
@pytest.mark.parametrize("what", ["reward", "observation", "terminal observation", "reset"])
def test_value_that_is_not_finite_at_any_step(what: str, value: float, normalize: bool) -> None:
    if what == "terminal observation" and normalize and not math.isnan(value):
        pytest.skip("VecNormalize clips it to a finite value, and keeps no other")
    for when in (1, 49, 50, 53, 60, 77):  # before, at and after the first update
        env: Any = DummyVecEnv([partial(At, what, value, when), partial(At, "", 0, 0)])
        if what == "observation" and when % 10 == 0:
            continue  # the step is a terminal one
        env = VecNormalize(env) if normalize else env
        model = ANGC("MlpPolicy", env, **TINY)
        named = what if what in ("reward", "terminal observation") else "observation"
        with pytest.raises(ValueError, match=f"The environment returned a {named} that is not finite"):
            model.learn(400)
        assert model.num_timesteps == 2 * when
        assert model.replay_buffer is not None
        assert model.replay_buffer.size() == when - 1
        assert_sound(model)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_action_value_that_is_not_finite(value: float) -> None:
    model = ANGC("CartPole-v1", **TINY)
    model.policy.controller.bundles[-1].bias[1] = value  # type: ignore[index]
    with pytest.raises(ValueError, match="The controller's value of an action is not finite"):
        model.predict(np.zeros(4), deterministic=True)
    with pytest.raises(ValueError, match="The observation is not finite"):
        model.predict(np.full(4, value), deterministic=True)


@pytest.mark.parametrize("rate", [math.nan, math.inf, -1.0])
def test_schedule_that_goes_wrong(rate: float) -> None:
    model = ANGC("CartPole-v1", learning_rate=lambda p: 1e-3 if p > 0.5 else rate, **TINY)
    with pytest.raises(ValueError, match=r"learning_rate at progress 0\.\d+=.* is not allowed"):
        model.learn(200)
    assert model._n_updates > 5
    assert_sound(model)


class Fails(Counter):
    """Raises once, at a step or at a reset."""

    def __init__(self, when: int, at_reset: bool) -> None:
        super().__init__()
        self.when, self.at_reset, self.total = when, at_reset, 0

    def _maybe_raise(self, now: bool) -> None:
        if now:
            self.when = -1
            raise OSError("the simulator is gone")

    def step(self, action: Any) -> Any:
        self.total += 1
        self._maybe_raise(not self.at_reset and self.total == self.when)
        return super().step(action)

    def reset(self, **kwargs: Any) -> Any:
        self._maybe_raise(self.at_reset and self.total >= self.when > 0)
        return super().reset(**kwargs)


def assert_transitions_belong_together(model: ANGC) -> None:
    """Every transition stored leads from some step to the next of the same episode."""
    buffer = model.replay_buffer
    assert buffer is not None
    assert buffer.size() > 0
    steps = buffer.next_observations[: buffer.size()] - buffer.observations[: buffer.size()]
    assert (steps == 1).all()


@pytest.mark.parametrize("at_reset", [False, True])
@pytest.mark.parametrize("when", [1, 49, 50, 51, 64, 100])
def test_environment_that_raises(when: int, at_reset: bool) -> None:
    env = gym.wrappers.TimeLimit(Fails(when, at_reset), 10)
    model = ANGC("MlpPolicy", env, **TINY)
    with pytest.raises(OSError, match="the simulator is gone"):
        model.learn(200)
    model.learn(100, reset_num_timesteps=False)
    assert_transitions_belong_together(model)
    assert_sound(model)


@pytest.mark.parametrize("hook", ["_on_training_start", "_on_rollout_start", "_on_step", "_on_rollout_end"])
def test_callback_that_raises(hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(BaseCallback):
        def _on_step(self) -> bool:
            return True

    def fail(self: BaseCallback) -> bool:
        if self.num_timesteps >= 70 or hook == "_on_training_start":
            raise ZeroDivisionError("in a callback")
        return True

    monkeypatch.setattr(Silent, hook, fail)
    model = ANGC("MlpPolicy", counter(7), **TINY)
    with pytest.raises(ZeroDivisionError, match="in a callback"):
        model.learn(200, Silent())
    model.learn(100, reset_num_timesteps=False)
    assert_transitions_belong_together(model)
    assert_sound(model)


def test_callback_that_stops_training() -> None:
    """It does so before the step is stored, on which the environment has gone on."""
    model = ANGC("MlpPolicy", counter(7), **TINY)
    for _ in range(3):
        model.learn(100, StopTrainingOnMaxEpisodes(3), reset_num_timesteps=False)
    model.learn(20, reset_num_timesteps=False)
    assert_transitions_belong_together(model)
    assert_sound(model)


def test_interrupted_at_any_moment() -> None:
    """Ctrl-C, at 40 moments of training."""
    model = ANGC("MlpPolicy", counter(7), **{**TINY, "buffer_size": 100, "train_freq": 1})
    model.learn(60)
    draws = np.random.default_rng(0)
    previous = signal.signal(signal.SIGVTALRM, signal.default_int_handler)
    try:
        for _ in range(40):
            # Of processor time; again after half a second, should one be swallowed by a destructor.
            signal.setitimer(signal.ITIMER_VIRTUAL, draws.uniform(0.005, 0.03), 0.5)
            with pytest.raises(KeyboardInterrupt):
                model.learn(1_000_000, reset_num_timesteps=False)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            model.learn(3, reset_num_timesteps=False)
            assert_transitions_belong_together(model)
            assert_sound(model)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)
        # Torch's optimizers switch it off while they move weights, and can be caught before it is on again.
        th.set_grad_enabled(True)


def test_interrupted_while_waiting_for_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the workers have still to say would be taken for the next answer: the environment is refused."""

    def interrupted(env: SubprocVecEnv) -> Any:
        raise KeyboardInterrupt

    env = SubprocVecEnv([lambda: counter(7)] * 2)
    model = ANGC("MlpPolicy", env, **TINY)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(SubprocVecEnv, "step_wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                model.learn(100)
        with pytest.raises(RuntimeError, match=r"interrupted while its workers took a step: make a new one"):
            model.learn(60, reset_num_timesteps=False)
    finally:
        env.close()
    model.set_env(DummyVecEnv([lambda: counter(7)] * 2))
    model.learn(60, reset_num_timesteps=False)
    assert_transitions_belong_together(model)
    assert_sound(model)


def test_environment_closed_by_a_callback_is_not_blamed() -> None:
    env = SubprocVecEnv([Counter])

    def close_and_fail() -> None:
        with dead_workers_named(env):
            env.close()
            raise ConnectionResetError("the logging service hung up")

    with pytest.raises(ConnectionResetError, match="the logging service hung up"):
        close_and_fail()


SAVES: dict[str, Callable[[ANGC, str], Any]] = {
    "model": lambda model, path: model.save(path),
    "replay buffer": lambda model, path: model.save_replay_buffer(path),
    "policy": lambda model, path: model.policy.save(path),
    "safe file": lambda model, path: model.save_safe(path),
}


@pytest.mark.parametrize("what", SAVES)
@pytest.mark.parametrize("limit", [0, 1, 5_000])
def test_full_disk(what: str, limit: int, tmp_path: Path) -> None:
    if what == "safe file":
        pytest.importorskip("safetensors")
    model = ANGC("CartPole-v1", **TINY).learn(60)
    path = tmp_path / "file.x"
    path.write_bytes(b"old")

    def save() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            SAVES[what](model, str(path))
        except OSError as error:
            os._exit(error.errno or 1)

    assert os.waitstatus_to_exitcode(in_a_fork(save)) == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_open_file_on_a_full_disk() -> None:
    model = ANGC("CartPole-v1", **TINY).learn(60)
    with pytest.raises(OSError, match="No space left on device"), Path("/dev/full").open("wb") as full:
        model.save(full)
    assert_sound(model)


class KillsAWorker(BaseCallback):
    def _on_step(self) -> bool:
        if self.num_timesteps == 90:
            processes = self.training_env.unwrapped.processes  # type: ignore[attr-defined]
            os.kill(processes[1].pid, signal.SIGKILL)
        return True


@pytest.mark.parametrize("way", ["killed", "raises"])
def test_worker_that_dies(way: str) -> None:
    env = SubprocVecEnv(
        [lambda: counter(7), lambda: Fails(30, at_reset=False) if way == "raises" else counter(7), Counter]
    )
    model = ANGC("MlpPolicy", VecNormalize(env), **TINY)
    cause = "was killed by SIGKILL" if way == "killed" else "ended with exit code 1"
    with pytest.raises(RuntimeError, match=f"SubprocVecEnv cannot go on: worker 1 of 3 {cause}"):
        model.learn(300, KillsAWorker() if way == "killed" else None)
    assert not any(process.is_alive() for process in env.processes)
    env.close()
    assert_sound(model)
    model.set_env(DummyVecEnv([Counter] * 3))
    model.learn(60, reset_num_timesteps=False)


# What a constructor may be given by mistake.
VALUES = st.one_of(
    *(st.none(), st.booleans(), st.integers(-3, 5), st.floats(), st.text(max_size=3)),
    st.lists(st.integers(-1, 3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=1),
)
ARGUMENTS = [
    *("learning_rate", "buffer_size", "learning_starts", "batch_size", "tau", "gamma", "train_freq"),
    *("gradient_steps", "replay_buffer_class", "replay_buffer_kwargs", "n_steps", "target_update_interval"),
    *("exploration_fraction", "exploration_initial_eps", "exploration_final_eps", "max_grad_norm"),
    *(
        "stats_window_size",
        "policy_kwargs",
        "seed",
        "alpha_instrumental",
        "alpha_epistemic",
        "epistemic_fraction",
    ),
]
SB3S_OWN = (AssertionError, TypeError)  # of an unknown keyword of a buffer
quick = settings(max_examples=150, deadline=None, derandomize=True, database=None)


@quick
@given(name=st.sampled_from(ARGUMENTS), value=VALUES)
def test_fuzzed_constructor(name: str, value: Any) -> None:
    arguments = {**TINY, "buffer_size": 50, "learning_starts": 4, "batch_size": 2, name: value}
    try:
        model = ANGC("MlpPolicy", counter(5), **arguments)
    except ValueError:
        return
    except SB3S_OWN:
        assert name.endswith("_kwargs")
        return
    try:
        model.learn(12)  # what is accepted works
    except ValueError:  # or diverges: a learning rate of 1e300 is a number like any other
        assert name in ("learning_rate", "alpha_instrumental", "alpha_epistemic")
        return
    assert_sound(model)


MODELS = {
    "box": ANGC("MlpPolicy", counter(5), **TINY),
    "goal": ANGC("MultiInputPolicy", GoalCounter(), **TINY),
}
DQNS = {
    "box": DQN("MlpPolicy", counter(5), buffer_size=10, device="cpu"),
    "goal": DQN("MultiInputPolicy", GoalCounter(), buffer_size=10, device="cpu"),
}
ANY_ARRAY = arrays.arrays(
    dtype=st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]),
    shape=arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)


@quick
@given(
    kind=st.sampled_from(["box", "goal"]),
    observation=st.one_of(
        ANY_ARRAY,
        ANY_ARRAY.map(np.ndarray.tolist),
        st.tuples(ANY_ARRAY, st.just({})),
        st.dictionaries(st.sampled_from(["observation", "achieved_goal", "desired_goal", "x"]), ANY_ARRAY),
    ),
    deterministic=st.booleans(),
)
def test_fuzzed_predict(kind: str, observation: Any, deterministic: bool) -> None:
    model = MODELS[kind]
    model.exploration_rate = 0.5
    try:
        action, _ = model.predict(observation, deterministic=deterministic)
    except ValueError:
        return
    except Exception as error:  # SB3's own: DQN raises the same
        with pytest.raises(type(error)):
            DQNS[kind].predict(observation, deterministic=True)
        return
    assert np.isin(action, [0, 1]).all()


FILE = io.BytesIO()
ANGC("MlpPolicy", counter(5), **TINY).save(FILE)


@quick
@given(data=st.data())
def test_fuzzed_load(data: st.DataObject) -> None:
    content = bytearray(FILE.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        length = data.draw(st.sampled_from([1, 2, 4, 100, 10_000]))
        content[start : start + length] = data.draw(st.binary(max_size=8))
    try:
        model = ANGC.load(io.BytesIO(bytes(content)), device="cpu")
    except ValueError:
        return
    for name, value in model.policy.state_dict().items():  # only where the file still says the same
        assert value.shape == MODELS["box"].policy.state_dict()[name].shape


def test_error_of_the_users_own_while_workers_live() -> None:
    """Only deaths of workers are explained: a broken pipe elsewhere stays what it is."""
    env = SubprocVecEnv([Counter, Counter], start_method="fork")
    try:
        error = ConnectionResetError("the logging service hung up")
        with pytest.raises(ConnectionResetError) as caught, dead_workers_named(env):
            raise error
        assert caught.value is error
        assert all(process.is_alive() for process in env.processes)
    finally:
        env.close()
