"""The epistemic reward: how much a transition surprises the generator."""

from __future__ import annotations

import torch as th
from torch import nn


class EpistemicReward(nn.Module):
    """
    Total discrepancy of the generator, divided by the largest one seen so far.

    Paper: https://arxiv.org/abs/2107.07046, equation of ``r_ep``. The running maximum is a
    buffer, so that it is saved and loaded with the policy.
    """

    maximum: th.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("maximum", th.zeros(()))

    def forward(self, discrepancy: th.Tensor) -> th.Tensor:
        """
        :param discrepancy: Total discrepancy of each transition, at least 0, ``(batch,)``
        :return: Epistemic reward of each transition, between 0 and 1, ``(batch, 1)``
        """
        self.maximum = th.maximum(self.maximum, discrepancy.max())
        return (discrepancy / self.maximum.clamp(min=th.finfo(discrepancy.dtype).tiny)).unsqueeze(1)
