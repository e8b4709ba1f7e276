"""What the layers of a circuit can be, and the synapses between two of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from torch import nn

from sb3_angc.circuit.synapses import ConvSynapses, DenseSynapses, ParallelSynapses, Synapses
from sb3_angc.common.checks import is_integer, require


@dataclass(frozen=True)
class Convolution:
    """
    A layer that is an image, each of whose neurons sees a patch of the image before it.

    :param channels: Number of channels
    :param kernel_size: Side of the square patch
    :param stride: Distance between two patches
    :param padding: Zeros around the image before, on each side, fewer than ``kernel_size``
    :raises ValueError: If a number is not allowed
    """

    channels: int
    kernel_size: int
    stride: int = 1
    padding: int = 0

    def __post_init__(self) -> None:
        for name, least in (("channels", 1), ("kernel_size", 1), ("stride", 1), ("padding", 0)):
            value = getattr(self, name)
            require(name, value, is_integer(value, least), f"an integer of at least {least}")
        allowed = f"less than kernel_size={self.kernel_size}, or some patches would hold nothing else"
        require("padding", self.padding, self.padding < self.kernel_size, allowed)


# Neurons without order, an input image (channels, height, width), or a convolution
Part: TypeAlias = int | tuple[int, int, int] | Convolution
Layer: TypeAlias = Part | list[Part]
# How the neurons of a layer stand: in a row or as an image, and that of each part
Extent: TypeAlias = int | tuple[int, int, int]
Extents: TypeAlias = Extent | list[Extent]
# What a circuit can have between two layers
Bundle: TypeAlias = Synapses | ParallelSynapses


def make_synapses(layers: Sequence[Layer], bias: bool, learned_feedback: bool) -> list[Bundle]:
    """
    :param layers: All layers of a circuit, from the clamped input to the clamped output
    :param bias: Whether predictions have a bias
    :param learned_feedback: Whether errors travel back over synapses of their own
    :return: The bundle between each two adjacent layers
    :raises ValueError: If a layer is not allowed, or does not fit the one before it
    """
    # Sizes may be numpy's, and stand in an array of it.
    listed = list(layers) if isinstance(layers, Sequence) or np.ndim(layers) == 1 else []
    allowed = [_is_allowed(layer, is_input=index == 0) for index, layer in enumerate(listed)]
    if len(listed) < 2 or not all(allowed):
        raise ValueError(
            f"layers={listed or layers} is not allowed: it must hold at least two integers, the input's "
            "and the output's, each at least 1. The input may also be an image, a tuple (channels, height, "
            "width), later layers a Convolution, and each layer a list of such parts side by side"
        )
    extents = _extents(layers[0])
    bundles: list[Bundle] = []
    for index, layer in enumerate(layers[1:]):
        # Errors never travel back into the clamped input.
        bundle, extents = _connect(extents, layer, bias, learned_feedback and index > 0)
        bundles.append(bundle)
    return bundles


def synapses_by_name(module: nn.Module) -> dict[str, Synapses]:
    """The synapses with weights of their own in a circuit, or in one of its bundles, by name."""
    return {name: part for name, part in module.named_modules() if isinstance(part, Synapses)}


def _extents(layer: Layer) -> Extents:
    parts = layer if isinstance(layer, list) else [layer]
    extents: list[Extent] = [part for part in parts if not isinstance(part, Convolution)]
    return extents if isinstance(layer, list) else extents[0]


def _connect(extents: Extents, layer: Layer, bias: bool, learned_feedback: bool) -> tuple[Bundle, Extents]:
    if not isinstance(layer, list):
        return _connect_part(extents, layer, bias, learned_feedback)
    if not isinstance(extents, list) or len(extents) != len(layer):
        raise ValueError(
            f"{layer} is not allowed here: a layer of {len(layer)} parts needs one of as many before it"
        )
    parts = [
        _connect_part(extent, part, bias, learned_feedback)
        for extent, part in zip(extents, layer, strict=True)
    ]
    return ParallelSynapses([bundle for bundle, _ in parts]), [extent for _, extent in parts]


def _connect_part(
    extents: Extents, part: Part, bias: bool, learned_feedback: bool
) -> tuple[Synapses, Extent]:
    if isinstance(part, Convolution):
        if not isinstance(extents, tuple):
            raise ValueError(f"{part} is not allowed here: it needs an image before it, not {extents}")
        convolution = ConvSynapses(
            extents, part.channels, part.kernel_size, part.stride, part.padding, bias, learned_feedback
        )
        return convolution, convolution.out_shape
    assert not isinstance(part, tuple)
    size = int(part)  # numpy's integers too, as the n of an action space is one
    return DenseSynapses(_size(extents), size, bias, learned_feedback), size


def _size(extents: Extents) -> int:
    if isinstance(extents, list):
        return sum(_size(extent) for extent in extents)
    return math.prod(extents) if isinstance(extents, tuple) else int(extents)


def _is_allowed(layer: Any, is_input: bool) -> bool:
    if isinstance(layer, list):
        has_lists = any(isinstance(part, list) for part in layer)
        return len(layer) > 0 and not has_lists and all(_is_allowed(part, is_input) for part in layer)
    if is_input and isinstance(layer, tuple):
        return len(layer) == 3 and all(is_integer(side, 1) for side in layer)
    return is_integer(layer, 1) or (isinstance(layer, Convolution) and not is_input)
