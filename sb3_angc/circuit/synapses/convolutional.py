"""Synapses between images: each neuron sees a small patch, and all patches share their weights."""

from __future__ import annotations

import math

import torch as th
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from sb3_angc.circuit.synapses.base import Synapses

# Images of a mirror phase that are shown at once
CONV_MIRROR_BATCH = 64


class ConvSynapses(Synapses):
    """
    Convolutional synapses. Layers are flat outside, ``(batch, channels * height * width)``; their images
    exist in here only.

    ``weight`` and ``feedback`` are matrices of shape ``(out_channels, in_channels * kernel_size ** 2)``:
    a row holds the kernels of one output channel. Prediction is the convolution with ``W``, feedback
    the transposed convolution with ``E``, and an update the correlation of presynaptic activity and
    postsynaptic error, summed over all pairs of neurons that share the synapse.

    :param in_shape: Presynaptic image, ``(channels, height, width)``
    :param out_channels: Number of postsynaptic channels
    :param kernel_size: Side of the square patch that a postsynaptic neuron sees
    :param stride: Distance between two patches
    :param padding: Zeros around the presynaptic image, on each side
    :param bias: Whether each postsynaptic channel has a bias
    :param learned_feedback: Whether errors travel back over weights of their own
    :raises ValueError: If the kernel is larger than the padded image
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        out_channels: int,
        kernel_size: int,
        stride: int,
        padding: int,
        bias: bool,
        learned_feedback: bool,
    ) -> None:
        in_channels, *sides = in_shape
        room = [side + 2 * padding - kernel_size for side in sides]
        if min(room) < 0:
            raise ValueError(
                f"kernel_size={kernel_size} is not allowed: it must be at most the image's sides, "
                f"{sides[0]} x {sides[1]}, with padding={padding} on each"
            )
        out_shape = (out_channels, room[0] // stride + 1, room[1] // stride + 1)
        shape = (out_channels, in_channels * kernel_size**2)
        super().__init__(math.prod(in_shape), math.prod(out_shape), shape, bias, learned_feedback)
        self.in_shape, self.out_shape = in_shape, out_shape
        self.stride, self.padding = stride, padding
        self.kernel_shape = (out_channels, in_channels, kernel_size, kernel_size)
        # Where strides leave a rest, the last rows and columns are seen by nobody, and get no errors.
        self.unseen = (room[0] % stride, room[1] % stride)

    def predict(self, activity: th.Tensor) -> th.Tensor:
        """``phi(z) * W + b`` (a convolution): ``(batch, in_features)`` to ``(batch, out_features)``."""
        return self._convolve(activity, self.bias)

    def predict_change(self, change: th.Tensor) -> th.Tensor:
        """How the prediction changes with the activity, ``change * W``."""
        return self._convolve(change, None)

    def carry_back(self, values: th.Tensor, weight: th.Tensor) -> th.Tensor:
        """The transposed convolution: ``(batch, out_features)`` to ``(batch, in_features)``."""
        images = self._images(values, self.out_shape)
        kernels = weight.view(self.kernel_shape)
        return F.conv_transpose2d(images, kernels, None, self.stride, self.padding, self.unseen).flatten(1)

    def incoming(self) -> th.Tensor:
        """As in :class:`~sb3_angc.circuit.synapses.base.Synapses`; of a patch that no padding cuts."""
        return self.weight.abs().sum(1).repeat_interleave(math.prod(self.out_shape[1:])).unsqueeze(0)

    def hebbian(self, activity: th.Tensor, error: th.Tensor) -> dict[str, th.Tensor]:
        """As in :class:`~sb3_angc.circuit.synapses.base.Synapses`; sums over places that share a synapse."""
        images, errors = self._images(activity, self.in_shape), self._images(error, self.out_shape)
        # A plain function of two tensors, for all its name: no graph is built or walked.
        correlation = conv2d_weight(  # type: ignore[no-untyped-call]  # torch has no types for it
            images, self.kernel_shape, errors, stride=self.stride, padding=self.padding
        )
        updates = {"weight": correlation.reshape(self.weight.shape) / len(error)}
        if self.bias is not None:
            updates["bias"] = errors.sum((0, 2, 3)) / len(error)
        return updates

    def mirror(self, n_patterns: int) -> None:
        """
        As in :class:`~sb3_angc.circuit.synapses.base.Synapses`, over images of noise and all places that
        share a synapse.

        :param n_patterns: Number of patches of Gaussian activity; an image shows as many at once as
            the postsynaptic one has places
        """
        assert self.feedback is not None, "Tied feedback has nothing to learn"
        self.feedback.zero_()
        n_images = math.ceil(n_patterns / math.prod(self.out_shape[1:]))
        for first in range(0, n_images, CONV_MIRROR_BATCH):
            noise = th.randn(min(CONV_MIRROR_BATCH, n_images - first), self.in_features).to(self.weight)
            response = self.predict_change(noise)
            self.feedback.add_(self.hebbian(noise, response)["weight"], alpha=len(noise) / n_images)
        # In how many places of an image each synapse has a neuron, not padding, before it
        ones = th.ones(1, self.in_features).to(self.weight), th.ones(1, self.out_features).to(self.weight)
        self.feedback.div_(self.hebbian(*ones)["weight"].clamp(min=1))

    def _returning_weight(self) -> th.Tensor:
        """The neurons of a channel share their summed weight."""
        of_channel = self.error_weight.abs().view(self.kernel_shape).sum((0, 2, 3))
        return of_channel.repeat_interleave(self.kernel_shape[2] ** 2).unsqueeze(0)

    def _convolve(self, activity: th.Tensor, bias: th.Tensor | None) -> th.Tensor:
        images = self._images(activity, self.in_shape)
        kernels = self.weight.view(self.kernel_shape)
        return F.conv2d(images, kernels, bias, self.stride, self.padding).flatten(1)

    @staticmethod
    def _images(rows: th.Tensor, shape: tuple[int, ...]) -> th.Tensor:
        return rows.reshape(-1, *shape)
