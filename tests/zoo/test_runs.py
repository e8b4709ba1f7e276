"""Runs of ``train``: where they are evaluated, and what one that is refused leaves."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rl_zoo3", reason="RL Zoo is the extra 'zoo'")

import optuna
from optuna.storages.journal import JournalFileBackend

from sb3_angc.zoo.__main__ import main

ENV = "CartPole-v1"
# An episode of this CartPole returns -1, where others return their length.
KWARGS = "env_kwargs:dict(sutton_barto_reward=True)"


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
