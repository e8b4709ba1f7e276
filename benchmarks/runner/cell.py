"""
Run one cell through RL Zoo's own training path.

This module is the cell's process: ``python -m benchmarks.runner.cell OUTPUT.json`` with the cell as one line
of JSON on its standard input. The process ends when that input is closed, so a runner that is killed
leaves no training behind.
"""

import argparse
import copy
import importlib
import io
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch as th
from rl_zoo3 import exp_manager
from stable_baselines3.common import callbacks
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import sync_envs_normalization

from benchmarks.runner.errors import BenchmarkError
from benchmarks.runner.provenance import ROOT, provenance
from benchmarks.runner.results import FORMAT, Result, write_json
from benchmarks.runner.study import Cell, completed
from sb3_angc.zoo import Manager, register

# The last policy is tested on episodes of its own: far from any training seed, and the same
# for every method, which makes the comparison of two methods on one seed a little less noisy.
LAST_POLICY_SEED = 1_000_000
# Episodes of one evaluation are played side by side: one prediction serves all of them.
PARALLEL_EPISODES = 10


class Stopwatch:
    """Wall-clock seconds spent in chosen methods."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def on(self, owner: type, method: str, name: str) -> Iterator[None]:
        """
        Time one method of a class for a while. (Of a class, because a model with a wrapped method
        of its own cannot be saved, and the Zoo saves the best one in mid-run.) A class without the
        method, as ARS without ``train``, spends no time in it.

        :param owner: the class
        :param method: name of its method
        :param name: under what the seconds are added up
        """
        self.seconds.setdefault(name, 0.0)
        if not hasattr(owner, method):
            yield
            return
        original: Callable[..., Any] = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - start

        with mock.patch.object(owner, method, timed):
            yield


def make_manager(cell: Cell, folder: str) -> Manager:
    """
    The Zoo's manager of one run, set up as the Zoo's ``train`` does it.

    :param cell: the run
    :param folder: the Zoo's log folder
    """
    config = cell.preset
    if config and config.endswith((".yml", ".yaml", ".py")):
        config = str(ROOT / config)  # wherever the command was given
    manager = Manager(
        argparse.Namespace(**cell.as_dict()),
        cell.algorithm,
        cell.environment,
        folder,
        n_eval_episodes=cell.evaluation_episodes,
        n_eval_envs=min(PARALLEL_EPISODES, cell.evaluation_episodes),
        seed=cell.seed,
        log_interval=-2,
        device="cpu",
        config=config,
        verbose=0,
    )
    manager.deterministic_eval = True  # which the Zoo denies to MiniGrid and Atari
    preset, _ = manager.read_hyperparameters()
    settings = {**preset, **merge(preset, copy.deepcopy(cell.hyperparams))}  # the Zoo adds to what it gets
    # Here, not as the Zoo's argument, which its record of the settings does not show.
    settings["n_timesteps"] = budget = cell.n_timesteps or int(settings["n_timesteps"])
    manager.custom_hyperparams = settings
    manager.eval_freq = max(budget // cell.evaluations, 1)
    return manager


def settings_of(cell: Cell) -> dict[str, Any]:
    """
    What a cell would be run with today, as its result would hold it.

    :param cell: the run
    """
    for package in cell.gym_packages:
        importlib.import_module(package)
    register()
    with redirect_stdout(io.StringIO()):  # the Zoo shows each of them
        return plain(make_manager(cell, os.devnull).custom_hyperparams or {})


def merge(preset: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """
    Overrides for the Zoo, which replaces whole values: dictionaries are completed from the preset.

    :param preset: the Zoo's settings
    :param overrides: what the study changes
    """
    bases = {
        key: preset[key] for key, value in overrides.items() if isinstance(value, dict) and key in preset
    }
    # The Zoo's own presets hold code as text, which the Zoo evaluates in this namespace.
    evaluated = {
        key: eval(base, vars(exp_manager)) if isinstance(base, str) else base for key, base in bases.items()
    }
    return completed(evaluated, overrides)


def run_cell(cell: Cell, folder: str) -> Result:
    """
    Train and evaluate.

    :param cell: what to run
    :param folder: an empty folder for the Zoo's files
    :return: the result, in plain types
    """
    for package in cell.gym_packages:
        importlib.import_module(package)
    start = time.perf_counter(), time.process_time()
    register()
    th.set_num_threads(1)
    set_random_seed(cell.seed)
    manager = make_manager(cell, folder)
    setup = manager.setup_experiment()
    assert setup is not None
    model, settings = setup
    # Before hours in which the checkout may change, and after what the algorithm imports: its versions count.
    made_with = provenance()
    stopwatch = Stopwatch()
    with (
        stopwatch.on(Manager, "learn", "learn"),
        stopwatch.on(type(model), "train", "train"),
        stopwatch.on(EvalCallback, "on_step", "evaluate"),
        mock.patch.object(callbacks, "evaluate_policy", partial(evaluate_checked, cell.environment)),
    ):
        manager.learn(model)
    curve_steps, curve_returns = read_curve(Path(manager.save_path))
    train, evaluate = stopwatch.seconds["train"], stopwatch.seconds["evaluate"]
    last_policy = evaluate_last_policy(cell, manager, model)
    return {
        "format": FORMAT,
        "cell": cell.as_dict(),
        "status": "done",
        "settings": plain(settings),
        "budget": manager.n_timesteps,
        "steps": model.num_timesteps,
        "steps_to_threshold": steps_to_threshold(curve_steps, curve_returns, cell.threshold),
        "seconds": {
            "collect": round(stopwatch.seconds["learn"] - train - evaluate, 3),
            "train": round(train, 3),
            "evaluate": round(evaluate, 3),
            "total": round(time.perf_counter() - start[0], 3),
            "processor": round(time.process_time() - start[1], 3),
        },
        "last_policy": last_policy,
        "curve": {
            "steps": curve_steps,
            "returns": curve_returns,
            "training": read_training(Path(manager.save_path), curve_steps),
        },
        **made_with,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """
    Settings as JSON holds them: objects and numbers that are not finite as text.

    :param settings: the Zoo's
    """
    held: dict[str, Any] = json.loads(json.dumps(settings, default=as_text), parse_constant=str)
    return held


def as_text(value: object) -> str:
    """
    An object without its address in memory, which is another one in every process.

    :param value: the object
    """
    return re.sub(r" at 0x[0-9a-fA-F]+", "", str(value))


def read_curve(folder: Path) -> tuple[list[int], list[list[float]]]:
    """
    The Zoo's evaluations.

    :param folder: the run folder
    :return: steps, and for each the returns of its episodes
    """
    with np.load(folder / "evaluations.npz") as log:
        return log["timesteps"].tolist(), [stored(returns) for returns in log["results"]]


def read_training(folder: Path, steps: Sequence[int]) -> list[float | None]:
    """
    The returns while training, exploration and all, as the papers of other local learners show them.

    :param folder: the run folder, with the Zoo's logs of episodes
    :param steps: of the evaluations
    :return: for each, the mean over the episodes that ended since the one before; None where none did
    """
    episodes = load_results(str(folder))
    # Episodes after the last evaluation come after all intervals.
    intervals = np.searchsorted(steps, episodes["l"].cumsum())
    ended = [episodes["r"][intervals == number] for number in range(len(steps))]
    return [stored([some.mean()])[0] if len(some) > 0 else None for some in ended]


def stored(returns: Iterable[float]) -> list[float]:
    """
    Returns to seven digits, however small they are.

    :param returns: of some episodes
    """
    return [float(f"{value:.7g}") for value in returns]


def evaluate_checked(environment: str, model: BaseAlgorithm, *more: Any, **settings: Any) -> Any:
    """
    SB3's ``evaluate_policy``; a return that is not finite, which no result can hold, ends the run at once.

    :param environment: Gymnasium id
    :param model: the agent
    :param more: SB3's
    :param settings: SB3's, with the returns of the episodes asked for
    """
    returns, lengths = evaluate_policy(model, *more, **settings)
    for value in np.asarray(returns):
        if not np.isfinite(value):
            raise BenchmarkError(
                f"{environment}: an episode evaluated after {model.num_timesteps} steps has a return of "
                f"{value}, returns must be finite numbers"
            )
    return returns, lengths


def steps_to_threshold(steps: list[int], returns: list[list[float]], threshold: float) -> int | None:
    """
    Environment steps at the first evaluation whose mean return reaches the threshold.

    :param steps: environment steps of each evaluation
    :param returns: returns of each evaluation's episodes
    :param threshold: the mean return to reach
    :return: ``None`` if no evaluation reaches it
    """
    reached = (step for step, episodes in zip(steps, returns, strict=True) if np.mean(episodes) >= threshold)
    return next(reached, None)


def evaluate_last_policy(cell: Cell, manager: Manager, model: BaseAlgorithm) -> dict[str, Any]:
    """
    Test the policy as training left it, not the best checkpoint, on environments it has not seen.

    :param cell: the run
    :param manager: the Zoo's manager, which knows how to wrap the environment
    :param model: the trained model
    """
    manager.seed = LAST_POLICY_SEED
    env = manager.create_envs(min(PARALLEL_EPISODES, cell.last_policy_episodes), eval_env=True)
    training_env = model.get_env()
    assert training_env is not None
    sync_envs_normalization(training_env, env)
    returns, _ = evaluate_checked(
        cell.environment,
        model,
        env,
        cell.last_policy_episodes,
        deterministic=True,
        return_episode_rewards=True,
    )
    env.close()
    return {"seed": LAST_POLICY_SEED, "returns": stored(returns)}


def exit_with_parent(folder: str) -> None:
    """
    End this process when its standard input ends, which happens however the parent dies.

    :param folder: to delete first
    """

    def wait() -> None:
        sys.stdin.read()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    """Run the cell given on standard input."""
    # The Zoo takes an interrupt for the end of training: a run that was cut short would count as done.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    cell = Cell(**json.loads(sys.stdin.readline()))
    # The activity of a dying circuit shrinks to numbers that take the processor four times as long as others.
    th.set_flush_denormal(True)
    with tempfile.TemporaryDirectory() as folder:
        exit_with_parent(folder)
        write_json(Path(sys.argv[1]), run_cell(cell, folder))


if __name__ == "__main__":
    main()
