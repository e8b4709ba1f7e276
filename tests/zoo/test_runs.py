"""Runs of ``train``: where they are evaluated, and what one that is refused leaves."""

import shutil
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("rl_zoo3", reason="RL Zoo is the extra 'zoo'")

import optuna
from optuna.storages.journal import JournalFileBackend

from sb3_angc.zoo.__main__ import main

ENV = "CartPole-v1"
# An episode of this CartPole returns -1, where others return their length.
KWARGS = "env_kwargs:dict(sutton_barto_reward=True)"


# A module that the Zoo does not import by itself
OWN_MODULE = """
import gymnasium as gym

gym.register("Mine-v0", entry_point="gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=5)
"""


def train(folder: Path, *more: str) -> int:
    command = ["train", "--algo", "angc", "--env", ENV, "-n", "60", "--num-threads", "1", "-f", str(folder)]
    return main([*command, *more])


@pytest.mark.parametrize(
    ("more", "is_same"),
    [
        (["-params", KWARGS], True),
        (["-conf", "settings.yml"], True),
        (["-params", KWARGS, "--eval-env-kwargs", "sutton_barto_reward:False"], False),
        (["--env-kwargs", "sutton_barto_reward:True"], True),
    ],
    ids=str,
)
def test_evaluation_is_in_the_environment_of_training(
    more: list[str], is_same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.yml").write_text(
        f"{ENV}: {{n_timesteps: 60, policy: MlpPolicy, env_kwargs: {{sutton_barto_reward: true}}}}"
    )
    assert train(tmp_path, "--eval-freq", "30", "--eval-episodes", "2", *more) == 0
    returns = np.load(tmp_path / "angc" / f"{ENV}_1" / "evaluations.npz")["results"]
    assert set(returns.ravel()) == {-1} if is_same else returns.min() > 1


def test_tuning_is_in_the_environment_of_the_settings(tmp_path: Path) -> None:
    storage, trials = tmp_path / "study.log", ["-optimize", "--n-trials", "1", "--n-evaluations", "1"]
    named = ["--storage", str(storage), "--study-name", "tiny", "--no-optim-plots", "--eval-episodes", "2"]
    assert train(tmp_path, *trials, *named, "-params", KWARGS, "learning_starts:100") == 0
    journal = optuna.storages.JournalStorage(JournalFileBackend(str(storage)))
    [trial] = optuna.load_study(study_name="tiny", storage=journal).trials
    assert trial.value == -1


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        (["gamma:2"], SystemExit, "gamma=2"),
        (["no_such_setting:2"], TypeError, "no_such_setting"),
    ],
    ids=str,
)
def test_a_run_that_does_not_start_leaves_no_folder(
    params: list[str], error: type[BaseException], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        train(tmp_path, "-params", *params)
    assert not list((tmp_path / "angc").iterdir())


def test_environments_of_ones_own_are_filmed_and_tabled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(OWN_MODULE)
    own, mine = ["--env", "Mine-v0"], ["--gym-packages", "mine"]
    table = ["benchmark", "--log-dir", "logs", "--benchmark-dir", "table", "-n", "30", "--num-threads", "1"]
    try:
        assert train(tmp_path / "logs", *own, *mine, "--eval-freq", "-1") == 0
        assert (
            main(["record_video", "--algo", "angc", *own, "-f", "logs", "-n", "6", "-o", "films", *mine]) == 0
        )
        assert len(list(Path("films").glob("*Mine-v0*.mp4"))) == 1
        assert main([*table, *mine]) == 0
        assert "|angc|Mine-v0|" in Path("table/benchmark.md").read_text().replace(" ", "")
    finally:
        del gym.registry["Mine-v0"]
    # Without the module, what is missing is told, and the table is not taken for complete.
    shutil.rmtree("table")
    capfd.readouterr()
    assert main(table) == 1
    told = capfd.readouterr()
    assert "error: --env Mine-v0 is not allowed: no environment has this id. --gym-packages names" in told.err
    assert "Traceback" not in told.err


@pytest.mark.parametrize("command", ["train", "enjoy", "record_video", "benchmark", "package_agent"])
def test_a_module_that_is_not_there_is_told_in_a_line(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [] if command == "benchmark" else ["--algo", "angc", "--env", ENV]
    assert main([command, *arguments, "--gym-packages", "nopkg"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "error: --gym-packages nopkg is not allowed: it must be a module that can be imported"
    )
