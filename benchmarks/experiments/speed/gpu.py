"""Updates on a GPU: both circuits, compiled, beside SB3's DQN on the same device."""

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import torch as th
from stable_baselines3 import DQN
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from benchmarks.experiments.speed.agents import ENVIRONMENT, compiled
from benchmarks.experiments.speed.comparisons import UPDATES_A_CALL, Row, row, updates
from benchmarks.experiments.speed.plan import Plan
from benchmarks.experiments.speed.timing import Pairs, Work, in_turn
from sb3_angc import ANGC

# At the smallest size the calls alone take time, at the largest the products do.
AT_MOST_SMALL, AT_MOST = 0.2, 0.6


def measure(plan: Plan, progress: Callable[[str], object]) -> Iterator[Row]:
    """
    Measure updates at the plan's sizes, and of images.

    :param plan: how much
    :param progress: told what is next
    """
    if plan.device == "cuda" and not th.cuda.is_available():
        yield {"name": "updates on a GPU", "at_most": AT_MOST, "missing": "torch finds no GPU here"}
        return
    on = "" if plan.device == "cuda" else f", on {plan.device}"
    smallest = min(plan.gpu_widths), min(plan.gpu_batches)
    for width in plan.gpu_widths:
        for batch_size in plan.gpu_batches:
            name = f"`train()`, ANGC `settled` / SB3 DQN, width {width}, batch {batch_size}{on}"
            progress(name)
            layers = {"net_arch": [width, width]}
            ours, theirs = (
                make(each, gym.make(ENVIRONMENT), "MlpPolicy", layers, plan) for each in (ANGC, DQN)
            )
            at_most = AT_MOST_SMALL if (width, batch_size) == smallest else AT_MOST
            yield row(name, at_most, timed(ours, theirs, batch_size, plan))
    side = plan.gpu_image
    name = f"`train()`, ANGC `settled` / SB3 DQN, images of {side} x {side} x 4, batch 32{on}"
    progress(name)
    ours, theirs = (
        make(each, FakeImageEnv(6, side, side, n_channels=4, discrete=True), "CnnPolicy", {}, plan)
        for each in (ANGC, DQN)
    )
    yield row(name, AT_MOST, timed(ours, theirs, 32, plan))


def make(
    algorithm: type[ANGC] | type[DQN], env: Any, policy: str, policy_kwargs: dict[str, Any], plan: Plan
) -> OffPolicyAlgorithm:
    """
    An agent that has acted at random for a while. Ours has its updates compiled.

    :param algorithm: its class
    :param env: environment
    :param policy: its name
    :param policy_kwargs: of the policy
    :param plan: how much
    """
    n = plan.transitions
    agent: OffPolicyAlgorithm = algorithm(
        policy,
        env,
        buffer_size=n,
        learning_starts=n,
        policy_kwargs=policy_kwargs,
        n_steps=1,
        seed=0,
        device=plan.device,
    )
    agent.learn(n)
    return compiled(agent, plan) if isinstance(agent, ANGC) else agent


def timed(ours: OffPolicyAlgorithm, theirs: OffPolicyAlgorithm, batch_size: int, plan: Plan) -> Pairs:
    """
    :param ours: agent
    :param theirs: agent
    :param batch_size: of both
    :param plan: how much
    :return: Pairs of both agents' times for one update, all of it done
    """

    def done(agent: OffPolicyAlgorithm) -> Work:
        update = updates(agent, UPDATES_A_CALL, batch_size)

        def work() -> None:
            update()
            if agent.device.type == "cuda":
                th.cuda.synchronize(agent.device)

        return work

    return in_turn(done(ours), done(theirs), plan.growth_pairs, plan.seconds, UPDATES_A_CALL)
