"""Bundles of synapses side by side, between the parts of one layer and the parts of the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch as th
from torch import nn

from sb3_angc.circuit.synapses.convolutional import ConvSynapses
from sb3_angc.circuit.synapses.dense import DenseSynapses


class ParallelSynapses(nn.Module):
    """
    Bundles that do not touch: each connects its own part of the presynaptic layer with its own part
    of the postsynaptic one. While a circuit settles they are one bundle; each learns by itself.

    :param parts: The bundles, in the order in which their neurons stand in the layers
    """

    def __init__(self, parts: Sequence[DenseSynapses | ConvSynapses]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.in_sizes: list[int] = [part.in_features for part in parts]
        self.out_sizes: list[int] = [part.out_features for part in parts]
        self.in_features = sum(self.in_sizes)
        self.out_features = sum(self.out_sizes)

    def predict(self, activity: th.Tensor) -> th.Tensor:
        """The parts' predictions: ``(batch, in_features)`` to ``(batch, out_features)``."""
        return self._each(lambda part, rows: part.predict(rows), activity, self.in_sizes)

    def predict_change(self, change: th.Tensor) -> th.Tensor:
        """How the prediction changes with the activity."""
        return self._each(lambda part, rows: part.predict_change(rows), change, self.in_sizes)

    def feed_back(self, error: th.Tensor) -> th.Tensor:
        """What each part feeds back: ``(batch, out_features)`` to ``(batch, in_features)``."""
        return self._each(lambda part, rows: part.feed_back(rows), error, self.out_sizes)

    def squared_spectral_norm(self) -> th.Tensor:
        """The largest of the parts' squared spectral norms: that of the joint, block-diagonal matrix."""
        return th.stack([part.squared_spectral_norm() for part in self.parts]).max()  # type: ignore[operator]

    def ends(self, activity: th.Tensor, error: th.Tensor) -> list[tuple[th.Tensor, th.Tensor]]:
        """Presynaptic activity and postsynaptic error of the bundle, or of each of its parts."""
        activities, errors = th.split(activity, self.in_sizes, dim=1), th.split(error, self.out_sizes, dim=1)
        return list(zip(activities, errors, strict=True))

    def _each(
        self, function: Callable[[Any, th.Tensor], th.Tensor], rows: th.Tensor, sizes: list[int]
    ) -> th.Tensor:
        parts = zip(self.parts, th.split(rows, sizes, dim=1), strict=True)
        return th.cat([function(part, its_rows) for part, its_rows in parts], dim=1)
