"""Agents of the tests."""

from typing import Any

# An agent that learns from its 50th step on, within a second.
TINY: dict[str, Any] = {
    "learning_starts": 50,
    "batch_size": 16,
    "train_freq": 4,
    "policy_kwargs": {"net_arch": [16, 16]},
    "device": "cpu",
    "seed": 0,
}
