"""Training cut short, so that documented code can be run as it is printed."""

from typing import Any

import pytest
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

SHORT = 1100  # a little more than the steps before the first update


def shorten_training(monkeypatch: pytest.MonkeyPatch, steps: int = SHORT) -> None:
    """
    Until the test ends, ``learn`` of ANGC and of SB3's off-policy algorithms takes at most so many steps.

    :param monkeypatch: pytest's
    :param steps: Largest number of environment steps of a call
    """
    learn = OffPolicyAlgorithm.learn

    def learn_briefly(self: OffPolicyAlgorithm, total_timesteps: int, *args: Any, **kwargs: Any) -> Any:
        return learn(self, min(total_timesteps, steps), *args, **kwargs)

    monkeypatch.setattr(OffPolicyAlgorithm, "learn", learn_briefly)
