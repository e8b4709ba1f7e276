"""
A robot's arm that reaches for a point, with hindsight: ANGC and ``HerReplayBuffer`` on FetchReach.
``python -m benchmarks reaching`` trains what is missing and prints the table; raw results are kept one file
for each seed. Needs ``pip install gymnasium-robotics "mujoco<3.4"``.
"""

from __future__ import annotations

import importlib
import time
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from benchmarks.experiments.options import read
from benchmarks.runner.errors import BenchmarkError
from benchmarks.runner.provenance import provenance
from benchmarks.runner.results import kept_or_measured
from sb3_angc import ANGC
from sb3_angc.common.environments import EVALUATION_SEED_OFFSET

ENVIRONMENT = "FetchReach-v4"
STEPS = 20_000
EPISODES = 100
# All else is ANGC's default. Compiled updates change the speed alone.
SETTINGS: dict[str, Any] = {"compile_updates": True}


def run_cell(seed: int) -> dict[str, Any]:
    """
    Train one agent.

    :return: Share of the evaluation's episodes at whose end the goal is reached, and the mean return
    """
    made_with = provenance()
    start = time.perf_counter()
    model = ANGC(
        "MultiInputPolicy", gym.make(ENVIRONMENT), replay_buffer_class=HerReplayBuffer, seed=seed, **SETTINGS
    )
    model.learn(STEPS)
    seconds = time.perf_counter() - start
    successes, returns = play(model, gym.make(ENVIRONMENT), seed)
    return {
        "seed": seed,
        "setup": setup(),
        "success": float(np.mean(successes)),
        "return": float(np.mean(returns)),
        "seconds": round(seconds, 1),
        **made_with,
    }


def play(model: ANGC, env: gym.Env[Any, Any], seed: int) -> tuple[list[float], list[float]]:
    """:return: Of each episode whether the goal is reached at its end, and its return"""
    env.reset(seed=EVALUATION_SEED_OFFSET + seed)
    successes: list[float] = []

    def keep_success(known: dict[str, Any], _: dict[str, Any]) -> None:
        if known["done"]:
            successes.append(float(known["info"]["is_success"]))

    returns, _ = evaluate_policy(
        model, Monitor(env), EPISODES, callback=keep_success, return_episode_rewards=True
    )
    return successes, [float(value) for value in returns]  # type: ignore[union-attr]


def setup() -> dict[str, Any]:
    """:return: What results depend on; those of another setup are measured again"""
    return {"environment": ENVIRONMENT, "steps": STEPS, "episodes": EPISODES, "settings": SETTINGS}


def report(cells: dict[int, dict[str, Any]]) -> str:
    """:return: A row for each seed, in Markdown"""
    lines = [
        f"{ENVIRONMENT}, {STEPS} steps, last policy, {EPISODES} episodes; preset `settled`, one thread of "
        f"{next(iter(cells.values()))['hardware']['processor']}. Command: `python -m benchmarks reaching`.",
        "",
        "| seed | success | return |",
        "|---|--:|--:|",
        *(f"| {seed} | {cell['success']:.2f} | {cell['return']:.2f} |" for seed, cell in cells.items()),
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Run the missing cells and print the table."""
    options = read("reaching", arguments)
    try:
        gym.register_envs(importlib.import_module("gymnasium_robotics"))
    except ImportError as error:
        raise BenchmarkError(
            f'{error}: pip install gymnasium-robotics "mujoco<3.4" (its arms do not load with newer ones)'
        ) from error
    cells = {}
    for seed in options.seeds:
        cells[seed] = kept_or_measured(options.output / f"{seed}.json", setup(), partial(run_cell, seed))
    table = report(cells)
    (options.output / "README.md").write_text(table, encoding="utf-8")
    print(table)
    return 0
