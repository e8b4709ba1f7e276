"""The reaching task: what is counted, and what a missing package says."""

import json
import sys
from pathlib import Path
from types import ModuleType

import gymnasium as gym
import pytest

pytest.importorskip("rl_zoo3", reason="RL Zoo is in the extra 'bench'")

from benchmarks.experiments import reaching
from benchmarks.runner.errors import BenchmarkError


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three bits to flip in the place of the arm."""
    if "Flips-v0" not in gym.registry:
        gym.register("Flips-v0", "stable_baselines3.common.envs:BitFlippingEnv", kwargs={"n_bits": 3})
    settings = {**reaching.SETTINGS, "compile_updates": False, "policy_kwargs": {"net_arch": [32]}}
    monkeypatch.setattr(reaching, "SETTINGS", {**settings, "learning_starts": 100, "learning_rate": 3e-3})
    monkeypatch.setattr(reaching, "STEPS", 1500)
    monkeypatch.setattr(reaching, "EPISODES", 20)
    monkeypatch.setattr(reaching, "ENVIRONMENT", "Flips-v0")


def test_goals_that_are_reached_are_counted(small: None) -> None:
    cell = reaching.run_cell(0)
    assert cell["success"] == 1.0
    assert -3 <= cell["return"] <= 0  # at most three bits to flip, -1 for each but the last


def test_cells_are_kept(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", ModuleType("gymnasium_robotics"))
    hardware = {"processor": "of a test"}
    result = {"seed": 7, "setup": reaching.setup(), "success": 0.25, "return": -3.5, "hardware": hardware}
    (tmp_path / "7.json").write_text(json.dumps(result))
    assert reaching.main(["--seeds", "7", "--output", str(tmp_path)]) == 0
    assert "| 7 | 0.25 | -3.50 |" in capsys.readouterr().out


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    with pytest.raises(BenchmarkError, match="pip install gymnasium-robotics"):
        reaching.main(["--seeds", "0"])
