"""Train ANGC on an environment, then watch the trained agent in a window."""

import argparse

import gymnasium as gym
import torch as th
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from sb3_angc import ANGC


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--episodes", type=int, default=5, help="episodes to watch")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    th.set_num_threads(1)  # more threads only slow small layers down
    model = ANGC(arguments.env, seed=arguments.seed, verbose=1).learn(arguments.steps)
    window = Monitor(gym.make(arguments.env, render_mode="human"))
    returns, _ = evaluate_policy(model, window, arguments.episodes, return_episode_rewards=True)
    window.close()
    assert isinstance(returns, list)  # as asked for
    print("Returns:", *returns)


if __name__ == "__main__":
    main()
