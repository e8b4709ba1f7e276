"""All-to-all synapses."""

from __future__ import annotations

import torch as th
from torch.nn import functional as F

from sb3_angc.circuit.synapses.base import Synapses

# Patterns of a mirror phase that are shown at once
MIRROR_BATCH = 2048
# Ratio of height and width from which on a product is taken with its operands exchanged
TALL = 8


class DenseSynapses(Synapses):
    """
    Synapses between all neurons of two layers. Stored with shape ``(out_features, in_features)``.

    :param in_features: Number of presynaptic neurons
    :param out_features: Number of postsynaptic neurons
    :param bias: Whether the postsynaptic neurons have a bias
    :param learned_feedback: Whether errors travel back over weights of their own
    """

    def __init__(self, in_features: int, out_features: int, bias: bool, learned_feedback: bool) -> None:
        super().__init__(in_features, out_features, (out_features, in_features), bias, learned_feedback)

    def predict(self, activity: th.Tensor) -> th.Tensor:
        return F.linear(activity, self.weight, self.bias)

    def predict_change(self, change: th.Tensor) -> th.Tensor:
        return F.linear(change, self.weight)

    def carry_back(self, values: th.Tensor, weight: th.Tensor) -> th.Tensor:
        return values @ weight

    def incoming(self) -> th.Tensor:
        return self.weight.abs().sum(1).unsqueeze(0)

    def hebbian(self, activity: th.Tensor, error: th.Tensor) -> dict[str, th.Tensor]:
        updates = {"weight": mean_product(error, activity)}
        if self.bias is not None:
            updates["bias"] = error.sum(0) / len(error)  # in half the time of `mean(0)`
        return updates

    def mirror(self, n_patterns: int) -> None:
        assert self.feedback is not None, "Tied feedback has nothing to learn"
        self.feedback.zero_()
        for first in range(0, n_patterns, MIRROR_BATCH):
            noise = th.randn(min(MIRROR_BATCH, n_patterns - first), self.in_features).to(self.weight)
            response = self.predict_change(noise)
            self.feedback.addmm_(response.t(), noise, alpha=1 / n_patterns)


def mean_product(rows: th.Tensor, columns: th.Tensor) -> th.Tensor:
    """
    The mean of ``outer(row, column)`` over a batch, ``(batch, n)`` and ``(batch, m)`` to ``(n, m)``: product
    and division in one operation, and for a tall result with the operands exchanged, which halves the time.
    """
    nothing = rows.new_zeros(())
    if rows.shape[1] > TALL * columns.shape[1]:
        return th.addmm(nothing, columns.t(), rows, beta=0, alpha=1 / len(rows)).t().contiguous()
    return th.addmm(nothing, rows.t(), columns, beta=0, alpha=1 / len(rows))
