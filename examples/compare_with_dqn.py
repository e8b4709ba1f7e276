"""
ANGC and DQN on CartPole: returns of the last policies of several seeds.

ANGC has its default settings and DQN those of RL Zoo, tuned for this task. For a comparison to be
published, use `python -m benchmarks`: more seeds, intervals, and every run on file.
"""

import argparse

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from sb3_angc import ANGC

ENV = "CartPole-v1"


def make_angc(seed: int) -> BaseAlgorithm:
    return ANGC("MlpPolicy", ENV, seed=seed)


def make_dqn(seed: int) -> BaseAlgorithm:
    return DQN(
        "MlpPolicy",
        ENV,
        learning_rate=2.3e-3,
        buffer_size=100_000,
        learning_starts=1000,
        batch_size=64,
        train_freq=256,
        gradient_steps=128,
        target_update_interval=10,
        exploration_fraction=0.16,
        exploration_final_eps=0.04,
        policy_kwargs=dict(net_arch=[256, 256]),
        seed=seed,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=20, help="episodes of each evaluation")
    arguments = parser.parse_args()

    th.set_num_threads(1)  # more threads only slow small layers down
    for make in (make_angc, make_dqn):
        means = []
        for seed in range(arguments.seeds):
            model = make(seed).learn(arguments.steps)
            evaluation = Monitor(gym.make(ENV))
            evaluation.reset(seed=1_000_000 + seed)
            means.append(evaluate_policy(model, evaluation, arguments.episodes)[0])
        name = type(model).__name__
        print(f"{name:5} median {np.median(means):5.1f}, seeds", *(f"{mean:5.1f}" for mean in means))


if __name__ == "__main__":
    main()
