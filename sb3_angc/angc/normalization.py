"""Normalisation of what the circuits see."""

from __future__ import annotations

import torch as th
from torch import nn


class RunningNormalization(nn.Module):
    """
    Scales each feature to mean 0 and standard deviation 1 by the statistics of all batches so far
    (Chan et al. 1979), and clips what lies further than ``bound`` deviations out. Buffers hold the
    statistics, so that they are saved and loaded with the policy.

    :param features_dim: Number of features
    :param bound: Largest magnitude of a normalised feature
    """

    mean: th.Tensor
    variance: th.Tensor
    count: th.Tensor

    def __init__(self, features_dim: int, bound: float = 10.0) -> None:
        super().__init__()
        self.bound = bound
        self.register_buffer("mean", th.zeros(features_dim))
        self.register_buffer("variance", th.ones(features_dim))
        self.register_buffer("count", th.zeros((), dtype=th.float64))

    def update(self, features: th.Tensor) -> None:
        """
        :param features: A batch to take into the statistics, ``(batch, features_dim)``
        """
        variance, mean = th.var_mean(features, dim=0, correction=0)
        total = self.count + len(features)
        share = (len(features) / total).to(features.dtype)
        difference = mean - self.mean
        self.mean += share * difference
        self.variance.lerp_(variance + (1 - share) * difference.square(), share)
        self.count.copy_(total)

    def forward(self, features: th.Tensor) -> th.Tensor:
        """
        :param features: ``(batch, features_dim)``
        :return: The normalised features, same shape
        """
        deviation = self.variance.sqrt().clamp(min=1e-6)
        return ((features - self.mean) / deviation).clamp(-self.bound, self.bound)
