"""The scale of what a circuit's output stands for, so that the circuit itself predicts numbers of unit scale."""

from __future__ import annotations

import torch as th
from torch import nn

# How fast the statistics follow new batches, and the smallest deviation that is made 1
RATE = 1e-3
SMALLEST_DEVIATION = 1e-2


class OutputScale(nn.Module):
    """
    One gain and one offset of an output: what a circuit predicts is ``y``, what is meant by it
    ``offset + gain y``. They are the running mean and deviation of what the output was clamped at (van Hasselt
    et al. 2016, https://arxiv.org/abs/1602.07714). Buffers hold them, so that they are saved and loaded.
    """

    offset: th.Tensor
    gain: th.Tensor
    variance: th.Tensor
    count: th.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offset", th.zeros(()))
        self.register_buffer("gain", th.ones(()))
        self.register_buffer("variance", th.zeros(()))
        self.register_buffer("count", th.zeros(()))

    def observe(self, values: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """
        Take a batch into the statistics.

        :param values: What the output is to stand for, ``(batch, n)``
        :return: ``factor`` and ``shift``: a prediction that becomes ``factor y + shift`` stands for what it
            stood for. With the first batch they are 1 and 0.
        """
        share = (1 / (self.count + 1)).clamp(min=RATE)
        variance, mean = th.var_mean(values, correction=0)
        difference = mean - self.offset
        new_variance = self.variance.lerp(variance + (1 - share) * difference.square(), share)
        new_offset = self.offset + share * difference
        sound = new_variance.isfinite()
        new_variance = th.where(sound, new_variance, self.variance)
        new_offset = th.where(sound, new_offset, self.offset)
        gain = new_variance.sqrt().clamp(min=SMALLEST_DEVIATION)
        is_first = self.count == 0
        factor = th.where(is_first, 1.0, self.gain / gain)
        shift = th.where(is_first, 0.0, (self.offset - new_offset) / gain)
        self.offset.copy_(new_offset)
        self.gain.copy_(gain)
        self.variance.copy_(new_variance)
        self.count.add_(1)
        return factor, shift

    def to_unit(self, values: th.Tensor) -> th.Tensor:
        """``(values - offset) / gain``"""
        return (values - self.offset) / self.gain

    def forward(self, y: th.Tensor) -> th.Tensor:
        """``offset + gain y``"""
        return self.offset + self.gain * y
