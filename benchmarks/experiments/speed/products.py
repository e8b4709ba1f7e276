"""The matrix products of one update, counted from the algorithm, and nothing else: the floor of its time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch as th

from sb3_angc.angc.policies import ANGCPolicy
from sb3_angc.circuit import NGCCircuit


@dataclass(frozen=True)
class Product:
    """
    ``(rows, inner)`` times ``(inner, columns)``.

    :param rows: of the first matrix
    :param inner: columns of the first and rows of the second
    :param columns: of the second
    :param transposed: which of the two lies transposed in memory: ``"second"`` in a prediction
        (``a W.T`` of weights stored as ``(out, in)``), ``"first"`` in a Hebbian product, or ``"none"``
    """

    rows: int
    inner: int
    columns: int
    transposed: str = "none"

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.rows * self.inner * self.columns

    def operands(self) -> tuple[th.Tensor, th.Tensor]:
        """Two matrices of these shapes and this layout."""
        first = th.randn(self.inner, self.rows).t() if self.transposed == "first" else None
        second = th.randn(self.columns, self.inner).t() if self.transposed == "second" else None
        return (
            th.randn(self.rows, self.inner) if first is None else first,
            th.randn(self.inner, self.columns) if second is None else second,
        )


def prediction(sizes: Sequence[int], batch: int) -> list[Product]:
    """
    Of a projection: one product for each bundle of synapses.

    :param sizes: of the layers
    :param batch: size
    """
    return [Product(batch, size_in, size_out, "second") for size_in, size_out in pairwise(sizes)]


def sweep(sizes: Sequence[int], batch: int) -> list[Product]:
    """
    Of a sweep, from the output inward and out again: each bundle but the first, whose input is clamped,
    carries errors in and changes out.

    :param sizes: of the layers
    :param batch: size
    """
    beyond_first = list(pairwise(sizes))[1:]
    inward = [Product(batch, size_out, size_in) for size_in, size_out in reversed(beyond_first)]
    return [*inward, *prediction(sizes[1:], batch)]


def hebbian(sizes: Sequence[int], batch: int) -> list[Product]:
    """
    Of the local updates: one product for each bundle.

    :param sizes: of the layers
    :param batch: size
    """
    return [Product(size_out, batch, size_in, "first") for size_in, size_out in pairwise(sizes)]


def settled(sizes: Sequence[int], batch: int, sweeps: int) -> list[Product]:
    """
    Of one update of a circuit that settles by sweeps.

    :param sizes: of the layers
    :param batch: size
    :param sweeps: inference steps
    """
    return [*prediction(sizes, batch), *(sweep(sizes, batch) * sweeps), *hebbian(sizes, batch)]


def scheduled(sizes: Sequence[int], batch: int) -> list[Product]:
    """
    Of one update of a circuit that moves one layer a step: errors run inward once, nothing runs out.

    :param sizes: of the layers
    :param batch: size
    """
    inward = sweep(sizes, batch)[: len(sizes) - 2]
    return [*prediction(sizes, batch), *inward, *hebbian(sizes, batch)]


def agent_update(policy: ANGCPolicy, batch: int, with_generator: bool = True) -> list[Product]:
    """
    Of one update of an agent: its circuits learn, and the next observation's value is predicted by
    controller and target controller (double estimation).

    :param policy: the agent's
    :param batch: size
    :param with_generator: whether the generator learns too
    """

    def learning(circuit: NGCCircuit) -> list[Product]:
        sizes, settings = circuit.layer_sizes, circuit.settings
        if settings.order == "scheduled":
            return scheduled(sizes, batch)
        return settled(sizes, batch, settings.inference_steps or len(sizes) - 1)

    return [
        *(learning(policy.generator) if with_generator else []),
        *(prediction(policy.controller.layer_sizes, batch) * 2),
        *learning(policy.controller),
    ]


def bare(products: Sequence[Product]) -> Callable[[], None]:
    """
    Work that does the products one after the other with nothing around them, into memory that is there.

    :param products: which
    """
    made: dict[Product, tuple[th.Tensor, th.Tensor, th.Tensor]] = {}
    for product in products:
        if product not in made:
            made[product] = (*product.operands(), th.empty(product.rows, product.columns))
    calls = [made[product] for product in products]

    def run() -> None:
        for first, second, result in calls:
            th.mm(first, second, out=result)

    return run
