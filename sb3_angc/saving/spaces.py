"""Spaces as plain data, in safe files."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces

# The largest observation, in numbers, and the most values of a discrete space that a file may ask for.
LARGEST_SPACE = 2**20


def encode_space(space: spaces.Space[Any]) -> dict[str, Any]:
    """
    :param space: An observation or action space
    :return: Plain data, as JSON has them
    :raises ValueError: If it is of a kind that agents do not have
    """
    if isinstance(space, spaces.Box):
        bounds = {
            name: bound.flat[0].item() if (bound == bound.flat[0]).all() else bound.tolist()
            for name, bound in (("low", space.low), ("high", space.high))
        }
        return {"kind": "Box", **bounds, "shape": list(space.shape), "dtype": str(space.dtype)}
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {
            "kind": "MultiDiscrete",
            "nvec": space.nvec.tolist(),
            "start": space.start.tolist(),
            "dtype": str(space.dtype),
        }
    if isinstance(space, spaces.MultiBinary):
        sides = list(space.shape)
        return {"kind": "MultiBinary", "n": sides if len(sides) > 1 else sides[0]}
    if isinstance(space, spaces.Dict):
        return {
            "kind": "Dict",
            "spaces": {key: encode_space(part) for key, part in space.spaces.items()},
        }
    raise ValueError(f"The space {space} cannot be saved safely")


def decode_space(data: dict[str, Any]) -> spaces.Space[Any]:
    """
    :param data: Of :func:`encode_space`, or what a file says instead
    :return: The space
    :raises ValueError: If it is of another kind, or too large
    """
    kind = data["kind"]
    if kind == "Dict":
        # Pairs keep their order. Gymnasium sorts a dict's keys: parts of observations would change places.
        return spaces.Dict([(key, decode_space(part)) for key, part in data["spaces"].items()])
    sizes = {"Box": "shape", "Discrete": "n", "MultiDiscrete": "nvec", "MultiBinary": "n"}
    if kind not in sizes:
        raise ValueError(f"it names the space {kind!r}, which is not among those allowed")
    numbers = np.array(data[sizes[kind]], dtype=object).ravel().tolist()
    size = sum(numbers) if kind == "MultiDiscrete" else math.prod(numbers)
    if not all(type(number) is int and number >= 1 for number in numbers) or size > LARGEST_SPACE:
        raise ValueError(f"its space has {data[sizes[kind]]!r} as {sizes[kind]}")
    if kind == "Box":
        dtype = np.dtype(str(data["dtype"])).type
        shape = tuple(data["shape"])
        low, high = (np.broadcast_to(np.array(data[name], dtype), shape) for name in ("low", "high"))
        return spaces.Box(low, high, shape, dtype)
    if kind == "Discrete":
        return spaces.Discrete(data["n"], start=int(data["start"]))
    if kind == "MultiDiscrete":
        start = data.get("start")  # not in files of version 0.1
        return spaces.MultiDiscrete(data["nvec"], dtype=np.dtype(str(data["dtype"])).type, start=start)
    return spaces.MultiBinary(data["n"])
