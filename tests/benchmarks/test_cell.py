"""One cell of a study: what it trains and evaluates, and what its result holds."""

import csv
import importlib
import itertools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import gymnasium as gym
import pytest

pytest.importorskip("rl_zoo3", reason="RL Zoo is the extra 'zoo'")
pytest.importorskip("rich", reason="rich is in the extra 'bench'")

from benchmarks.runner import cell as runner_cell
from benchmarks.runner import provenance
from benchmarks.runner.cell import make_manager, read_training, run_cell
from benchmarks.runner.engines import LocalEngine
from benchmarks.runner.errors import BenchmarkError
from benchmarks.runner.provenance import ROOT
from benchmarks.runner.results import ResultsFolder, write_json
from benchmarks.runner.run import check_presets, run_study
from benchmarks.runner.study import Cell, Study, parse_study, read_study
from sb3_angc.zoo import Manager


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


def test_the_curve_has_the_returns_of_training_too(tmp_path: Path) -> None:
    """Episodes that end at 4, 10, 11, 31 and 33, between evaluations at 10, 20, 30 and 32."""
    lines = ['#{"t_start": 0.0, "env_id": "None"}', "r,l,t"]
    lines += [f"{r},{length},{t}" for t, (r, length) in enumerate([(1, 4), (2, 6), (5, 1), (7, 20), (9, 2)])]
    (tmp_path / "0.monitor.csv").write_text("\n".join(lines) + "\n")
    assert read_training(tmp_path, [10, 20, 30, 32]) == [1.5, 5.0, None, 7.0]

    result = run_cell(make_cell({}, n_timesteps=600), str(tmp_path / "logs"))
    [log] = (tmp_path / "logs").rglob("0.monitor.csv")
    ended = [(float(row["r"]), int(row["l"])) for row in csv.DictReader(log.read_text().splitlines()[1:])]
    ends = list(itertools.accumulate(length for _, length in ended))
    first = [value for (value, _), end in zip(ended, ends, strict=True) if end <= 200]
    assert result["curve"]["training"][0] == pytest.approx(sum(first) / len(first))


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


def test_finished_cells_are_refused_where_their_preset_has_changed(tmp_path: Path) -> None:
    preset = tmp_path / "preset.yml"
    written = (
        "{policy: MlpPolicy, gamma: 0.9, normalize: {norm_obs: true, norm_reward: false}, n_steps: 3, "
        "replay_buffer_kwargs: {handle_timeout_termination: true}, "
        "policy_kwargs: {optimizer_kwargs: {eps: 0.1}}}"
    )
    preset.write_text(f"CartPole-v1: {written}")
    method = {"preset": str(preset), "hyperparams": {"policy_kwargs": {"net_arch": [8]}}}
    cell = make_cell(method, n_timesteps=60)
    folder = ResultsFolder(tmp_path / "results")
    study = Study(cell.study, [cell])
    folder.write(cell, run_cell(cell, str(tmp_path)))
    assert run_study(study, folder, LocalEngine(1)) == 0  # as it is
    for now, changed in (
        (written.replace("0.9", "0.99"), "gamma was 0.9 and is 0.99"),
        (written.replace("gamma: 0.9, ", ""), "gamma was 0.9 and is '(not set)'"),
        (written.replace("gamma", "tau: 1.0, gamma"), "tau was '(not set)' and is 1.0"),
        (written.replace("norm_obs: true", "norm_obs: false"), "normalize.norm_obs was True and is False"),
        (written.replace("norm_obs: true, ", ""), "normalize.norm_obs was True and is '(not set)'"),
        (
            written.replace("handle_timeout_termination: true", ""),
            "replay_buffer_kwargs.handle_timeout_termination was True and is '(not set)'",
        ),
        (
            written.replace("optimizer_kwargs: {eps: 0.1}", ""),
            "policy_kwargs.optimizer_kwargs was {'eps': 0.1} and is '(not set)'",
        ),
        (
            written.replace("eps: 0.1", ""),
            "policy_kwargs.optimizer_kwargs.eps was 0.1 and is '(not set)'",
        ),
    ):
        preset.write_text(f"CartPole-v1: {now}")
        with pytest.raises(
            BenchmarkError, match=re.escape(f"{cell.name} was run with other settings, {changed}")
        ):
            run_study(study, folder, LocalEngine(1))
    preset.write_text("Acrobot-v1: {}")
    with pytest.raises(BenchmarkError, match=r"^preset: .* gives no settings to dqn .* not found"):
        run_study(study, folder, LocalEngine(1))


@pytest.mark.parametrize("name", ["ladder", "dqn_normalized"])
def test_committed_studies_go_on(name: str) -> None:
    """Of these nothing has changed since: the budgets are the study's own, and the Zoo adds to settings."""
    study = read_study(ROOT / "benchmarks" / "studies" / f"{name}.yml")
    folder = ResultsFolder(ROOT / "benchmarks" / "results" / study.name)
    check_presets(study, folder, folder.read())


def test_a_result_tells_of_the_checkout_in_which_training_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = Manager.learn
    commits = ["first"]

    def learn_while_somebody_commits(manager: Any, model: Any) -> None:
        learn(manager, model)
        commits.append("second")

    monkeypatch.setattr(Manager, "learn", learn_while_somebody_commits)
    monkeypatch.setattr(runner_cell, "provenance", lambda: {"git": commits[-1]})
    assert run_cell(make_cell({}, n_timesteps=60), str(tmp_path))["git"] == "first"


@pytest.mark.skipif(shutil.which("git") is None, reason="asks git")
@pytest.mark.parametrize(
    ("changed", "modified"),
    [
        ("benchmarks/presets/a.yml", True),
        ("benchmarks/runner/a.py", True),
        ("sb3_angc/a.yml", True),
        ("benchmarks/results/a.json", False),
    ],
)
def test_a_checkout_is_modified_where_results_depend_on_it(
    changed: str, modified: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    for name in (changed, "benchmarks/presets/other.yml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a: 1\n")
    commands = (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"])
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in commands:
        subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True)
    assert provenance.git_state() == {"commit": ANY, "modified": False}
    (tmp_path / changed).write_text("a: 2\n")
    assert provenance.git_state() == {"commit": ANY, "modified": modified}
