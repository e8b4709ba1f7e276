"""How an update's time grows with settling steps, width and batch, beside the floor of its products."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from benchmarks.experiments.speed import agents
from benchmarks.experiments.speed.comparisons import UPDATES_A_CALL, updates
from benchmarks.experiments.speed.plan import Plan
from benchmarks.experiments.speed.products import agent_update, bare
from benchmarks.experiments.speed.timing import in_turn
from sb3_angc import ANGC

# Where one size varies, the others are these: width and batch of the LunarLander settings, and a second
# sweep, which costs more than the first, since errors have moved by then.
BASE = {"steps": 2, "width": 256, "batch": 128}
WITHIN = 1.5
FROM_WIDTH = 256


def grid(plan: Plan) -> list[dict[str, int]]:
    """
    The sizes to measure: steps by widths at one batch size, batches by widths at one number of steps.

    :param plan: which sizes
    """
    base = {
        name: size if size in sizes else sizes[0]
        for (name, size), sizes in zip(BASE.items(), (plan.steps, plan.widths, plan.batches), strict=True)
    }
    cells = [
        {"steps": steps, "width": width, "batch": base["batch"]}
        for width, steps in product(plan.widths, plan.steps)
    ]
    cells += [
        {"steps": base["steps"], "width": width, "batch": batch}
        for width, batch in product(plan.widths, plan.batches)
        if batch != base["batch"]
    ]
    return cells


def agent(plan: Plan, steps: int, width: int) -> ANGC:
    """
    The agent of the settled LunarLander row with other circuits.

    :param plan: how many transitions
    :param steps: ``T``
    :param width: of both hidden layers
    """
    kwargs = {"net_arch": [width, width], "circuit_kwargs": {"inference_steps": steps}}
    return agents.angc(plan.transitions, policy_kwargs=kwargs)


def measure(plan: Plan, progress: Callable[[str], object]) -> Iterator[dict[str, Any]]:
    """
    Time every size of the grid.

    :param plan: which
    :param progress: told what is next
    """
    for cell in grid(plan):
        progress(f"growth: T {cell['steps']}, width {cell['width']}, batch {cell['batch']}")
        timed = agent(plan, cell["steps"], cell["width"])
        products = agent_update(timed.policy, cell["batch"])
        floor = bare(products)

        def floors(floor: Callable[[], None] = floor) -> None:
            for _ in range(UPDATES_A_CALL):
                floor()

        work = updates(timed, UPDATES_A_CALL, cell["batch"])
        pairs = in_turn(work, floors, plan.growth_pairs, plan.seconds, UPDATES_A_CALL)
        yield {
            **cell,
            "products": len(products),
            "flops": sum(each.flops for each in products),
            **pairs.as_dict(),
        }
