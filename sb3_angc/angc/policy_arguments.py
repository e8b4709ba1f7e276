"""What is refused of a policy's arguments."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from sb3_angc.circuit import PRESETS
from sb3_angc.common.checks import check_keywords, check_names, require


def check_circuit(circuit: Any, circuit_kwargs: Any) -> None:
    """
    :param circuit: Preset of a policy
    :param circuit_kwargs: Its settings of circuits, or ``None``
    :raises ValueError: If there is no such preset, or the settings have no names; what each may be is for the
        circuits to say
    """
    if not isinstance(circuit, str) or circuit not in PRESETS:
        raise ValueError(f"circuit={circuit!r} is unknown: choose one of {', '.join(PRESETS)}")
    if circuit_kwargs is None:
        return
    check_names("circuit_kwargs", circuit_kwargs)
    allowed = "settings of a circuit; the preset is told by circuit"
    require("circuit_kwargs", circuit_kwargs, "preset" not in circuit_kwargs, allowed)


def check_extractor(extractor: Any, kwargs: Any, observation_space: spaces.Space[Any]) -> None:
    """
    :param extractor: Class of a policy's features extractor
    :param kwargs: Its keyword arguments, or ``None``
    :param observation_space: What it is to see
    :raises ValueError: If it is no such class, or takes no such arguments. What goes wrong within it is an
        error of its own.
    """
    is_extractor = isinstance(extractor, type) and issubclass(extractor, BaseFeaturesExtractor)
    require("features_extractor_class", extractor, is_extractor, "a subclass of BaseFeaturesExtractor")
    hint = "Layers are chosen by net_arch and cnn_arch"
    kwargs = {} if kwargs is None else kwargs
    check_keywords("features_extractor_kwargs", kwargs, extractor, observation_space, hint=hint)


def check_not_trainable(extractor: BaseFeaturesExtractor) -> None:
    """
    :param extractor: A policy's features extractor
    :raises ValueError: If nothing here could train it
    """
    if any(parameter.requires_grad for parameter in extractor.parameters()):
        raise ValueError(
            f"features_extractor_class={type(extractor).__name__} has trainable "
            "parameters, which would need backpropagation: use CnnPolicy or MultiInputPolicy without one "
            "for images (their convolutions, cnn_arch, learn by local updates), or an extractor without "
            "trainable parameters, such as FlattenExtractor"
        )
