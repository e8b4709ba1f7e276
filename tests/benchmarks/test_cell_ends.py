"""Cells that do not run to their end, or whose numbers are hard to keep."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rl_zoo3", reason="RL Zoo is the extra 'zoo'")
pytest.importorskip("rich", reason="rich is in the extra 'bench'")

from benchmarks.runner.cell import plain, run_cell, stored
from benchmarks.runner.engines import CellProcess
from benchmarks.runner.errors import BenchmarkError
from benchmarks.runner.results import Result
from tests.benchmarks.test_cell import make_cell

# Modules of one environment each, for a cell's process and for this one
MODULE = """
import os, sys
import gymnasium as gym

class Env(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Discrete(2)
    count = 0

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self.observation_space.sample(), {{}}

    def step(self, action):
        self.count += 1
        {step}
        return self.observation_space.sample(), reward, self.count == 10, False, {{}}

gym.register("{name}", Env)
"""


def make_module(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, step: str) -> dict[str, Any]:
    """Of an environment whose step does what is given; what a study needs to find it."""
    module = name.partition("-")[0].lower()
    (folder / f"{module}.py").write_text(MODULE.format(name=name, step=step))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    return {"gym_packages": [module], "n_timesteps": 60}


@pytest.fixture
def preset(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "preset.yml"
    path.write_text("default: {policy: MlpPolicy, learning_starts: 10}")
    return {"preset": str(path)}


def test_a_process_that_ends_well_without_a_result_is_a_failed_cell(
    preset: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_module(
        tmp_path, monkeypatch, "Leaves-v0", "print('that is all'); sys.stdout.flush(); sys.exit(0)"
    )
    result: Result = CellProcess(make_cell(preset, "Leaves-v0", **study)).result()
    assert result["status"] == "failed"
    assert result["error"] == "that is all (exit status 0, but no result)"


def test_an_interrupted_cell_has_no_result(
    preset: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Zoo takes an interrupt for the end of training."""
    started = tmp_path / "started"
    step = f"open({str(started)!r}, 'w').close(); reward = 1.0"
    study = make_module(tmp_path, monkeypatch, "Interrupted-v0", step)
    process = CellProcess(make_cell(preset, "Interrupted-v0", **{**study, "n_timesteps": 1_000_000}))
    deadline = time.monotonic() + 120
    while not started.exists():
        assert time.monotonic() < deadline
        assert not process.finished()
        time.sleep(0.05)
    os.kill(process.process.pid, signal.SIGINT)
    result = process.result()
    assert result["status"] == "failed"
    assert result["error"].endswith(f"(exit status -{signal.SIGINT.value})")


def test_a_return_that_is_no_number_ends_the_run_at_its_first_evaluation(
    preset: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_module(tmp_path, monkeypatch, "Nan-v0", "reward = float('nan')")
    expected = (
        "Nan-v0: an episode evaluated after 20 steps has a return of nan, returns must be finite numbers"
    )
    with pytest.raises(BenchmarkError, match=expected):
        run_cell(make_cell(preset, "Nan-v0", **study), str(tmp_path))


def test_an_algorithm_without_train_is_timed(tmp_path: Path) -> None:
    method = {"algorithm": "ars", "hyperparams": {"n_delta": 1, "n_envs": 1}}
    result = run_cell(make_cell(method, n_timesteps=60), str(tmp_path))
    assert result["seconds"]["train"] == 0
    assert result["seconds"]["collect"] > 0


def test_small_returns_keep_their_digits() -> None:
    assert stored([1.234567891e-5, 0.0004, -181.7345, 500.0]) == [1.234568e-5, 0.0004, -181.7345, 500.0]


def test_objects_in_settings_are_the_same_text_in_every_process() -> None:
    assert plain({"callback": [object(), "as it is"]}) == {"callback": ["<object object>", "as it is"]}
