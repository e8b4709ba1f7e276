"""
Trains one of the agents that come with the package, and measures it::

    python -m tools.make_agent --env CartPole-v1 --seed 0

The last policy is taken as training leaves it, and there is one run: no seed or checkpoint is chosen by
its score. ``--net-arch`` is for smaller layers than the tuned ones, where the file would be too large.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from benchmarks.runner.provenance import provenance
from sb3_angc import ANGC
from sb3_angc.agents import FOLDER, RECORD, folder_name
from sb3_angc.angc.tuned import make_tuned_env
from sb3_angc.common.environments import EVALUATION_SEED_OFFSET
from sb3_angc.hyperparams import tuned_settings
from sb3_angc.saving.safe_files import AGENT_FILE

EPISODES = 100


def make_agent(
    env_id: str,
    seed: int,
    output: Path,
    steps: int | None = None,
    episodes: int = EPISODES,
    net_arch: list[int] | None = None,
) -> Path:
    """
    :param env_id: Id of an environment with tuned settings
    :param seed: Of training
    :param output: Folder in which the agent gets one of its own
    :param steps: Steps of training, ``None`` for those that are tuned
    :param episodes: Of the evaluation
    :param net_arch: Sizes of both circuits' hidden layers, ``None`` for those that are tuned
    :return: The agent's folder
    """
    tuned = tuned_settings(env_id)
    changes: dict[str, Any] = {"compile_updates": True}
    if net_arch:
        changes["policy_kwargs"] = {**tuned.get("policy_kwargs", {}), "net_arch": net_arch}
    made_with = provenance()  # before anything is written
    started = time.monotonic()
    model = ANGC.tuned(env_id, seed=seed, device="cpu", **changes)
    model.learn(steps or model.budget)
    seconds = time.monotonic() - started
    folder = output / folder_name(env_id)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_safe(folder / AGENT_FILE)
    returns = play(folder, env_id, seed, episodes)
    record = {
        "env_id": env_id,
        "seed": seed,
        "steps": model.num_timesteps,
        "command": f"python -m tools.make_agent --env {env_id} --seed {seed}"
        + (f" --steps {steps}" if steps else "")
        + (f" --net-arch {' '.join(map(str, net_arch))}" if net_arch else ""),
        "settings": {**tuned, **changes},
        "mean_return": round(float(np.mean(returns)), 2),
        "std_return": round(float(np.std(returns)), 2),
        "episodes": episodes,
        "returns": [round(value, 2) for value in returns],
        "seconds": round(seconds),
        "commit": made_with["git"],
        "versions": made_with["versions"],
        "processor": made_with["hardware"]["processor"],
    }
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return folder


def play(folder: Path, env_id: str, seed: int, episodes: int) -> list[float]:
    """
    :param folder: An agent's
    :param env_id: Id of its environment
    :param seed: With which it was trained
    :param episodes: How many to play
    :return: Return of each, with actions that are not random
    """
    agent = ANGC.load_safe(folder, device="cpu", buffer_size=1)
    env = Monitor(make_tuned_env(env_id))
    env.reset(seed=seed + EVALUATION_SEED_OFFSET)
    returns, _ = evaluate_policy(agent, env, episodes, deterministic=True, return_episode_rewards=True)
    return [float(value) for value in returns]  # type: ignore[union-attr]


def main(arguments: Sequence[str]) -> int:
    """
    :param arguments: the command line
    :return: exit status
    """
    parser = argparse.ArgumentParser("python -m tools.make_agent", description=__doc__)
    parser.add_argument("--env", required=True, help="environment id, one with tuned settings")
    parser.add_argument("--seed", type=int, default=0, help="of training (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="of training (default: as tuned)")
    parser.add_argument(
        "--episodes", type=int, default=EPISODES, help="of the evaluation (default: %(default)s)"
    )
    parser.add_argument(
        "--net-arch", type=int, nargs="+", help="sizes of the hidden layers (default: as tuned)"
    )
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder (default: that of the package)")
    options = parser.parse_args(arguments)
    th.set_num_threads(1)  # more threads only slow small layers down
    folder = make_agent(
        options.env, options.seed, options.output, options.steps, options.episodes, options.net_arch
    )
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    print(
        f"{options.env}: mean return {record['mean_return']} +/- {record['std_return']} over "
        f"{record['episodes']} episodes, trained in {record['seconds']} s. Written to {folder}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
