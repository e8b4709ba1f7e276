"""The rows of the table: each a piece of our work beside a peer's."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from benchmarks.experiments.speed import agents, zoo_run
from benchmarks.experiments.speed.plan import Plan
from benchmarks.experiments.speed.products import agent_update, bare
from benchmarks.experiments.speed.timing import Pairs, Sample, Work, in_turn, median, ratio, repeats_for, take
from sb3_angc import ANGC

Row = dict[str, Any]
Prepare = Callable[[ANGC], ANGC]

# LunarLander's settings train after every 4 steps, as many updates as steps.
UPDATES_A_CALL = 4
SBX_UPDATES = (128, 10, 4)
PREDICTIONS = 50
PEERS = {"dqn": "SB3 DQN", "sbx_dqn": "SBX DQN"}


def updates(agent: OffPolicyAlgorithm, count: int = UPDATES_A_CALL, batch_size: int = 0) -> Work:
    """
    Work that calls ``train()`` once.

    :param agent: whose
    :param count: updates in the call
    :param batch_size: 0 is the agent's own
    """
    batch_size = batch_size or agent.batch_size
    return lambda: agent.train(gradient_steps=count, batch_size=batch_size)


def predictions(agent: OffPolicyAlgorithm) -> Work:
    """
    Work that predicts for ``PREDICTIONS`` single observations, one by one.

    :param agent: whose policy
    """
    assert agent.replay_buffer is not None
    observations = agent.replay_buffer.observations[:PREDICTIONS, 0]

    def predict() -> None:
        for observation in observations:
            agent.predict(observation, deterministic=True)

    return predict


def row(name: str, at_most: float, pairs: Pairs) -> Row:
    """
    A row in plain types.

    :param name: what is compared
    :param at_most: the ratio to reach
    :param pairs: samples
    """
    return {"name": name, "at_most": at_most, **pairs.as_dict()}


def update_row(
    name: str, at_most: float, ours: ANGC, theirs: OffPolicyAlgorithm, plan: Plan, count: int
) -> Row:
    """
    Time ``train()`` of two agents, and the matrix products of one of our updates alone.

    :param name: what is compared
    :param at_most: the ratio to reach
    :param ours: agent
    :param theirs: agent
    :param plan: how much
    :param count: updates in a call
    """
    pairs = in_turn(updates(ours, count), updates(theirs, count), plan.pairs, plan.seconds, count)
    products = bare(agent_update(ours.policy, ours.batch_size, ours.alpha_epistemic > 0))
    repeats = repeats_for(products, plan.seconds)
    alone = median([take(products, repeats) for _ in range(plan.pairs)])
    return {**row(name, at_most, pairs), "products": asdict(alone)}


def rows(plan: Plan, progress: Callable[[str], object]) -> Iterator[Row]:
    """
    Measure updates, predictions and whole runs.

    :param plan: how much
    :param progress: told what is next
    """
    yield from update_rows(plan, progress)
    name = "`predict()` of one observation, ANGC / SB3 DQN"
    progress(name)
    ours, theirs = agents.angc(plan.transitions), agents.dqn(plan.transitions)
    yield row(
        name, 0.8, in_turn(predictions(ours), predictions(theirs), plan.pairs, plan.seconds, PREDICTIONS)
    )
    name = "choosing a greedy action while training, ANGC / `predict()` of SB3 DQN"
    progress(name)
    ours.exploration_rate = 0.0
    acting = (lambda: [ours._sample_action(0) for _ in range(PREDICTIONS)]), predictions(theirs)
    yield row(name, 0.45, in_turn(*acting, plan.pairs, plan.seconds, PREDICTIONS))
    for task in zoo_run.TASKS:
        yield from task_rows(task, plan, progress)


def update_rows(
    plan: Plan, progress: Callable[[str], object], prepare: Prepare = lambda agent: agent, how: str = ""
) -> Iterator[Row]:
    """
    Measure updates: both circuits beside SB3, the controller alone beside SBX.

    :param plan: how much
    :param progress: told what is next
    :param prepare: done to each of our agents first
    :param how: what that is, in a row's name
    """
    dqn = agents.dqn(plan.transitions)
    # As they are, and compiled
    at_most_of = ({"settled": 1.15, "released": 1.0}, {"settled": 0.8, "released": 0.65})
    for circuit, at_most in at_most_of[how != ""].items():
        name = f"`train()`, ANGC `{circuit}`{how}, both circuits / SB3 DQN"
        progress(name)
        angc = prepare(agents.angc(plan.transitions, circuit))
        yield update_row(name, at_most, angc, dqn, plan, UPDATES_A_CALL)
    if agents.has_sbx():
        angc = prepare(agents.angc(plan.transitions, "released", alpha_epistemic=0.0))
        sbx = agents.sbx_dqn(plan.transitions)
    for count in SBX_UPDATES:
        name = f"`train()`, ANGC `released`{how}, controller alone / SBX DQN, {count} updates a call"
        if not agents.has_sbx():
            yield {"name": name, "at_most": 1.0, "missing": agents.SBX_IS_MISSING}
            continue
        progress(name)
        yield update_row(name, 1.0, angc, sbx, plan, count)


def sbx_rows(plan: Plan, progress: Callable[[str], object]) -> list[Row]:
    """
    Measure whole runs beside SBX's DQN.

    :param plan: how much
    :param progress: told what is next
    """
    if not agents.has_sbx():
        return [{"name": "RL Zoo runs, ANGC / SBX DQN", "at_most": 1.0, "missing": agents.SBX_IS_MISSING}]
    return [row for task in zoo_run.SBX_TASKS for row in task_rows(task, plan, progress)]


def task_rows(task: zoo_run.Task, plan: Plan, progress: Callable[[str], object]) -> list[Row]:
    """
    Measure whole runs of one task.

    :param task: which
    :param plan: how much
    :param progress: told what is next
    """
    compiled = task.compiled and plan.compiler == "inductor"
    runs: dict[str, list[zoo_run.Run]] = {"angc": [], task.peer: []}
    for seed in range(plan.zoo_pairs):
        for algorithm, done in runs.items():
            progress(f"RL Zoo run of {algorithm} on {task.environment}, seed {seed}")
            compiles = compiled and algorithm == "angc"
            done.append(zoo_run.run(task.environment, algorithm, compiles, seed, plan.zoo_timesteps))
    ours, theirs = runs["angc"], runs[task.peer]
    budget = plan.zoo_timesteps or int(agents.tuned(task.environment)["n_timesteps"])
    how = ", compiled" if compiled else ""
    name = f"RL Zoo run on {task.environment}, {budget} steps, ANGC{how} / {PEERS[task.peer]}"
    times = Pairs(*([Sample(run.wall, run.processor) for run in side] for side in (ours, theirs)))
    memory = [[run.peak_memory for run in side] for side in (ours, theirs)]
    return [
        row(f"{name}: time", task.at_most, times),
        {
            "name": f"{name}: peak resident memory",
            "at_most": 1.0,
            "pairs": len(ours),
            "ours": {"bytes": float(np.median(memory[0]))},
            "theirs": {"bytes": float(np.median(memory[1]))},
            "ratio": {"bytes": asdict(ratio(*memory))},
        },
    ]
