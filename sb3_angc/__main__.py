"""
Train ANGC on an environment, with its tuned settings where there are any, evaluate it, and keep model,
learning curve and a summary, also where Ctrl-C ends training early.

Used by ``make train``; ``python -m sb3_angc --help`` lists the options.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_angc import ANGC, __version__
from sb3_angc.agents import folder_name
from sb3_angc.angc.tuned import make_tuned_env
from sb3_angc.common.checks import in_a_line
from sb3_angc.common.environments import EVALUATION_SEED_OFFSET
from sb3_angc.hyperparams import tuned_environments

NEEDED = ("matplotlib", "rich", "tqdm")  # for the learning curve and the progress bar
EVALUATION_EPISODES = 20


def main() -> int:
    """Train, evaluate, save, and print where everything is."""
    parser = argparse.ArgumentParser(
        prog="python -m sb3_angc", description=" ".join(__doc__.split("\n\n")[0].split())
    )
    parser.add_argument("--env", default="CartPole-v1", help="environment id (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="environment steps (default: as tuned, or 50000)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("runs"), help="folder (default: %(default)s)")
    parser.add_argument("--defaults", action="store_true", help="leave tuned settings out")
    arguments = parser.parse_args()
    if arguments.steps is not None and arguments.steps < 1:
        parser.error(f"--steps {arguments.steps} is not allowed: it must be at least 1")
    for package in NEEDED:  # told before training: the curve is drawn after it
        if importlib.util.find_spec(package) is None:
            print(f"error: {package} is in an extra, pip install 'sb3_angc[extra]'", file=sys.stderr)
            return 2

    th.set_num_threads(1)  # more threads only slow small layers down
    folder = _new_folder(arguments.output / f"{folder_name(arguments.env)}_seed{arguments.seed}")
    try:
        is_tuned = not arguments.defaults and arguments.env in tuned_environments()
        model = (ANGC.tuned if is_tuned else ANGC)(arguments.env, seed=arguments.seed)
    # SB3's own refusals are assertions; Gymnasium names a package that a task lacks.
    except (AssertionError, ImportError, ValueError, gym.error.Error) as error:
        print(f"error: {in_a_line(error)}", file=sys.stderr)
        return 2
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        parser.error(f"--output {arguments.output} is not allowed: it must be a folder to write in ({error})")
    make_env = make_tuned_env if is_tuned else gym.make
    monitor = Monitor(make_env(arguments.env), str(folder / "episodes"))
    env = DummyVecEnv([lambda: monitor])
    env.seed(arguments.seed)  # the model seeded the environment that it was made with
    model.set_env(env)

    steps = arguments.steps or model.budget
    settings = "tuned (sb3_angc/hyperparams/angc.yml)" if is_tuned else "ANGC's defaults"
    print(f"Training ANGC on {arguments.env} for {steps} steps, seed {arguments.seed}. Settings: {settings}")
    started = time.monotonic()
    interrupted = False
    try:
        model.learn(steps, progress_bar=True)
    except KeyboardInterrupt:
        interrupted = True
        print(f"Interrupted after {model.num_timesteps} steps: saving and evaluating what was learned")
    seconds = time.monotonic() - started
    model.save(folder / "model.zip")

    evaluation_env = Monitor(make_env(arguments.env))
    evaluation_env.reset(seed=arguments.seed + EVALUATION_SEED_OFFSET)
    returns, _ = evaluate_policy(
        model, evaluation_env, EVALUATION_EPISODES, deterministic=True, return_episode_rewards=True
    )
    summary = {
        "environment": arguments.env,
        "steps": model.num_timesteps,
        "interrupted": interrupted,
        "seed": arguments.seed,
        "settings": "tuned" if is_tuned else "defaults",
        "updates": model._n_updates,
        "training_seconds": round(seconds, 1),
        "evaluation_episodes": EVALUATION_EPISODES,
        "evaluation_mean": float(np.mean(returns)),
        "evaluation_std": float(np.std(returns)),
        "evaluation_returns": np.asarray(returns, dtype=float).tolist(),
        "version": __version__,
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    _plot_learning_curve(folder, summary, monitor)

    print(f"Mean return of {EVALUATION_EPISODES} episodes: {np.mean(returns):.1f} +/- {np.std(returns):.1f}")
    print(f"Training took {seconds:.0f} s. Saved in {folder}:")
    for name in ("model.zip", "learning_curve.png", "summary.json"):
        if (folder / name).exists():  # a run shorter than an episode has no curve
            print(f"  {folder / name}")
    return 0


def _new_folder(base: Path) -> Path:
    """The first of ``base``, ``base_2``, ``base_3``, … that does not exist: nothing is overwritten."""
    folder, number = base, 1
    while folder.exists():
        number += 1
        folder = base.with_name(f"{base.name}_{number}")
    return folder


def _plot_learning_curve(folder: Path, summary: dict[str, Any], training: Monitor[Any, Any]) -> None:
    """Returns of the training episodes, their moving mean, and the evaluation of the last policy."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps = np.cumsum(training.get_episode_lengths())
    returns = training.get_episode_rewards()
    if not returns:
        return
    window = min(20, len(returns))
    means = np.convolve(returns, np.ones(window) / window, mode="valid")

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(steps, returns, ".", color="0.75", markersize=3, label="training episode")
    axes.plot(steps[window - 1 :], means, color="tab:blue", label=f"mean of {window} episodes")
    axes.errorbar(
        steps[-1],
        summary["evaluation_mean"],
        yerr=summary["evaluation_std"],
        fmt="o",
        color="tab:orange",
        capsize=4,
        clip_on=False,
        label=f"last policy, {summary['evaluation_episodes']} episodes, no exploration",
    )
    axes.set(
        xlabel="environment steps",
        ylabel="return",
        title=f"ANGC on {summary['environment']}, seed {summary['seed']}",
    )
    axes.legend(loc="best", fontsize="small")
    axes.grid(alpha=0.3)
    figure.savefig(folder / "learning_curve.png", dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
