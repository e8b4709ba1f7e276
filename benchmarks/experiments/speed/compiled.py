"""What ``compile_updates`` gains: compiled updates beside those that are not, and beside the peers'."""

import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.experiments.speed import agents
from benchmarks.experiments.speed.comparisons import UPDATES_A_CALL, Row, row, update_rows, updates
from benchmarks.experiments.speed.plan import Plan
from benchmarks.experiments.speed.timing import in_turn
from sb3_angc import ANGC

# A faster path must gain this much.
GAIN = 1.3
# What `ngc` may take of the time of `settled`
NGC_AT_MOST = 2.0


def measure(plan: Plan, progress: Callable[[str], object]) -> Iterator[Row]:
    """
    Measure compiled updates. Where torch.compile does not work, one row says so.

    :param plan: how much
    :param progress: told what is next
    """

    compile_updates = partial(agents.compiled, plan=plan)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as nothing_compiled_yet:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = nothing_compiled_yet
        for circuit in ("settled", "released"):
            name = f"`train()`, ANGC `{circuit}`, both circuits, {plan.compiled} / as it is"
            progress(name)
            plain, compiled = (agents.angc(plan.transitions, circuit) for _ in range(2))
            try:
                seconds = first_update(compile_updates(compiled))
            except UserWarning as warning:
                yield {"name": name, "at_most": 1 / GAIN, "missing": str(warning)}
                return
            works = updates(compiled), updates(plain)
            pairs = in_turn(*works, plan.pairs, plan.seconds, UPDATES_A_CALL)
            measured = row(name, 1 / GAIN, pairs)
            yield {**measured, "compile_seconds": seconds} if plan.compiler == "inductor" else measured
        yield from update_rows(plan, progress, compile_updates, f", {plan.compiled}")
        yield from settling_rows(plan, progress, compile_updates)


def settling_rows(
    plan: Plan, progress: Callable[[str], object], compile_updates: Callable[[ANGC], ANGC]
) -> Iterator[Row]:
    """
    Measure updates of ``ngc`` with different numbers of settling steps, beside those of ``settled``.

    :param plan: how much
    :param progress: told what is next
    :param compile_updates: done to each agent
    """
    settled = compile_updates(agents.angc(plan.transitions))
    for steps in plan.steps:
        name = f"`train()`, ANGC `ngc` with {steps} steps / `settled`, {plan.compiled}"
        progress(name)
        policy_kwargs = {"circuit_kwargs": {"inference_steps": steps}}
        ngc = compile_updates(agents.angc(plan.transitions, "ngc", policy_kwargs=policy_kwargs))
        works = updates(ngc), updates(settled)
        yield row(name, NGC_AT_MOST, in_turn(*works, plan.pairs, plan.seconds, UPDATES_A_CALL))


def first_update(agent: ANGC) -> float:
    """
    Seconds that an agent's first two updates take: the first makes the optimizer's state, the second is
    compiled.

    :param agent: whose updates are compiled
    :raises UserWarning: if that does not work
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        start = time.perf_counter()
        updates(agent, 2)()
        return time.perf_counter() - start
