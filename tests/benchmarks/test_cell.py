"""One cell of a study: what it trains and evaluates, and what its result holds."""

import importlib
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

pytest.importorskip("rl_zoo3", reason="RL Zoo is the extra 'zoo'")

from benchmarks.runner.cell import make_manager, run_cell
from benchmarks.runner.results import write_json
from benchmarks.runner.study import Cell, parse_study


def make_cell(method: dict[str, Any], task: str = "CartPole-v1", **study: Any) -> Cell:
    """A short run of DQN."""
    [cell] = parse_study(
        {
            "name": "tiny",
            "algorithms": [{"algorithm": "dqn", **method}],
            "environments": {task: {"threshold": 475.0, "random_return": 22.2}},
            "seeds": 1,
            "evaluations": 3,
            "evaluation_episodes": 2,
            "last_policy_episodes": 4,
            **study,
        }
    ).cells
    return cell


def test_evaluations_are_deterministic_on_every_task(tmp_path: Path) -> None:
    importlib.import_module("benchmarks.environments")
    cell = make_cell({"preset": "benchmarks/presets/practice_dqn.yml"}, "FlatEmpty-8x8-v0")
    assert make_manager(cell, str(tmp_path)).deterministic_eval


@pytest.mark.parametrize("where", ["study", "hyperparams"])
def test_the_curve_and_the_record_have_the_budget_of_the_run(where: str, tmp_path: Path) -> None:
    """Wherever a study names it; the preset's is 50 000."""
    steps: dict[str, Any] = {"n_timesteps": 600}
    cell = make_cell({}, **steps) if where == "study" else make_cell({"hyperparams": steps})
    result = run_cell(cell, str(tmp_path))
    assert result["settings"]["n_timesteps"] == result["budget"] == 600
    assert result["curve"]["steps"] == [200, 400, 600]


def test_evaluations_have_the_environment_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The preset's arguments and the study's."""

    def lake(**arguments: Any) -> gym.Env[Any, Any]:
        made.append(arguments)
        return gym.make("FrozenLake-v1", **arguments)

    made: list[dict[str, Any]] = []
    monkeypatch.setitem(gym.registry, "Lake-v0", gym.envs.registration.EnvSpec("Lake-v0", lake))
    preset = tmp_path / "preset.yml"
    preset.write_text("Lake-v0: {policy: MlpPolicy, env_kwargs: {is_slippery: false, map_name: 4x4}}")
    method = {"preset": str(preset), "hyperparams": {"env_kwargs": {"map_name": "8x8"}}}
    cell = make_cell(method, "Lake-v0", n_timesteps=60)
    result = run_cell(cell, str(tmp_path))
    expected = {"is_slippery": False, "map_name": "8x8"}
    assert result["settings"]["env_kwargs"] == expected
    assert len(made) == 1 + 2 + 4  # to train, for the curve, for the last policy
    assert [{key: one[key] for key in expected} for one in made] == [expected] * len(made)


def test_settings_that_are_infinite_are_held_as_text(tmp_path: Path) -> None:
    preset = tmp_path / "preset.yml"
    preset.write_text("CartPole-v1: {policy: MlpPolicy, max_grad_norm: .inf}")
    result = run_cell(make_cell({"preset": str(preset)}, n_timesteps=60), str(tmp_path))
    assert result["settings"]["max_grad_norm"] == "Infinity"
    write_json(tmp_path / "result.json", result)
