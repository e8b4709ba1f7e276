"""``python -m sb3_angc``: what it keeps is what it trained."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

pytest.importorskip("matplotlib", reason="matplotlib is the extra 'plots'")
pytest.importorskip("tqdm", reason="the progress bar is part of the extra 'dev'")

from sb3_angc import ANGC, __version__
from sb3_angc.__main__ import EVALUATION_EPISODES, main
from sb3_angc.common.environments import EVALUATION_SEED_OFFSET
from tests.budget import shorten_training


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["sb3_angc", *arguments])
    return main()


def test_keeps_model_curve_and_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--steps", "1100", "--seed", "3", "--output", str(tmp_path))
    assert run(monkeypatch, *arguments) == 0
    folder = tmp_path / "CartPole-v1_seed3"
    printed = capsys.readouterr().out
    assert str(folder / "model.zip") in printed
    assert "for 1100 steps, seed 3. Settings: tuned (sb3_angc/hyperparams/angc.yml)" in printed
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")

    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["environment"], summary["steps"], summary["seed"]) == ("CartPole-v1", 1100, 3)
    assert summary["version"] == __version__
    assert summary["interrupted"] is False
    assert summary["updates"] == 25  # one in four steps after the first thousand
    assert summary["evaluation_mean"] == pytest.approx(np.mean(summary["evaluation_returns"]))
    _, *rows = (folder / "episodes.monitor.csv").read_text().splitlines()
    lengths = [int(row["l"]) for row in csv.DictReader(rows)]
    assert 1100 - 500 < sum(lengths) <= 1100  # all but an episode that was not finished

    # The saved model earns what the summary says, on the same episodes.
    env = Monitor(gym.make("CartPole-v1"))
    env.reset(seed=3 + EVALUATION_SEED_OFFSET)
    returns, _ = evaluate_policy(
        ANGC.load(folder / "model.zip"), env, EVALUATION_EPISODES, return_episode_rewards=True
    )
    assert returns == summary["evaluation_returns"]

    # Nothing is overwritten, and one seed gives one result.
    assert run(monkeypatch, *arguments) == 0
    again = json.loads((tmp_path / "CartPole-v1_seed3_2" / "summary.json").read_text())
    assert again["evaluation_returns"] == summary["evaluation_returns"]


@pytest.mark.parametrize(
    ("arguments", "budget", "settings", "gradient_steps"),
    [
        (["--env", "Acrobot-v1"], 100_000, "tuned", 4),
        (["--env", "Acrobot-v1", "--defaults"], 50_000, "defaults", 1),
        (["--env", "FrozenLake-v1"], 50_000, "defaults", 1),
    ],
    ids=str,
)
def test_settings_and_budget_are_tuned_where_there_are_any(
    arguments: list[str],
    budget: int,
    settings: str,
    gradient_steps: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shorten_training(monkeypatch, steps=30)
    assert run(monkeypatch, *arguments, "--output", str(tmp_path)) == 0
    printed = capsys.readouterr().out
    assert f"for {budget} steps" in printed
    assert ("Settings: tuned" if settings == "tuned" else "Settings: ANGC's defaults") in printed
    [folder] = tmp_path.iterdir()
    assert json.loads((folder / "summary.json").read_text())["settings"] == settings
    assert ANGC.load(folder / "model.zip", device="cpu").gradient_steps == gradient_steps


def test_no_finished_episode_has_no_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--steps", "5", "--output", str(tmp_path)) == 0
    assert {path.name for path in (tmp_path / "CartPole-v1_seed0").iterdir()} >= {"model.zip", "summary.json"}
    assert not (tmp_path / "CartPole-v1_seed0" / "learning_curve.png").exists()
    assert "learning_curve" not in capsys.readouterr().out


def test_an_interrupt_keeps_what_was_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ANGC.train

    def train_twice(self: ANGC, gradient_steps: int, batch_size: int) -> None:
        if self._n_updates == 2:
            raise KeyboardInterrupt
        train(self, gradient_steps, batch_size)

    monkeypatch.setattr(ANGC, "train", train_twice)
    assert run(monkeypatch, "--output", str(tmp_path)) == 0
    folder = tmp_path / "CartPole-v1_seed0"
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["interrupted"], summary["updates"], summary["steps"]) == (True, 2, 1012)
    assert "Interrupted after 1012 steps: " in capsys.readouterr().out
    model = ANGC.load(folder / "model.zip", env="CartPole-v1", device="cpu")
    assert (model._n_updates, model.num_timesteps) == (2, 1012)
    assert len(summary["evaluation_returns"]) == EVALUATION_EPISODES
    assert (folder / "learning_curve.png").exists()


def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--env", "CartPol-v1", "--output", str(tmp_path)) == 2
    assert capsys.readouterr().err.startswith("error: env='CartPol-v1' is not a registered environment")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--env", "Blackjack-v1"), "is not allowed: the circuits cannot see it"),
        (("--env", "NoSuchTask-v0"), "is not a registered environment"),
        (("--steps", "-5"), "--steps -5 is not allowed: it must be at least 1"),
    ],
)
def test_what_cannot_be_trained_is_told_in_a_line(
    arguments: tuple[str, str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        status: int | str | None = run(monkeypatch, *arguments, "--output", str(tmp_path))
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert expected in line
    assert not list(tmp_path.iterdir())


def test_a_package_that_a_task_lacks_is_named_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for blocked, task, told in (
        ("Box2D", "LunarLander-v3", "Box2D is not installed"),
        ("minatar.gym", "MinAtar/Breakout-v1", "MinAtar is an extra, pip install 'sb3_angc[minatar]'"),
    ):
        for name in [name for name in sys.modules if name.startswith(("gymnasium.envs.box2d", "Box2D"))]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, blocked, None)
        for known in [known for known in gym.registry if known.startswith("MinAtar/")]:
            monkeypatch.delitem(gym.registry, known)
        monkeypatch.setattr(sys, "argv", ["", "--env", task])
        assert main() == 2
        [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert told in line


def test_an_output_that_is_no_folder_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "afile"
    file.write_text("mine")
    with pytest.raises(SystemExit, match=r"^2$"):
        run(monkeypatch, "--output", str(file))
    *_, line = capsys.readouterr().err.splitlines()
    assert f"--output {file} is not allowed: it must be a folder to write in" in line
    assert file.read_text() == "mine"


@pytest.mark.parametrize("package", ["matplotlib", "rich", "tqdm"])
def test_a_package_that_is_missing_is_told_before_training(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert run(monkeypatch, "--output", str(tmp_path), "--steps", "5") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"error: {package} is in an extra, pip install 'sb3_angc[extra]'"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("value", "is_passed"), [("1", True), ("yes", True), ("0", False), ("", False), ("no", False)], ids=str
)
def test_make_train_passes_defaults_where_they_are_wanted(value: str, is_passed: bool) -> None:
    root = Path(__file__).resolve().parents[2]
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    command = ["make", "-n", "-C", str(root), "train", f"DEFAULTS={value}"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ("--defaults" in made.stdout) is is_passed
