"""Whether a compiled settling would earn its place: torch.compile beside the circuit as it is."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch as th
from torch.nn import functional as F

from benchmarks.speed.plan import Plan
from benchmarks.speed.timing import in_turn
from sb3_angc.circuit import NGCCircuit

# A faster path must gain this much.
GAIN = 1.3
Weights = list[tuple[th.Tensor, th.Tensor, th.Tensor | None]]


def settled_updates(
    weights: Weights, x: th.Tensor, y: th.Tensor, clamped: th.Tensor, precision: float
) -> list[th.Tensor]:
    """
    One sweep of the ``settled`` preset and the updates from it, as a single expression without
    checks: all that a compiler could wish for.

    :param weights: ``W``, bias and ``E`` of three bundles, ``E`` of the first being ``None``
    :param x: clamped input
    :param y: clamped output
    :param clamped: 1 where an output is clamped, 0 elsewhere
    :param precision: the output's
    :return: updates of weight and bias, bundle by bundle
    """
    (w1, b1, _), (w2, b2, e2), (w3, b3, e3) = weights
    assert e2 is not None
    assert e3 is not None
    z1 = F.linear(x, w1, b1)
    a1, s1 = th.relu(z1), (z1 > 0).to(x.dtype)
    z2 = F.linear(a1, w2, b2)
    a2, s2 = th.relu(z2), (z2 > 0).to(x.dtype)
    error = (y - F.linear(a2, w3, b3)) * precision * clamped

    p2 = (error @ e3) * s2
    p1 = (p2 @ e2) * s1
    change = (F.linear(p1 * s1, w2) + p2) * s2
    output_change = F.linear(change, w3) * clamped
    fall = (output_change * error).sum(1)
    curvature = output_change.square().sum(1) * precision + p1.square().sum(1) + p2.square().sum(1)
    gain = (fall / curvature.clamp(min=th.finfo(x.dtype).tiny)).clamp(min=0).unsqueeze(1)

    errors = [gain * p1, gain * p2, error - precision * gain * output_change]
    activities = [x, a1 + gain * p1 * s1, a2 + gain * change]
    updates = []
    for activity, layer_error in zip(activities, errors, strict=True):
        updates += [layer_error.t() @ activity / len(x), layer_error.mean(0)]
    return updates


def works(
    sizes: list[int], batch: int, one_output: bool
) -> tuple[Callable[[], list[th.Tensor]], Callable[[], dict[str, th.Tensor]]]:
    """
    The same updates by the expression above, not compiled, and by a circuit.

    :param sizes: of the four layers
    :param batch: size
    :param one_output: whether a single output of each sample is clamped, or all
    """
    circuit = NGCCircuit(sizes)
    x, y = th.randn(batch, sizes[0]), th.randn(batch, sizes[-1])
    clamped = th.ones_like(y)
    if one_output:
        clamped = F.one_hot(th.arange(batch) % sizes[-1], sizes[-1]).to(y.dtype)
    weights = [
        (bundle.weight.data, bundle.bias.data, None if bundle.feedback is None else bundle.feedback.data)
        for bundle in circuit.bundles
        if bundle.bias is not None
    ]
    precision = circuit.settings.output_precision
    return (
        lambda: settled_updates(weights, x, y, clamped, precision),
        lambda: circuit.local_updates(circuit.settle(x, y, clamped)),
    )


def measure(plan: Plan, progress: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """
    Compiled beside the circuit, of the LunarLander settings.

    :param plan: how much
    :param progress: told what is being measured
    :return: one row for each circuit
    """
    for name, sizes, one_output in (
        ("controller", [8, 256, 256, 4], True),
        ("generator", [12, 64, 64, 8], False),
    ):
        progress(f"torch.compile, {name}")
        th.manual_seed(0)
        expression, circuit = works(sizes, batch=128, one_output=one_output)
        compiled = th.compile(expression, backend=plan.compiler)
        start = time.perf_counter()
        try:
            compiled()
        except Exception as error:  # no compiler, or one that it cannot use: torch has many for that
            reason = str(error).splitlines()[0]
            yield {"name": f"{name} {sizes}", "missing": f"{type(error).__name__}: {reason}"}
            continue
        seconds = time.perf_counter() - start
        pairs = in_turn(compiled, circuit, plan.pairs, plan.seconds)
        yield {"name": f"{name} {sizes}", "compile_seconds": seconds, **pairs.as_dict()}
