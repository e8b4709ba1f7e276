"""Bundles of synapses side by side, between the parts of one layer and the parts of the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch as th
from torch import nn

from sb3_angc.circuit.synapses.base import Synapses
from sb3_angc.common.checks import require


class ParallelSynapses(nn.Module):
    """
    Bundles that do not touch: each connects its own part of the presynaptic layer with its own part
    of the postsynaptic one. While a circuit settles they are one bundle; each learns by itself.

    :param parts: The bundles, in the order in which their neurons stand in the layers
    :raises ValueError: If one is no :class:`~sb3_angc.circuit.synapses.base.Synapses`
    """

    def __init__(self, parts: Sequence[Synapses]) -> None:
        super().__init__()
        are_synapses = all(isinstance(part, Synapses) for part in parts)
        require("parts", parts, are_synapses, "a list of Synapses, none of them side by side themselves")
        self.parts = nn.ModuleList(parts)
        self.in_sizes = [part.in_features for part in parts]
        self.out_sizes = [part.out_features for part in parts]
        self.in_features = sum(self.in_sizes)
        self.out_features = sum(self.out_sizes)

    def predict(self, activity: th.Tensor) -> th.Tensor:
        """The parts' predictions: ``(batch, in_features)`` to ``(batch, out_features)``."""
        return _side_by_side([part.predict for part in self], activity, self.in_sizes)

    def predict_change(self, change: th.Tensor) -> th.Tensor:
        """How the prediction changes with the activity."""
        return _side_by_side([part.predict_change for part in self], change, self.in_sizes)

    def feed_back(self, error: th.Tensor) -> th.Tensor:
        """What each part feeds back: ``(batch, out_features)`` to ``(batch, in_features)``."""
        return _side_by_side([part.feed_back for part in self], error, self.out_sizes)

    def incoming(self) -> th.Tensor:
        """Summed absolute ``W`` into each postsynaptic neuron, ``(1, out_features)``."""
        return th.cat([part.incoming() for part in self], dim=1)

    def outgoing(self, values: th.Tensor) -> th.Tensor:
        """What the postsynaptic neurons' values add up to at each presynaptic one, ``(1, in_features)``."""
        return _side_by_side([part.outgoing for part in self], values, self.out_sizes)

    def squared_spectral_norm(self) -> th.Tensor:
        """The largest of the parts' squared spectral norms: that of the joint, block-diagonal matrix."""
        return th.stack([part.squared_spectral_norm() for part in self]).max()

    def by_part(self, activity: th.Tensor, error: th.Tensor) -> list[tuple[Synapses, th.Tensor, th.Tensor]]:
        """Each part with its presynaptic activity and postsynaptic error."""
        activities, errors = th.split(activity, self.in_sizes, dim=1), th.split(error, self.out_sizes, dim=1)
        return list(zip(self, activities, errors, strict=True))

    def __iter__(self) -> Iterator[Synapses]:
        for part in self.parts:
            assert isinstance(part, Synapses)
            yield part


def _side_by_side(
    functions: Sequence[Callable[[th.Tensor], th.Tensor]], values: th.Tensor, sizes: list[int]
) -> th.Tensor:
    """Each function of so many columns of the values, the results beside each other again."""
    columns = th.split(values, sizes, dim=1)
    return th.cat([function(its) for function, its in zip(functions, columns, strict=True)], dim=1)
