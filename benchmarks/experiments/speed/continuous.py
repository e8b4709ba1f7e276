"""Updates with continuous actions, beside algorithms that train an actor and two critics."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

from stable_baselines3 import SAC, TD3
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from benchmarks.experiments.speed import agents
from benchmarks.experiments.speed.comparisons import Row, row, updates
from benchmarks.experiments.speed.plan import Plan
from benchmarks.experiments.speed.timing import in_turn
from sb3_angc import ANGC

ENVIRONMENT = "BipedalWalker-v3"
# RL Zoo's settings of SAC and TD3 there, and most of its other continuous tasks: two layers, and batches
PEERS: dict[str, type[OffPolicyAlgorithm]] = {"SAC": SAC, "TD3": TD3}
LAYERS = [400, 300]
BATCH_SIZE = 256
# TD3 trains its actor at every second update.
UPDATES_A_CALL = 2
AT_MOST = 1.0


def measure(plan: Plan, progress: Callable[[str], object]) -> Iterator[Row]:
    """
    Measure an update of both circuits beside one of SB3's SAC and TD3, which have RL Zoo's layers and
    batches: with our defaults, and with the same layers and batches.

    :param plan: how much
    :param progress: told what is next
    """
    same: dict[str, Any] = {"batch_size": BATCH_SIZE, "policy_kwargs": {"net_arch": LAYERS}}
    settings: dict[str, dict[str, Any]] = {"its defaults": {}, "the same layers and batches": same}
    for how, arguments in settings.items():
        for peer, algorithm in PEERS.items():
            name = f"`train()`, ANGC with {how}, {plan.compiled} / SB3 {peer}"
            progress(name)
            # SB3 writes into the dictionaries that it is given.
            mine, others = copy.deepcopy(arguments), copy.deepcopy(same)
            ours = agents.filled(ANGC, plan.transitions, ENVIRONMENT, policy="MlpPolicy", **mine)
            theirs = agents.filled(algorithm, plan.transitions, ENVIRONMENT, policy="MlpPolicy", **others)
            works = updates(agents.compiled(ours, plan), UPDATES_A_CALL), updates(theirs, UPDATES_A_CALL)
            yield row(name, AT_MOST, in_turn(*works, plan.pairs, plan.seconds, UPDATES_A_CALL))
