"""One bundle of synapses between two adjacent layers: prediction, feedback and local update."""

from __future__ import annotations

import math

import torch as th
from torch import nn
from torch.nn import functional as F

# Patterns of a mirror phase that are shown at once
MIRROR_BATCH = 2048
# How much wider than the layer before it a layer must be for products in the other order
WIDER = 8


class DenseSynapses(nn.Module):
    """
    All-to-all synapses from a presynaptic layer of ``in_features`` neurons to a
    postsynaptic layer of ``out_features``.

    The prediction weights ``W`` carry activity forward, the error weights ``E`` carry errors
    back. Both are stored with shape ``(out_features, in_features)``, so that each ``E`` lies
    beside the ``W`` of the same pair of neurons: in the notation of the equations, which multiply
    row vectors from the left, ``weight`` is ``W.T`` and ``feedback`` is ``E``.

    No parameter requires a gradient: a call of ``backward()`` anywhere raises.

    :param in_features: Number of presynaptic neurons
    :param out_features: Number of postsynaptic neurons
    :param bias: Whether the postsynaptic neurons have a bias
    :param learned_feedback: Whether ``E`` is a matrix of its own. If not, feedback is tied:
        errors travel back over ``W``'s transpose.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    feedback: nn.Parameter | None
    _singular_vector: th.Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool, learned_feedback: bool) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        std = math.sqrt(2 / in_features)  # He et al. 2015, https://arxiv.org/abs/1502.01852
        self.weight = _parameter(th.randn(out_features, in_features) * std)
        self.bias = _parameter(th.zeros(out_features)) if bias else None
        # Drawn independently of W: nothing is copied from one direction to the other.
        self.feedback = _parameter(th.randn(out_features, in_features) * std) if learned_feedback else None
        self.register_buffer("_singular_vector", F.normalize(th.ones(in_features), dim=0))

    def predict(self, activity: th.Tensor) -> th.Tensor:
        """``phi(z) W + b``: ``(batch, in_features)`` to ``(batch, out_features)``."""
        return F.linear(activity, self.weight, self.bias)

    def predict_change(self, change: th.Tensor) -> th.Tensor:
        """How the prediction changes with the activity, ``change W``."""
        return F.linear(change, self.weight)

    def feed_back(self, error: th.Tensor) -> th.Tensor:
        """``e E``: ``(batch, out_features)`` to ``(batch, in_features)``."""
        return error @ (self.weight if self.feedback is None else self.feedback)

    def ends(self, activity: th.Tensor, error: th.Tensor) -> list[tuple[th.Tensor, th.Tensor]]:
        """Presynaptic activity and postsynaptic error of the bundle, or of each of its parts."""
        return [(activity, error)]

    def hebbian(self, activity: th.Tensor, error: th.Tensor) -> dict[str, th.Tensor]:
        """
        The correlation of what each synapse sees at its two ends, averaged over the batch.

        :param activity: Presynaptic activity ``phi(z)``, ``(batch, in_features)``
        :param error: Postsynaptic error ``e``, ``(batch, out_features)``
        :return: ``phi(z).T e`` for ``weight`` (in its layout) and the mean of ``e`` for ``bias``
        """
        # Weights times 0, so that product and mean are one operation. Beside few presynaptic neurons the
        # product is taken the other way round, which halves its time.
        if self.out_features > WIDER * self.in_features:
            weight = th.addmm(self.weight.t(), activity.t(), error, beta=0, alpha=1 / len(error)).t()
        else:
            weight = th.addmm(self.weight, error.t(), activity, beta=0, alpha=1 / len(error))
        updates = {"weight": weight.contiguous()}
        if self.bias is not None:
            updates["bias"] = error.sum(0).div_(len(error))  # in half the time of `mean(0)`
        return updates

    def mirror(self, n_patterns: int) -> None:
        """
        Let ``E`` learn from activity alone what ``W`` transmits: the presynaptic neurons fire at
        random, and each error synapse takes the mean correlation of what it sees at its two ends,
        which tends to the weight beside it (weight mirror, Akrout et al. 2019,
        https://arxiv.org/abs/1904.05391).

        :param n_patterns: Number of patterns of Gaussian activity; the error of ``E`` relative to
            ``W`` is about ``sqrt(in_features / n_patterns)``
        """
        assert self.feedback is not None, "Tied feedback has nothing to learn"
        self.feedback.zero_()
        for first in range(0, n_patterns, MIRROR_BATCH):
            noise = th.randn(min(MIRROR_BATCH, n_patterns - first), self.in_features).to(self.weight)
            response = self.predict_change(noise)
            self.feedback.addmm_(response.t(), noise, alpha=1 / n_patterns)

    def modulation(self) -> tuple[th.Tensor, th.Tensor]:
        """
        ``M_W`` and ``M_E``: ``min(2 c / max(c), 1)``, where ``c`` is a neuron's summed incoming
        weight. Absolute weights are summed: with signed ones, a neuron whose weights add up to
        less than zero would unlearn.

        :return: Factors of the changes of ``weight``, ``(out_features, 1)``, and of ``feedback``,
            ``(1, in_features)``
        """
        incoming = self.weight.abs().sum(1, keepdim=True)
        feedback = self.weight if self.feedback is None else self.feedback
        returning = feedback.abs().sum(0, keepdim=True)
        return tuple((2 * c / c.max().clamp(min=1e-12)).clamp(max=1) for c in (incoming, returning))  # type: ignore[return-value]

    def squared_spectral_norm(self) -> th.Tensor:
        """Estimate of the largest squared singular value of ``W``, one power iteration a call."""
        image = self.weight.mv(self._singular_vector)
        back = image @ self.weight
        self._singular_vector.copy_(F.normalize(back, dim=0))
        norm: th.Tensor = th.linalg.vector_norm(back)
        return norm


def _parameter(data: th.Tensor) -> nn.Parameter:
    return nn.Parameter(data, requires_grad=False)
