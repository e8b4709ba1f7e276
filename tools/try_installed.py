"""Tries an installed sb3_angc, with no extra and from outside the repository: train, save, load, act."""

import importlib.metadata
import importlib.resources
import tempfile
from pathlib import Path

import gymnasium as gym
import numpy as np

import sb3_angc


def main() -> None:
    """
    :raises AssertionError: If something that was installed does not work
    """
    installed = Path(sb3_angc.__file__).resolve()
    assert "site-packages" in installed.parts, f"not the installed package: {installed}"
    assert importlib.metadata.version("sb3_angc") == sb3_angc.__version__
    package = importlib.resources.files("sb3_angc")
    for name in ("py.typed", "hyperparams/angc.yml", "agents/CartPole-v1/agent.safetensors"):
        assert package.joinpath(name).is_file(), f"{name} is missing"

    model = sb3_angc.ANGC("CartPole-v1", learning_starts=100, seed=0, device="cpu").learn(300)
    assert model._n_updates > 0
    observation = gym.make("CartPole-v1").reset(seed=0)[0]
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model")
        loaded = sb3_angc.ANGC.load(f"{folder}/model")
    tensor, _ = model.policy.obs_to_tensor(observation)
    values, loaded_values = (m.policy.q_values(tensor).numpy() for m in (model, loaded))
    np.testing.assert_array_equal(values, loaded_values)
    print(f"sb3_angc {sb3_angc.__version__} at {installed.parent} works")


if __name__ == "__main__":
    main()
