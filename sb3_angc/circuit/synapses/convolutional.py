"""Synapses between images: each neuron sees a small patch, and all patches share their weights."""

from __future__ import annotations

import math

import torch as th
from torch import nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from sb3_angc.circuit.synapses.dense import _parameter

# Images of a mirror phase that are shown at once
CONV_MIRROR_BATCH = 64


class ConvSynapses(nn.Module):
    """
    Convolutional sibling of :class:`~sb3_angc.circuit.synapses.dense.DenseSynapses`. Layers are flat
    outside, ``(batch, channels * height * width)``; their images exist in here only.

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
    :param learned_feedback: Whether ``E`` is a matrix of its own. If not, feedback is tied.
    :raises ValueError: If the kernel is larger than the padded image
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    feedback: nn.Parameter | None
    _singular_vector: th.Tensor

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
        super().__init__()
        in_channels, *sides = in_shape
        room = [side + 2 * padding - kernel_size for side in sides]
        if min(room) < 0:
            raise ValueError(
                f"kernel_size={kernel_size} is not allowed: it must be at most the image's sides, "
                f"{sides[0]} x {sides[1]}, with padding={padding} on each"
            )
        self.in_shape = in_shape
        self.out_shape = (out_channels, room[0] // stride + 1, room[1] // stride + 1)
        self.in_features = math.prod(self.in_shape)
        self.out_features = math.prod(self.out_shape)
        self.stride, self.padding = stride, padding
        self.kernel_shape = (out_channels, in_channels, kernel_size, kernel_size)
        # Where strides leave a rest, the last rows and columns are seen by nobody, and get no errors.
        self.unseen = (room[0] % stride, room[1] % stride)

        shape = (out_channels, in_channels * kernel_size**2)
        std = math.sqrt(2 / shape[1])  # He et al. 2015, https://arxiv.org/abs/1502.01852
        self.weight = _parameter(th.randn(shape) * std)
        self.bias = _parameter(th.zeros(out_channels)) if bias else None
        self.feedback = _parameter(th.randn(shape) * std) if learned_feedback else None
        self.register_buffer("_singular_vector", F.normalize(th.ones(self.in_features), dim=0))

    def predict(self, activity: th.Tensor) -> th.Tensor:
        """``phi(z) * W + b`` (a convolution): ``(batch, in_features)`` to ``(batch, out_features)``."""
        return self._convolve(activity, self.bias)

    def predict_change(self, change: th.Tensor) -> th.Tensor:
        """How the prediction changes with the activity, ``change * W``."""
        return self._convolve(change, None)

    def feed_back(self, error: th.Tensor) -> th.Tensor:
        """``e`` with ``E``, convolved transposed: ``(batch, out_features)`` to ``(batch, in_features)``."""
        return self._carry_back(error, self.weight if self.feedback is None else self.feedback)

    def ends(self, activity: th.Tensor, error: th.Tensor) -> list[tuple[th.Tensor, th.Tensor]]:
        """Presynaptic activity and postsynaptic error of the bundle, or of each of its parts."""
        return [(activity, error)]

    def hebbian(self, activity: th.Tensor, error: th.Tensor) -> dict[str, th.Tensor]:
        """
        The correlation of what each synapse sees at its two ends, summed over the places that share
        it and averaged over the batch.

        :param activity: Presynaptic activity ``phi(z)``, ``(batch, in_features)``
        :param error: Postsynaptic error ``e``, ``(batch, out_features)``
        :return: Changes of ``weight`` (in its layout) and ``bias``
        """
        images, errors = self._images(activity, self.in_shape), self._images(error, self.out_shape)
        # A plain function of two tensors, for all its name: no graph is built or walked.
        correlation = conv2d_weight(  # type: ignore[no-untyped-call]
            images, self.kernel_shape, errors, stride=self.stride, padding=self.padding
        )
        updates = {"weight": correlation.reshape(self.weight.shape).div_(len(error))}
        if self.bias is not None:
            updates["bias"] = errors.sum((0, 2, 3)).div_(len(error))
        return updates

    def mirror(self, n_patterns: int) -> None:
        """
        Let ``E`` learn from activity alone what ``W`` transmits, as in
        :class:`~sb3_angc.circuit.synapses.dense.DenseSynapses`: each error synapse takes the mean correlation
        of what it sees at its two ends, over images of noise and all places that share it.

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
        self.feedback.div_(self.hebbian(*ones)["weight"].clamp_(min=1))

    def modulation(self) -> tuple[th.Tensor, th.Tensor]:
        """
        ``M_W`` and ``M_E`` as in :class:`~sb3_angc.circuit.synapses.dense.DenseSynapses`; the neurons of a
        channel share their summed incoming weight.

        :return: Factors of the changes of ``weight``, ``(out_channels, 1)``, and of ``feedback``,
            ``(1, in_channels * kernel_size ** 2)``
        """
        incoming = self.weight.abs().sum(1, keepdim=True)
        feedback = self.weight if self.feedback is None else self.feedback
        returning = feedback.abs().view(self.kernel_shape).sum((0, 2, 3))
        returning = returning.repeat_interleave(self.kernel_shape[2] ** 2).unsqueeze(0)
        return tuple((2 * c / c.max().clamp(min=1e-12)).clamp(max=1) for c in (incoming, returning))  # type: ignore[return-value]

    def squared_spectral_norm(self) -> th.Tensor:
        """Estimate of the largest squared singular value of the convolution, one power iteration a call."""
        image = self.predict_change(self._singular_vector.unsqueeze(0))
        back = self._carry_back(image, self.weight).squeeze(0)
        self._singular_vector.copy_(F.normalize(back, dim=0))
        norm: th.Tensor = th.linalg.vector_norm(back)
        return norm

    def _convolve(self, activity: th.Tensor, bias: th.Tensor | None) -> th.Tensor:
        images = self._images(activity, self.in_shape)
        kernels = self.weight.view(self.kernel_shape)
        return F.conv2d(images, kernels, bias, self.stride, self.padding).flatten(1)

    def _carry_back(self, error: th.Tensor, weight: th.Tensor) -> th.Tensor:
        errors = self._images(error, self.out_shape)
        kernels = weight.view(self.kernel_shape)
        return F.conv_transpose2d(errors, kernels, None, self.stride, self.padding, self.unseen).flatten(1)

    @staticmethod
    def _images(rows: th.Tensor, shape: tuple[int, ...]) -> th.Tensor:
        return rows.reshape(-1, *shape)
