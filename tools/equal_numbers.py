"""
Whether a change of the code left the numbers as they were.

``python -m tools.equal_numbers record FILE`` trains small agents from fixed seeds and keeps their weights
and actions; ``python -m tools.equal_numbers compare FILE`` trains them again and prints the largest
difference of each, relative to the largest weight. Run the first with the code before the change.
"""

from __future__ import annotations

import sys
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces

from sb3_angc import ANGC

SMALL: dict[str, Any] = {"learning_starts": 100, "batch_size": 32, "seed": 0, "device": "cpu"}
UPDATES = 500


class Pictures(gym.Env[Any, Any]):
    """Noise whose brightest quarter is the right choice, alone or beside a number, in episodes of ten."""

    def __init__(self, beside: bool) -> None:
        image = spaces.Box(0, 255, (1, 12, 12), np.uint8)
        number = spaces.Box(-1, 1, (2,), np.float32)
        self.beside = beside
        self.observation_space = spaces.Dict({"image": image, "number": number}) if beside else image
        self.action_space = spaces.Discrete(3)

    def _observe(self) -> Any:
        image = self.np_random.integers(0, 255, (1, 12, 12), dtype=np.uint8)
        self.right = int(self.np_random.integers(3))
        image[0, 4 * self.right : 4 * self.right + 4] //= 4
        if not self.beside:
            return image
        return {"image": image, "number": self.np_random.uniform(-1, 1, 2).astype(np.float32)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """As Gymnasium's."""
        super().reset(seed=seed)
        self.time = 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """As Gymnasium's."""
        self.time += 1
        reward = float(action == self.right)
        return self._observe(), reward, False, self.time == 10, {}


def agents() -> dict[str, Any]:
    """What each case is trained on, and its arguments."""
    cases: dict[str, Any] = {}
    for preset in ("settled", "paper", "released"):
        for env in ("CartPole-v1", "MountainCar-v0"):
            for n_steps in (1, 5):
                cases[f"{preset}, {env}, {n_steps} steps"] = (
                    lambda env=env: gym.make(env),
                    {"n_steps": n_steps, "policy_kwargs": {"circuit": preset, "net_arch": [32, 32]}},
                )
        for beside in (False, True):
            cases[f"{preset}, {'Dict' if beside else 'images'}"] = (
                lambda beside=beside: Pictures(beside),
                {"policy_kwargs": {"circuit": preset, "net_arch": [32]}},
            )
    settings = {"inference_steps": 3, "alignment_decay": 1.0, "leak": 0.01, "activation": "tanh"}
    kwargs = {"net_arch": [32, 32, 32], "circuit_kwargs": settings, "epistemic_scale": "mean"}
    cases["settled, other settings"] = (lambda: gym.make("Acrobot-v1"), {"policy_kwargs": kwargs})
    everything = {"clamp_all_actions": True, "double_q": False, "max_grad_norm": 0.01, "gradient_steps": 2}
    cases["settled, all clamped"] = (lambda: gym.make("CartPole-v1"), everything)
    return cases


def train(make_env: Any, arguments: dict[str, Any], dtype: th.dtype) -> dict[str, np.ndarray[Any, Any]]:
    """:return: Every weight, and greedy actions on 50 observations, after some updates"""
    env = make_env()
    model = ANGC(env, **{**SMALL, **arguments})
    if dtype == th.float64:
        model.policy.double()
        extract = model.policy.extract_features  # SB3 makes pixels float32
        setattr(model.policy, "extract_features", lambda *given: extract(*given).double())  # noqa: B010
        setattr(model.replay_buffer, "to_torch", lambda array, copy=True: _as_double(array))  # noqa: B010
    model.learn(100 + 4 * UPDATES // arguments.get("gradient_steps", 1))
    result = {name: value.numpy() for name, value in model.policy.state_dict().items()}
    env.observation_space.seed(0)
    if dtype == th.float32:
        observations = [env.observation_space.sample() for _ in range(50)]
        result["actions"] = np.array([int(model.predict(o, deterministic=True)[0]) for o in observations])
    return result


def _as_double(array: np.ndarray[Any, Any]) -> th.Tensor:
    tensor = th.as_tensor(array)
    return tensor.double() if tensor.is_floating_point() else tensor


def main(command: str, path: str) -> int:
    """:return: The number of cases whose weights differ by more than 1e-4, or 1e-9 in float64"""
    th.set_num_threads(1)
    stored: dict[str, Any] = {} if command == "record" else dict(np.load(path))
    found: dict[str, Any] = {}
    failures = 0
    for dtype, allowed in ((th.float32, 1e-4), (th.float64, 1e-9)):
        for case, (make_env, arguments) in agents().items():
            result = {f"{dtype}, {case}: {k}": v for k, v in train(make_env, arguments, dtype).items()}
            found.update(result)
            if command == "record":
                continue
            theirs = {name: stored[name] for name in result}
            largest = max(
                np.abs(result[n] - theirs[n]).max() / (np.abs(theirs[n]).max() + 1e-12) for n in result
            )
            failures += bool(largest > allowed)
            print(f"{largest:.1e}  {'' if largest <= allowed else 'DIFFERS '}{dtype} {case}", flush=True)
    if command == "record":
        np.savez(path, **found)
    return failures


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
