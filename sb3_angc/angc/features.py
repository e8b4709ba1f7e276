"""What the circuits see of an observation: images, normalised numbers, and the generator's sketch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, is_image_space_channels_first
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch.nn import functional as F

from sb3_angc.angc import moments
from sb3_angc.circuit import Convolution
from sb3_angc.circuit.layers import Layer
from sb3_angc.common.checks import is_integer

ImageShape = tuple[int, int, int]

# Mnih et al. 2015, https://doi.org/10.1038/nature14236; it needs images of at least 36 x 36.
NATURE = [Convolution(32, 8, 4), Convolution(64, 4, 2), Convolution(64, 3)]
NATURE_SIDE = 36
MEDIUM = [Convolution(16, 3, 2), Convolution(32, 3, 2)]
MEDIUM_SIDE = 13
SMALL_CHANNELS = 16  # Young & Tian 2019, https://arxiv.org/abs/1903.03176, for 10 x 10

# Hidden neurons beside each convolution, of what is not an image
UNITS_BESIDE_IMAGES = 64


def is_image(space: spaces.Space[Any]) -> bool:
    """
    :param space: An observation space
    :return: Whether it is a Box of three dimensions with values in [0, 255] or in [0, 1]
    """
    if not isinstance(space, spaces.Box) or len(space.shape) != 3:
        return False
    return bool((space.low == 0).all() and any((space.high == high).all() for high in (1, 255)))


class ImageExtractor(BaseFeaturesExtractor):
    """
    Flattens images, channels first. SB3 has put the channels of uint8 images first already, and divided
    their pixels by 255; of others, the smallest of the three dimensions is taken to be the channels, as SB3
    does, and pixels are divided by the largest that the space allows, if that is finite and above 1.

    :param observation_space: A Box of three dimensions
    :param normalized_image: Whether pixels are taken as they are (``normalize_images=False`` of a policy)
    :param features_dim: Units of a dense layer of the controller behind the convolutions, as SB3's
        ``NatureCNN`` has one; ``None`` leaves it to ``net_arch``
    :raises ValueError: If the space is of another kind
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        normalized_image: bool = False,
        features_dim: int | None = None,
    ) -> None:
        if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) != 3:
            raise ValueError(
                f"observation_space={observation_space} is not allowed with CnnPolicy: it must be a Box of "
                "three dimensions. Use MultiInputPolicy for Dict observations, MlpPolicy for all others"
            )
        super().__init__(observation_space, math.prod(observation_space.shape))
        self.dense_size = features_dim
        largest = float(max(np.abs(observation_space.low).max(), np.abs(observation_space.high).max()))
        is_scaled = normalized_image or observation_space.dtype == np.uint8 or not 1 < largest < math.inf
        self.scale = 1.0 if is_scaled else 1 / largest
        self.channels_first = is_image_space_channels_first(observation_space)
        one, other, last = observation_space.shape
        self.image_shapes: list[ImageShape] = [
            (one, other, last) if self.channels_first else (last, one, other)
        ]

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """``(batch, *shape)`` to ``(batch, channels * height * width)``"""
        images = observations if self.channels_first else observations.permute(0, 3, 1, 2)
        return images.flatten(1) if self.scale == 1 else images.flatten(1) * self.scale


class PartsExtractor(BaseFeaturesExtractor):
    """
    Flattens and joins the parts of Dict observations: images first (see :func:`is_image`), then all
    others, both in the space's order.

    :param observation_space: A Dict
    :param normalized_image: As in :class:`ImageExtractor`
    :param cnn_output_dim: As ``features_dim`` there; the name of SB3's ``CombinedExtractor``
    :raises ValueError: If the space is of another kind
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        normalized_image: bool = False,
        cnn_output_dim: int | None = None,
    ) -> None:
        if not isinstance(observation_space, spaces.Dict):
            raise ValueError(
                f"observation_space={observation_space} is not allowed with MultiInputPolicy: it must be a "
                "Dict. Use CnnPolicy for images, MlpPolicy for all others"
            )
        super().__init__(observation_space, sum(map(get_flattened_obs_dim, observation_space.values())))
        self.dense_size = cnn_output_dim
        self.images = {
            key: ImageExtractor(space, normalized_image)
            for key, space in observation_space.items()
            if is_image(space)
        }
        self.others = [key for key in observation_space if key not in self.images]
        self.image_shapes: list[ImageShape] = [
            shape for image in self.images.values() for shape in image.image_shapes
        ]

    def forward(self, observations: dict[str, th.Tensor]) -> th.Tensor:
        """``(batch, features_dim)``"""
        images = [image(observations[key]) for key, image in self.images.items()]
        return th.cat(images + [observations[key].flatten(1) for key in self.others], dim=1)


def default_convolutions(image: ImageShape) -> list[Convolution]:
    """
    :param image: ``(channels, height, width)``
    :return: The convolutions of :class:`~stable_baselines3.common.torch_layers.NatureCNN` for images
        that are large enough, those of MinAtar's agents for small ones, and two of stride 2 between
    """
    side = min(image[1:])
    if side >= NATURE_SIDE:
        return NATURE
    return MEDIUM if side >= MEDIUM_SIDE else [Convolution(SMALL_CHANNELS, min(3, side))]


def default_hidden_sizes(images: Sequence[ImageShape]) -> list[int]:
    """
    :param images: Images ``(channels, height, width)`` that a controller sees
    :return: Sizes of the dense layers behind their convolutions
    """
    return [512 if any(min(image[1:]) >= NATURE_SIDE for image in images) else 128]


def hidden_sizes(net_arch: Any, circuit: str) -> list[int]:
    """
    :param net_arch: Of a policy: sizes of both circuits' hidden layers, or by circuit
    :param circuit: ``"controller"`` or ``"generator"``
    :return: The circuit's
    :raises ValueError: If they are not allowed
    """
    sizes = net_arch
    if isinstance(net_arch, dict):
        if set(net_arch) != {"controller", "generator"}:
            raise ValueError(f"net_arch={net_arch!r} must have the keys 'controller' and 'generator'")
        sizes = net_arch[circuit]
    is_list = isinstance(sizes, (list, tuple))
    if not is_list or not all(is_integer(size, 1) for size in sizes):
        raise ValueError(
            f"net_arch={net_arch!r} is not allowed: the hidden layers of the {circuit} must be "
            "a list of integers, each at least 1"
        )
    return [int(size) for size in sizes]


def observation_layers(
    images: Sequence[ImageShape], n_others: int, cnn_arch: Sequence[Sequence[int]] | None
) -> list[Layer]:
    """
    The first layers of a circuit that sees images. All parts of an observation pass as many layers:
    images of fewer convolutions go on through 1 x 1 ones, and what is not an image through
    ``UNITS_BESIDE_IMAGES`` neurons beside each convolution.

    :param images: Images ``(channels, height, width)`` in the observation, may be none
    :param n_others: Number of features that are not pixels
    :param cnn_arch: Convolutions of each image, ``(channels, kernel_size[, stride[, padding]])``
        each; ``None`` chooses by the image's size
    :return: Layers, the clamped input first
    :raises ValueError: If a convolution is not allowed
    """
    if not images:
        if cnn_arch is not None:
            raise ValueError(
                f"cnn_arch={cnn_arch!r} is not allowed here: there are no images. It is for CnnPolicy, and "
                "for MultiInputPolicy with images among the observation's parts"
            )
        return [n_others]
    if cnn_arch is None:
        towers = [default_convolutions(image) for image in images]
    else:
        towers = [_convolutions(cnn_arch) for _ in images]
    depth = max(map(len, towers))
    parts: list[list[Any]] = [
        [image, *tower, *[Convolution(tower[-1].channels, 1)] * (depth - len(tower))]
        for image, tower in zip(images, towers, strict=True)
    ]
    if n_others > 0:
        parts.append([n_others] + [UNITS_BESIDE_IMAGES] * depth)
    return parts[0] if len(parts) == 1 else [list(layer) for layer in zip(*parts, strict=True)]


def _convolutions(cnn_arch: Sequence[Sequence[int]]) -> list[Convolution]:
    is_sequence = isinstance(cnn_arch, (list, tuple)) and len(cnn_arch) > 0
    if not is_sequence or not all(isinstance(c, (list, tuple)) and 2 <= len(c) <= 4 for c in cnn_arch):
        raise ValueError(
            f"cnn_arch={cnn_arch!r} is not allowed: it must be a list of at least one "
            "(channels, kernel_size[, stride[, padding]])"
        )
    try:
        return [Convolution(*numbers) for numbers in cnn_arch]
    except ValueError as error:
        raise ValueError(f"cnn_arch={cnn_arch!r} is not allowed: {error}") from error


# Numbers by which a generator knows the images of an observation, at most
SKETCH_SIZE = 512


class Sketch(th.nn.Module):
    """
    A fixed random projection that keeps squared distances on average (feature hashing, Weinberger et
    al. 2009, https://arxiv.org/abs/0902.2206): the inputs, each with a random sign, are dealt out in
    turn to ``size`` sums. ``E |P x|^2 = |x|^2``, with a relative variance of at most about ``2 / size``
    where ``x`` is spread over many inputs. It costs one pass over the inputs and no product.

    :param n_inputs: Number of inputs
    :param size: Number of sums, at most ``n_inputs``
    """

    signs: th.Tensor

    def __init__(self, n_inputs: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.rest = -n_inputs % size
        self.register_buffer("signs", 2.0 * th.randint(0, 2, (n_inputs,)) - 1)

    def forward(self, x: th.Tensor) -> th.Tensor:
        """``(batch, n_inputs)`` to ``(batch, size)``"""
        dealt = F.pad(x * self.signs, (0, self.rest)).view(len(x), -1, self.size)
        sums: th.Tensor = dealt.sum(1)
        return sums


# Largest magnitude of a normalised feature
BOUND = 10.0


class RunningNormalization(th.nn.Module):
    """
    Scales each feature to mean 0 and standard deviation 1 by the statistics of all batches so far
    (Chan et al. 1979), and clips what lies further than ``BOUND`` deviations out. Features that were never
    anything but 0 and 1, as one-hot codes are, stay as they are: what is rare would become a spike. Buffers
    hold the statistics, so that they are saved and loaded with the policy.

    :param features_dim: Number of features
    :param n_before: Number of others that come before these, and stay as they are
    """

    mean: th.Tensor
    variance: th.Tensor
    count: th.Tensor
    is_binary: th.Tensor
    center: th.Tensor
    gain: th.Tensor

    def __init__(self, features_dim: int, n_before: int = 0) -> None:
        super().__init__()
        self.n_before = n_before
        self.register_buffer("mean", th.zeros(features_dim))
        self.register_buffer("variance", th.ones(features_dim))
        self.register_buffer("count", th.zeros((), dtype=th.int64))
        self.register_buffer("is_binary", th.ones(features_dim, dtype=th.bool))
        # What follows from these, so that it is not worked out anew for each action.
        self.register_buffer("center", th.zeros(features_dim), persistent=False)
        self.register_buffer("gain", th.ones(features_dim), persistent=False)
        call_when_loaded: Any = self.register_load_state_dict_post_hook  # torch has no types for it
        call_when_loaded(RunningNormalization._follow)

    def update(self, features: th.Tensor) -> None:
        """
        :param features: A batch to take into the statistics, ``(batch, n_before + features_dim)``
        """
        features = features[:, self.n_before :]
        total = self.count + len(features)
        share = len(features) / total.to(features.dtype)
        mean, variance = moments.updated(self.mean, self.variance, features, share)
        self.mean.copy_(mean)
        self.variance.copy_(variance)
        self.count.copy_(total)
        self.is_binary.logical_and_(((features == 0) | (features == 1)).all(dim=0))
        self._follow()

    def _follow(self, *_: Any) -> None:
        """Let the gains follow the statistics."""
        deviation = self.variance.sqrt().clamp(min=1e-6)
        self.center.copy_(th.where(self.is_binary, 0.0, self.mean))
        self.gain.copy_(th.where(self.is_binary, 1.0, 1 / deviation))

    def forward(self, features: th.Tensor) -> th.Tensor:
        """
        :param features: ``(batch, n_before + features_dim)``
        :return: The normalised features, same shape
        """
        if self.n_before == 0:
            return self._normalized(features)
        before, others = features[:, : self.n_before], features[:, self.n_before :]
        return th.cat([before, self._normalized(others)], dim=1)

    def _normalized(self, features: th.Tensor) -> th.Tensor:
        return ((features - self.center) * self.gain).clamp(-BOUND, BOUND)
