"""Running mean and variance."""

from __future__ import annotations

import torch as th


def updated(
    mean: th.Tensor, variance: th.Tensor, values: th.Tensor, share: th.Tensor
) -> tuple[th.Tensor, th.Tensor]:
    """
    Take a batch into a running mean and variance (Chan et al. 1979). Where a value is so large that its
    square overflows, both stay as they are: it must not leave its mark for good.

    :param mean: So far, of the shape of one value
    :param variance: So far, same shape
    :param values: The batch, ``(batch, *shape)``
    :param share: Of the batch in the result, a number
    :return: Mean and variance with the batch among them
    """
    batch_variance, batch_mean = th.var_mean(values, dim=0, correction=0)
    difference = batch_mean - mean
    new_variance = variance.lerp(batch_variance + (1 - share) * difference.square(), share)
    is_sound = new_variance.isfinite()
    return (
        th.where(is_sound, mean + share * difference, mean),
        th.where(is_sound, new_variance, variance),
    )
