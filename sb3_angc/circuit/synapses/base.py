"""What bundles of synapses have in common, whatever they connect."""

from __future__ import annotations

import math

import torch as th
from torch import nn
from torch.nn import functional as F


class Synapses(nn.Module):
    """
    The synapses between two adjacent layers, of ``in_features`` presynaptic and ``out_features``
    postsynaptic neurons.

    The prediction weights ``W`` carry activity forward, the error weights ``E`` carry errors
    back. Both are stored with the same shape, ``(out, in)``, so that each ``E`` lies beside the ``W`` of
    the same pair of neurons: in the notation of the equations, which multiply row vectors from the left,
    ``weight`` is ``W.T`` and ``feedback`` is ``E``.

    No parameter requires a gradient: a call of ``backward()`` anywhere raises.

    :param in_features: Number of presynaptic neurons
    :param out_features: Number of postsynaptic neurons
    :param shape: Shape of ``W`` and ``E`` as stored: what shares a bias, what a neuron sees
    :param bias: Whether the postsynaptic neurons have a bias
    :param learned_feedback: Whether ``E`` is a matrix of its own. If not, feedback is tied:
        errors travel back over ``W``'s transpose.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    feedback: nn.Parameter | None
    _singular_vector: th.Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        shape: tuple[int, int],
        bias: bool,
        learned_feedback: bool,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        std = math.sqrt(2 / shape[1])  # He et al. 2015, https://arxiv.org/abs/1502.01852
        self.weight = _parameter(th.randn(shape) * std)
        self.bias = _parameter(th.zeros(shape[0])) if bias else None
        # Drawn independently of W: nothing is copied from one direction to the other.
        self.feedback = _parameter(th.randn(shape) * std) if learned_feedback else None
        self.register_buffer("_singular_vector", F.normalize(th.ones(in_features), dim=0))

    def predict(self, activity: th.Tensor) -> th.Tensor:
        """``phi(z) W + b``: ``(batch, in_features)`` to ``(batch, out_features)``."""
        raise NotImplementedError

    def predict_change(self, change: th.Tensor) -> th.Tensor:
        """How the prediction changes with the activity, ``change W``; shapes as in :meth:`predict`."""
        raise NotImplementedError

    def carry_back(self, values: th.Tensor, weight: th.Tensor) -> th.Tensor:
        """
        What arrives at the presynaptic neurons over synapses of the given weights.

        :param values: Of the postsynaptic neurons, ``(batch, out_features)``
        :param weight: As ``W`` is stored
        :return: ``(batch, in_features)``
        """
        raise NotImplementedError

    def hebbian(self, activity: th.Tensor, error: th.Tensor) -> dict[str, th.Tensor]:
        """
        The correlation of what each synapse sees at its two ends, averaged over the batch.

        :param activity: Presynaptic activity ``phi(z)``, ``(batch, in_features)``
        :param error: Postsynaptic error ``e``, ``(batch, out_features)``
        :return: ``phi(z).T e`` for ``weight``, as it is stored, and the mean of ``e`` for ``bias``
        """
        raise NotImplementedError

    def mirror(self, n_patterns: int) -> None:
        """
        Let ``E`` learn from activity alone what ``W`` transmits: the presynaptic neurons fire at
        random, and each error synapse takes the mean correlation of what it sees at its two ends,
        which tends to the weight beside it (weight mirror, Akrout et al. 2019,
        https://arxiv.org/abs/1904.05391).

        :param n_patterns: Number of patterns of Gaussian activity; the error of ``E`` relative to
            ``W`` is about the square root of what a neuron sees over ``n_patterns``
        """
        raise NotImplementedError

    def feed_back(self, error: th.Tensor) -> th.Tensor:
        """``e E``: ``(batch, out_features)`` to ``(batch, in_features)``."""
        return self.carry_back(error, self.error_weight)

    @property
    def error_weight(self) -> nn.Parameter:
        """``E``; ``W`` where feedback is tied."""
        return self.weight if self.feedback is None else self.feedback

    def matrices(self) -> list[nn.Parameter]:
        """``W``, and ``E`` where there is one."""
        return [self.weight] if self.feedback is None else [self.weight, self.feedback]

    def by_part(self, activity: th.Tensor, error: th.Tensor) -> list[tuple[Synapses, th.Tensor, th.Tensor]]:
        """These synapses, presynaptic activity and postsynaptic error; of parallel ones, each part's."""
        return [(self, activity, error)]

    def modulation(self) -> tuple[th.Tensor, th.Tensor]:
        """
        ``M_W`` and ``M_E``: ``min(2 c / max(c), 1)``, where ``c`` is a neuron's summed incoming
        weight. Absolute weights are summed: with signed ones, a neuron whose weights add up to
        less than zero would unlearn.

        :return: Factors of the changes of ``weight``, ``(out, 1)``, and of ``feedback``, ``(1, in)``
        """
        return _share(self.weight.abs().sum(1, keepdim=True)), _share(self._returning_weight())

    def _returning_weight(self) -> th.Tensor:
        """Summed absolute error weight that arrives at each presynaptic neuron, ``(1, in)``."""
        return self.error_weight.abs().sum(0, keepdim=True)

    def incoming(self) -> th.Tensor:
        """Summed absolute ``W`` into each postsynaptic neuron, ``(1, out_features)``."""
        raise NotImplementedError

    def outgoing(self, values: th.Tensor) -> th.Tensor:
        """
        :param values: One of each postsynaptic neuron, ``(1, out_features)``
        :return: For each presynaptic neuron their sum, weighted by its absolute ``W``, ``(1, in_features)``
        """
        return self.carry_back(values, self.weight.abs())

    def squared_spectral_norm(self) -> th.Tensor:
        """Estimate of the largest squared singular value of ``W``, as good as :meth:`track_norm` left it."""
        norm: th.Tensor = th.linalg.vector_norm(self._there_and_back())
        return norm

    def track_norm(self) -> None:
        """Take one step of power iteration towards ``W``'s first singular vector; from no weights, none."""
        image = self._there_and_back()
        norm = th.linalg.vector_norm(image)
        self._singular_vector.copy_(th.where(norm > 0, image / norm, self._singular_vector))

    def _there_and_back(self) -> th.Tensor:
        """The singular vector's estimate times ``W`` and ``W.T``, ``(in_features,)``."""
        image = self.predict_change(self._singular_vector.unsqueeze(0))
        return self.carry_back(image, self.weight).squeeze(0)


def _parameter(data: th.Tensor) -> nn.Parameter:
    return nn.Parameter(data, requires_grad=False)


def _share(incoming: th.Tensor) -> th.Tensor:
    return (2 * incoming / incoming.max().clamp(min=1e-12)).clamp(max=1)
