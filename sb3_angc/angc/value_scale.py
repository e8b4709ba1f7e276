"""The scale of an agent's values: its controller predicts numbers of unit scale, whatever the rewards are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch as th
from torch import nn

from sb3_angc.angc import moments
from sb3_angc.circuit import CircuitSettings
from sb3_angc.circuit.settings import make_settings

# How fast the statistics follow new targets, and the smallest deviation that is scaled to 1.
RATE = 1e-3
SMALLEST_DEVIATION = 1e-2
# Initial scale of the controller's output: it starts near zero, or what is learned first would drown in it.
INITIAL_SCALE = 0.1
# Output precision of an agent's circuits where the preset is "settled". A sample's error counts for
# ``1 / (1 + pi |g|^2)``: with a larger one, values that were overestimated where the gradient ``g`` is large
# are hardly corrected, and grow from target to target.
OUTPUT_PRECISION = 0.001


def agent_settings(preset: str, circuit: str, circuit_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """
    :param preset: Of a circuit
    :param circuit: Its name: ``"controller"`` or another
    :param circuit_kwargs: Its settings that override the preset's
    :return: Its settings: these, and where an agent's differ from the preset's
    """
    found: dict[str, Any] = {}
    if preset == "settled":
        found["output_precision"] = OUTPUT_PRECISION
    # A norm takes no other scale than 1.
    if circuit == "controller" and make_settings(preset, **circuit_kwargs).weight_norm is None:
        found["output_init_scale"] = INITIAL_SCALE
    return {**found, **circuit_kwargs}


def can_be_rescaled(settings: CircuitSettings) -> bool:
    """Whether a circuit's output can become any multiple of itself plus any number, and stay so."""
    return settings.bias and settings.weight_norm is None


class ValueScale(nn.Module):
    """
    One gain and one offset of the controller's output: an output ``y`` stands for the value
    ``q = mu + sigma y``, with the running mean ``mu`` and deviation ``sigma`` of the targets (van Hasselt et
    al. 2016, https://arxiv.org/abs/1602.07714). Outputs of unit scale set no limit to values: an overestimate
    that targets hand on grows without end. So targets stay within what the rewards so far allow. Buffers hold
    all of it, so that it is saved and loaded with the policy.
    """

    mean: th.Tensor
    variance: th.Tensor
    deviation: th.Tensor
    count: th.Tensor
    lowest: th.Tensor
    highest: th.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", th.zeros(()))
        self.register_buffer("variance", th.zeros(()))
        self.register_buffer("deviation", th.ones(()))
        self.register_buffer("count", th.zeros((), dtype=th.int64))
        self.register_buffer("lowest", th.zeros(()))
        self.register_buffer("highest", th.zeros(()))

    def bounded(
        self,
        targets: th.Tensor,
        rewards: th.Tensor,
        discounts: th.Tensor,
        epistemic_weight: th.Tensor | None,
    ) -> th.Tensor:
        """
        Clip targets to values that are possible. With a return ``R`` over ``n`` steps, no value is above the
        largest ``R / (1 - gamma^n)`` that there is, or 0: that return over and over again. A target is beyond
        it only where the value that it bootstraps is. To the upper bound comes the usual epistemic reward, 1
        on the average, for ever.

        :param targets: ``(batch, 1)``
        :param rewards: Returns ``R`` of the environment, ``(batch, 1)``
        :param discounts: ``gamma^n``, 0 where the episode terminated, ``(batch, 1)``
        :param epistemic_weight: Weight of the epistemic reward, or ``None`` where there is none
        :return: ``(batch, 1)``
        """
        for_ever = th.nan_to_num(rewards / (1 - discounts))  # without a discount, the largest number
        self.lowest.copy_(th.minimum(self.lowest, for_ever.min()))
        self.highest.copy_(th.maximum(self.highest, for_ever.max()))
        highest = self.highest
        if epistemic_weight is not None:
            highest = highest + th.nan_to_num(epistemic_weight / (1 - discounts.max()), posinf=math.inf)
        return targets.clamp(self.lowest, highest)

    def observe(self, targets: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """
        Take the targets of a batch into the statistics: all so far count alike, from the thousandth batch on
        the newest ones more (Chan et al. 1979).

        :param targets: ``(batch, 1)``
        :return: ``factor`` and ``shift``: an output that becomes ``factor y + shift`` stands for the value
            that it stood for. With the first batch they are 1 and 0: the untrained output is of unit scale.
        """
        share = (1 / (self.count + 1).to(targets.dtype)).clamp(min=RATE)
        new_mean, new_variance = moments.updated(self.mean, self.variance, targets.flatten(), share)
        new_deviation = new_variance.sqrt().clamp(min=SMALLEST_DEVIATION)
        is_first = self.count == 0
        factor = th.where(is_first, 1.0, self.deviation / new_deviation)
        shift = th.where(is_first, 0.0, (self.mean - new_mean) / new_deviation)
        self.mean.copy_(new_mean)
        self.variance.copy_(new_variance)
        self.deviation.copy_(new_deviation)
        self.count.add_(1)
        return factor, shift

    def normalize(self, values: th.Tensor) -> th.Tensor:
        """:return: The outputs that stand for values, ``(q - mu) / sigma``"""
        return (values - self.mean) / self.deviation

    def forward(self, outputs: th.Tensor) -> th.Tensor:
        """:return: The values that outputs stand for, ``mu + sigma y``"""
        return self.mean + self.deviation * outputs
