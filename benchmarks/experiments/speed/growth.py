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

# Where one size varies, the others are those of the LunarLander settings.
BASE = {"steps": 1, "width": 256, "batch": 128, "depth": 2}
WITHIN = 1.5
FROM_WIDTH = 256


def grid(plan: Plan) -> list[dict[str, int]]:
    """
    The sizes to measure: each number of steps and each batch size at each width, and each depth.

    :param plan: which sizes
    """
    axes = {"steps": plan.growth_steps, "width": plan.widths, "batch": plan.batches, "depth": plan.depths}
    base = {name: size if size in axes[name] else axes[name][0] for name, size in BASE.items()}
    cells = [{**base, "width": width, "steps": steps} for width, steps in product(plan.widths, axes["steps"])]
    cells += [{**base, "width": width, "batch": batch} for width, batch in product(plan.widths, plan.batches)]
    cells += [{**base, "depth": depth} for depth in plan.depths]
    return [cell for number, cell in enumerate(cells) if cell not in cells[:number]]


def agent(plan: Plan, steps: int, width: int, depth: int) -> ANGC:
    """
    The agent of the compiled, settled LunarLander row with other circuits.

    :param plan: how many transitions, and the compiler
    :param steps: ``T``
    :param width: of the hidden layers
    :param depth: their number
    """
    kwargs = {"net_arch": [width] * depth, "circuit_kwargs": {"inference_steps": steps}}
    return agents.compiled(agents.angc(plan.transitions, policy_kwargs=kwargs), plan)


def measure(plan: Plan, progress: Callable[[str], object]) -> Iterator[dict[str, Any]]:
    """
    Time every size of the grid.

    :param plan: which
    :param progress: told what is next
    """
    for cell in grid(plan):
        progress(f"growth: {', '.join(f'{name} {size}' for name, size in cell.items())}")
        timed = agent(plan, cell["steps"], cell["width"], cell["depth"])
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
