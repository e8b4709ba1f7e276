"""Updates from images: MinAtar's Breakout, with the settings of its study."""

import importlib.util
from collections.abc import Callable, Iterator

from benchmarks.experiments.speed import agents
from benchmarks.experiments.speed.comparisons import Row, row, updates
from benchmarks.experiments.speed.plan import Plan
from benchmarks.experiments.speed.timing import in_turn

# What an update may take of the time of DQN's
AT_MOST = 0.9


def measure(plan: Plan, progress: Callable[[str], object]) -> Iterator[Row]:
    """
    Measure an update of both circuits beside SB3's DQN with the same layers: as it is, and compiled.

    :param plan: how much
    :param progress: told what is next
    """
    for how in ("as it is", plan.compiled):
        name = f"`train()`, ANGC `settled`, MinAtar's Breakout, {how} / SB3 DQN"
        progress(name)
        if importlib.util.find_spec("minatar") is None:
            yield {"name": name, "at_most": AT_MOST, "missing": agents.MINATAR_IS_MISSING}
            continue
        ours, theirs = agents.minatar(plan.transitions)
        ours.compile_updates = False
        if how == plan.compiled:
            agents.compiled(ours, plan)
        yield row(name, AT_MOST, in_turn(updates(ours, 1), updates(theirs, 1), plan.pairs, plan.seconds, 1))
