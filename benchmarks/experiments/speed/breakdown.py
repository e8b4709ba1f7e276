"""Where the time of an update goes."""

from collections import defaultdict
from typing import Any
from unittest import mock

from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.experiments.speed import agents
from benchmarks.experiments.speed.comparisons import UPDATES_A_CALL
from benchmarks.experiments.speed.plan import Plan

PRODUCTS = {
    "aten::mm",
    "aten::addmm",
    "aten::addmm_",
    "aten::bmm",
    "aten::baddbmm",
    "aten::mv",
    "aten::addmv",
}
UPDATE, SAMPLING = "update", "sampling"
PARTS = ("products", "other operations", "optimizer", "sampling", "Python")


def part(name: str, above: list[str]) -> str:
    """
    To which part of an update the time of an event itself belongs.

    :param name: of the event
    :param above: names of the events it is within, from the nearest out
    """
    names = [name, *above]
    if any(each.startswith("Optimizer.step") for each in names):
        return "optimizer"
    if SAMPLING in names:
        return "sampling"
    if name in PRODUCTS:
        return "products"
    # The region's own time is what no operation of torch accounts for.
    return "Python" if name == UPDATE else "other operations"


def shares(events: Any) -> dict[str, float]:
    """
    Each part's share of the profiled time.

    :param events: of torch's profiler
    """
    time: dict[str, float] = defaultdict(float)
    for event in events:
        above, parent = [], event.cpu_parent
        while parent is not None:
            above.append(parent.name)
            parent = parent.cpu_parent
        if event.name == UPDATE or UPDATE in above:
            time[part(event.name, above)] += event.self_cpu_time_total
    whole = sum(time.values())
    return {name: time[name] / whole for name in PARTS}


def measure(plan: Plan) -> dict[str, dict[str, float]]:
    """
    Profile ``train()`` of ANGC with the LunarLander settings.

    :param plan: how many calls
    :return: shares by preset
    """
    profiles = {}
    for circuit in ("settled", "released"):
        agent = agents.angc(plan.transitions, circuit)
        buffer = agent.replay_buffer
        assert buffer is not None
        sample = buffer.sample

        def recorded(*args: Any, sample: Any = sample, **kwargs: Any) -> Any:
            with record_function(SAMPLING):
                return sample(*args, **kwargs)

        with mock.patch.object(buffer, "sample", recorded):
            agent.train(UPDATES_A_CALL, agent.batch_size)
            with profile(activities=[ProfilerActivity.CPU]) as profiler:
                for _ in range(plan.profiled):
                    with record_function(UPDATE):
                        agent.train(UPDATES_A_CALL, agent.batch_size)
        profiles[circuit] = shares(profiler.events())
    return profiles
