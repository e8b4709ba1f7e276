"""The epistemic reward: how much a transition surprises the generator."""

from __future__ import annotations

from typing import Literal, get_args

import torch as th
from torch import nn

EpistemicScale = Literal["maximum", "mean"]

# How fast the running mean follows the surprise of new batches, and what a reward is cut off at.
MEAN_RATE = 0.01
LARGEST_REWARD = 5.0


def weight_left(fraction: float | None, progress_remaining: float) -> float:
    """
    :param fraction: Fraction of the training period over which the epistemic reward's weight falls to 0;
        ``None`` leaves it as it is
    :param progress_remaining: From 1 at the start to 0
    :return: What is left of the weight, from 1 to 0
    """
    if fraction is None:
        return 1.0
    return max(0.0, 1 - (1 - progress_remaining) / fraction) if fraction > 0 else 0.0


class EpistemicReward(nn.Module):
    """
    Total discrepancy of the generator, divided by what is usual.

    - ``scale="maximum"``, as in the paper (https://arxiv.org/abs/2107.07046, equation of ``r_ep``):
      by the largest discrepancy seen so far. The first, untrained errors set it for good: the reward
      falls with the generator's errors, within some thousand updates to a thousandth.
    - ``scale="mean"``: by the running mean over batches, cut off at 5. The reward stays at 1 on the
      average, and tells which transitions are new compared with the rest.

    Asking for a reward changes nothing; :meth:`observe` moves what is usual. It is a buffer, so that it is
    saved and loaded with the policy.

    :param scale: ``"maximum"`` or ``"mean"``
    :raises ValueError: If the scale is unknown
    """

    divisor: th.Tensor

    def __init__(self, scale: EpistemicScale = "mean") -> None:
        super().__init__()
        if scale not in get_args(EpistemicScale):
            raise ValueError(
                f"epistemic_scale={scale!r} is unknown: choose one of {', '.join(get_args(EpistemicScale))}"
            )
        self.scale = scale
        self.register_buffer("divisor", th.zeros(()))

    def observe(self, discrepancy: th.Tensor) -> None:
        """
        :param discrepancy: Total discrepancy of transitions that are learned from, at least 0, ``(batch,)``
        """
        if self.scale == "maximum":
            divisor = th.maximum(self.divisor, discrepancy.max())
        else:
            mean = discrepancy.mean()
            divisor = th.where(self.divisor > 0, self.divisor.lerp(mean, MEAN_RATE), mean)
        # A circuit that diverges must not leave its mark on the scale.
        self.divisor.copy_(th.where(divisor.isfinite(), divisor, self.divisor))

    def forward(self, discrepancy: th.Tensor) -> th.Tensor:
        """
        ``r = discrepancy / divisor``.

        :param discrepancy: Total discrepancy of each transition, at least 0, ``(batch,)``
        :return: Epistemic reward of each transition, from 0 to 5, ``(batch, 1)``
        """
        reward = discrepancy / self.divisor.clamp(min=th.finfo(discrepancy.dtype).tiny)
        return reward.clamp(max=LARGEST_REWARD).unsqueeze(1)
