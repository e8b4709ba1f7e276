"""
MinAtar for the studies: its environments, the settings of both methods, and for Stable-Baselines3's
DQN a network of the layers that ANGC's CnnPolicy has for such images.

Importing this module registers the environments.
"""

from __future__ import annotations

import copy
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.dqn import CnnPolicy
from torch import nn

from sb3_angc.angc.features import ImageExtractor, default_convolutions, default_hidden_sizes
from sb3_angc.common.environments import register_minatar

register_minatar()

# The Zoo's -conf: for every environment and method of the study. Memory, target interval, learning
# rate and exploration are those of Young & Tian 2019 (https://arxiv.org/abs/1903.03176), exploration
# shortened in proportion to the budget of 300k instead of 5M steps.
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {
        "n_timesteps": 300_000,
        "policy": "CnnPolicy",
        "buffer_size": 100_000,
        "learning_starts": 5_000,
        "learning_rate": 2.5e-4,
        "batch_size": 64,
        "gamma": 0.99,
        "train_freq": 4,
        "gradient_steps": 1,
        "tau": 1.0,
        "target_update_interval": 1_000,
        "exploration_fraction": 0.1,
        "exploration_final_eps": 0.05,
    }
}

hyperparams: dict[str, dict[str, Any]]


def __getattr__(name: str) -> Any:
    # Anew each time: the Zoo deletes keys from what it gets, and a second run must not see that.
    if name == "hyperparams":
        return copy.deepcopy(SETTINGS)
    raise AttributeError(name)


class SmallCNN(BaseFeaturesExtractor):
    """
    The layers of ANGC's CnnPolicy up to the last hidden one, trained by backpropagation.

    :param observation_space: A Box of three dimensions
    """

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        images = ImageExtractor(observation_space)
        shape = images.image_shapes[0]
        (units,) = default_hidden_sizes([shape])
        super().__init__(observation_space, units)
        modules: list[nn.Module] = [images, nn.Unflatten(1, shape)]
        channels = shape[0]
        for layer in default_convolutions(shape):
            modules += [
                nn.Conv2d(channels, layer.channels, layer.kernel_size, layer.stride, layer.padding),
                nn.ReLU(),
            ]
            channels = layer.channels
        modules.append(nn.Flatten())
        flat = nn.Sequential(*modules)(th.zeros(1, *(observation_space.shape or ())))
        self.layers = nn.Sequential(*modules, nn.Linear(flat.shape[1], units), nn.ReLU())

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """``(batch, *shape)`` to ``(batch, features_dim)``"""
        features: th.Tensor = self.layers(observations)
        return features


class DQNPolicy(CnnPolicy):
    """DQN's CnnPolicy with :class:`SmallCNN`, and the values of the actions right behind it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.update(net_arch=[], features_extractor_class=SmallCNN)
        super().__init__(*args, **kwargs)
