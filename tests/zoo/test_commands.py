"""The Zoo's commands with angc and dqn, as a user starts them."""

import argparse
import importlib
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

pytest.importorskip("rl_zoo3", reason="RL Zoo is the extra 'zoo'")

import yaml
from rl_zoo3 import exp_manager
from rl_zoo3.utils import SimpleLinearSchedule

from sb3_angc import ANGC
from sb3_angc.zoo import Manager
from sb3_angc.zoo.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
ENV = "CartPole-v1"
TINY = ["--env", ENV, "-n", "600", "--eval-freq", "200", "--eval-episodes", "3", "--num-threads", "1"]

# Somebody's own script: two seeds of angc and dqn by the Zoo's own function.
SCRIPT = """
import sys
import sb3_angc.zoo
sb3_angc.zoo.register()
from rl_zoo3.train import train
arguments = sys.argv[1:]
for algo in ("angc", "dqn"):
    for seed in ("0", "1"):
        sys.argv = ["train", "--algo", algo, "--seed", seed, *arguments]
        train()
"""
# Episodes of 5 steps, each of which earns 1
OWN_MODULE = """
import gymnasium as gym

gym.register(
    "Own/Task-v0", entry_point="gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=5
)

class Own(gym.Wrapper):
    pass
"""


def zoo(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run one of our commands from another folder, with no display and one thread."""
    return python("-m", "sb3_angc.zoo", *arguments, cwd=cwd)


def python(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True
    )


def load_yaml(path: Path) -> Any:
    return dict(yaml.load(path.read_text(), Loader=yaml.UnsafeLoader))


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo") / "logs"
    trained = python("-c", SCRIPT, *TINY, "-f", folder, "-params", "learning_starts:100", cwd=folder.parent)
    assert trained.returncode == 0, trained.stderr
    return folder


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    """An empty current directory."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    return folder


def test_train_by_command_is_train_by_script(logs: Path, cwd: Path) -> None:
    again = cwd.parent / "again"
    ran = zoo(
        "train",
        "--algo",
        "angc",
        "--seed",
        "1",
        *TINY,
        "-f",
        again,
        "-params",
        "learning_starts:100",
        cwd=cwd,
    )
    assert ran.returncode == 0, ran.stderr
    ours, theirs = (
        np.load(folder / "angc" / run / "evaluations.npz")
        for folder, run in ((again, f"{ENV}_1"), (logs, f"{ENV}_2"))
    )
    assert ours["timesteps"].tolist() == [200, 400, 600]
    np.testing.assert_array_equal(ours["results"], theirs["results"])
    assert not list(cwd.iterdir())


def test_saved_settings_name_a_module(logs: Path) -> None:
    run = logs / "angc" / f"{ENV}_1" / ENV
    assert load_yaml(run / "args.yml")["conf_file"] == "sb3_angc.hyperparams"
    settings = load_yaml(run / "config.yml")
    packaged = yaml.safe_load((ROOT / "hyperparams" / "angc.yml").read_text())[ENV]
    assert settings == {**packaged, "learning_starts": 100}


def test_other_algorithms_keep_the_settings_of_the_zoo(logs: Path) -> None:
    settings = load_yaml(logs / "dqn" / f"{ENV}_1" / ENV / "config.yml")
    path = Path(exp_manager.__file__).parent / "hyperparams" / "dqn.yml"
    assert settings == {**yaml.safe_load(path.read_text())[ENV], "learning_starts": 100}


def test_enjoy_plays_the_saved_agent(logs: Path, cwd: Path) -> None:
    ran = zoo("enjoy", "--algo", "angc", "--env", ENV, "-f", logs, "-n", "400", "--no-render", cwd=cwd)
    assert ran.returncode == 0, ran.stderr
    rewards = [float(reward) for reward in re.findall(r"Episode Reward: ([\d.]+)", ran.stdout)]
    assert 1 <= len(rewards) <= 400 / 8
    assert f"Mean reward: {np.mean(rewards):.2f}" in ran.stdout


@pytest.mark.parametrize("algo", ["angc", "dqn"])
def test_record_video_writes_a_film(algo: str, logs: Path, cwd: Path) -> None:
    output = cwd.parent / "films"
    ran = zoo("record_video", "--algo", algo, "--env", ENV, "-f", logs, "-n", "20", "-o", output, cwd=cwd)
    assert ran.returncode == 0, ran.stderr
    [film] = output.glob("*.mp4")
    assert film.name.startswith(f"final-model-{algo}-{ENV}")
    content = film.read_bytes()
    assert content[4:8] == b"ftyp"
    assert not list(cwd.iterdir())


def test_benchmark_has_a_row_for_every_agent(logs: Path, cwd: Path) -> None:
    folder = cwd.parent / "table"
    command = ("benchmark", "--log-dir", logs, "--benchmark-dir", folder, "-n", "600", "--num-threads", "1")
    ran = zoo(*command, cwd=cwd)
    assert ran.returncode == 0, ran.stderr
    table = (folder / "benchmark.md").read_text()
    assert "huggingface" not in table
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in table.splitlines()
        if line.startswith("|")
    ]
    agents = {tuple(row[:2]): dict(zip(rows[0], row, strict=True)) for row in rows[2:]}
    assert set(agents) == {("angc", ENV), ("dqn", ENV)}
    assert f"Results written to: {folder}" in ran.stdout
    assert "copied" not in ran.stdout
    for (algo, _), row in agents.items():
        monitor = np.genfromtxt(folder / f"{algo}-{ENV}" / "0.monitor.csv", delimiter=",", skip_header=2)
        assert float(row["mean_reward"]) == pytest.approx(monitor[:, 0].mean(), abs=1e-3)
        assert int(row["eval_episodes"]) == len(monitor)
    assert not list(cwd.iterdir())


def test_benchmark_finds_ids_with_a_slash_and_modules_of_ones_own(cwd: Path) -> None:
    (cwd / "custom_envs.py").write_text(OWN_MODULE)  # which the Zoo imports
    logs, table = cwd / "logs", cwd / "table"
    train = ["train", "--algo", "angc", "--env", "Own/Task-v0", "-n", "100", "--eval-freq", "-1", "-f"]
    settings = ["-params", "env_wrapper:'custom_envs.Own'", "learning_starts:200"]
    trained = zoo(*train, logs, *settings, cwd=cwd)
    assert trained.returncode == 0, trained.stderr
    ran = zoo("benchmark", "--log-dir", "logs", "--benchmark-dir", "table", "-n", "60", cwd=cwd)
    assert ran.returncode == 0, ran.stderr
    [row] = [line for line in (table / "benchmark.md").read_text().splitlines() if "Own" in line]
    algo, env, *_, mean, deviation, _, steps, episodes = map(str.strip, row.strip("|").split("|"))
    assert (algo, env) == ("angc", "Own-Task-v0")
    assert [float(value) for value in (mean, deviation, steps, episodes)] == [5.0, 0.0, 60.0, 12.0]


def test_help_of_benchmark_makes_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["benchmark", "--help"])
    assert not list(tmp_path.iterdir())


def test_plots_show_the_evaluations(logs: Path, cwd: Path) -> None:
    saved, figures = cwd.parent / "saved", cwd.parent / "figures"
    command = ("all_plots", "-a", "angc", "dqn", "-e", ENV, "-f", logs, "-l", "here")
    ran = zoo(*command, "-o", saved, "--figures", figures, cwd=cwd)
    assert ran.returncode == 0, ran.stderr
    last = {}
    for algo in ("angc", "dqn"):
        runs = [np.load(logs / algo / f"{ENV}_{number}" / "evaluations.npz")["results"] for number in (1, 2)]
        last[algo] = np.array([results[-1].mean() for results in runs])
    entries = [f"{scores.mean():.0f} +/- {scores.std() / np.sqrt(2):.0f}" for scores in last.values()]
    with saved.with_suffix(".pkl").open("rb") as file:
        results = pickle.load(file)
    assert results["results_table"]["value_matrix"][1:] == [[ENV, *entries]]
    np.testing.assert_allclose(sorted(results[ENV]["ANGC-here"]["last_evals"]), sorted(last["angc"]))

    flags = ("-r", "-vs", "-iqm", "-b", "--keep-envs", ENV, "--figures", figures)
    ran = zoo("plot_from_file", "-i", saved, *flags, cwd=cwd)
    assert ran.returncode == 0, ran.stderr
    drawn = {path.name for path in figures.glob("*.png")}
    assert {"all_plots-1.png"} | {f"plot_from_file-{number}.png" for number in range(1, 8)} <= drawn
    assert not list(cwd.iterdir())


def test_plot_train_draws_each_run(logs: Path, cwd: Path) -> None:
    figures = cwd.parent / "figures"
    command = ("plot_train", "-a", "angc", "-e", ENV, "-f", logs, "--figures", figures)
    ran = zoo(*command, "-w", "5", cwd=cwd)
    assert ran.returncode == 0, ran.stderr
    [figure] = figures.glob("*.png")
    image = pytest.importorskip("matplotlib.pyplot").imread(figure)
    assert len(np.unique(image.reshape(-1, image.shape[-1]), axis=0)) > 10


def test_tracking_without_a_network(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B's record of a run has its settings and the logged keys."""
    pytest.importorskip("wandb", reason="wandb is in no extra")
    pytest.importorskip("tensorboard", reason="tensorboard is in the extra 'extra'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    command = ["train", "--algo", "angc", *TINY, "-f", "logs", "-params", "learning_starts:100"]
    ran = zoo(*command, "--track", "--wandb-project-name", "angc", cwd=cwd)
    assert ran.returncode == 0, ran.stderr
    [record] = cwd.glob("wandb/offline-run-*/*.wandb")
    content = record.read_bytes()
    for part in (b"train/epistemic_reward", b"sb3_angc.hyperparams", b"learning_starts"):
        assert part in content


def test_a_linear_learning_rate_is_one_that_safe_files_hold(cwd: Path) -> None:
    """It is trained on with, played, and an older run's own is still read."""
    pytest.importorskip("safetensors", reason="safetensors is the extra 'safe'")
    train = ["train", "--algo", "angc", *TINY, "-f", str(cwd), "-params", "learning_starts:100"]
    assert main([*train, "learning_rate:'lin_2e-3'"]) == 0
    saved = cwd / "angc" / f"{ENV}_1" / f"{ENV}.zip"
    model = ANGC.load(saved, device="cpu")
    model.save_safe(cwd / "agent")
    loaded = ANGC.load_safe(cwd / "agent", device="cpu")
    for agent in (model, loaded):
        rates = [agent.lr_schedule(progress) for progress in (1.0, 0.5, 0.0)]
        assert rates == pytest.approx([2e-3, 1e-3, 0.0])
    assert main([*train, "learning_rate:'lin_1e-3'", "-i", str(saved)]) == 0
    on = ANGC.load(cwd / "angc" / f"{ENV}_2" / f"{ENV}.zip", device="cpu")
    assert on.lr_schedule(1.0) == pytest.approx(1e-3)

    model.learning_rate = SimpleLinearSchedule(3e-3)  # as runs of before have it
    model.save(saved)
    assert ANGC.load(saved, device="cpu").lr_schedule(0.5) == pytest.approx(1.5e-3)
    show = ["--algo", "angc", "--env", ENV, "-f", str(cwd), "--exp-id", "1", "--no-render", "-n", "20"]
    assert main(["enjoy", *show]) == 0


def test_unknown_commands_and_algorithms_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fly"]) == 2
    assert "usage: python -m sb3_angc.zoo {train,enjoy" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "--algo", "foo"])
    assert "invalid choice: 'foo'" in capsys.readouterr().err


def test_errors_in_mid_training_keep_their_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def diverge(self: ANGC, gradient_steps: int, batch_size: int) -> None:
        raise ValueError("the controller diverged in layer 1")

    monkeypatch.setattr(ANGC, "train", diverge)
    arguments = ["train", "--algo", "angc", *TINY, "-f", str(tmp_path), "-params", "learning_starts:100"]
    before = sys.argv
    with pytest.raises(ValueError, match="diverged in layer 1"):
        main(arguments)
    assert sys.argv is before


class Pair(gym.Env[Any, Any]):
    """Observes what no circuit can see."""

    action_space = spaces.Discrete(2)

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.observation_space = space


class Drawn(Pair):
    """Observes at random."""

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        super().reset(**kwargs)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, False, False, {}


NUMBER = spaces.Discrete(2)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(9),
        spaces.Tuple((NUMBER, NUMBER)),
        spaces.Tuple((spaces.Graph(NUMBER, None), NUMBER)),
        spaces.Dict(part=spaces.Text(9), number=NUMBER),
        spaces.Dict(part=spaces.Graph(NUMBER, None), number=NUMBER),
        spaces.Dict(part=spaces.Sequence(NUMBER), number=NUMBER),
        spaces.Dict(part=spaces.Dict(nested=NUMBER), number=NUMBER),
    ],
    ids=str,
)
def test_what_cannot_be_trained_is_told_in_a_line(space: spaces.Space[Any], tmp_path: Path) -> None:
    gym.register("Pair-v0", entry_point=lambda **_: Pair(space))
    try:
        with pytest.raises(SystemExit, match=r"^error: observation_space.*=.* is not allowed: .*[^\n]$"):
            main(["train", "--algo", "angc", "--env", "Pair-v0", "-f", str(tmp_path)])
    finally:
        del gym.registry["Pair-v0"]


class Broken(Drawn):
    """Has a fault of its own."""

    def __init__(self, **_: Any) -> None:
        raise ValueError("my own fault")


def test_errors_of_ones_own_environment_keep_their_traceback(tmp_path: Path) -> None:
    gym.register("Broken-v0", entry_point=Broken)
    try:
        with pytest.raises(ValueError, match="my own fault") as raised:
            main(["train", "--algo", "angc", "--env", "Broken-v0", "-f", str(tmp_path)])
        assert raised.traceback[-1].path == Path(__file__)
    finally:
        del gym.registry["Broken-v0"]


@pytest.mark.parametrize("command", ["train", "enjoy", "record_video", "package_agent"])
@pytest.mark.parametrize("env", [["--env", "MinAtar/Breakout-v1"], ["--env=MinAtar/Breakout-v1"]], ids=str)
def test_minatar_is_named_where_it_is_not_installed(
    command: str,
    env: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "minatar.gym", None)
    for known in [known for known in gym.registry if known.startswith("MinAtar/")]:
        monkeypatch.delitem(gym.registry, known)
    assert main([command, "--algo", "angc", *env, "-f", str(tmp_path)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert line.endswith("MinAtar is an extra, pip install 'sb3_angc[minatar]'")


@pytest.mark.parametrize(
    ("space", "policy"),
    [
        (spaces.Dict(box=spaces.Box(0, 1, (3,)), number=NUMBER), "MultiInputPolicy"),
        (spaces.Box(0, 255, (8, 8, 1), np.uint8), "CnnPolicy"),
        (spaces.Box(-1, 1, (3,)), "MlpPolicy"),
    ],
    ids=str,
)
def test_an_environment_without_settings_gets_the_policy_of_its_observations(
    space: spaces.Space[Any], policy: str, tmp_path: Path
) -> None:
    command = ["train", "--algo", "angc", "--env", "Drawn-v0", "-n", "40", "-f", str(tmp_path), "-params"]
    command += ["buffer_size:50", "learning_starts:20"]
    gym.register("Drawn-v0", entry_point=lambda **_: Drawn(space), max_episode_steps=10)
    try:
        assert main(command) == 0
        run = tmp_path / "angc" / "Drawn-v0_1" / "Drawn-v0"
        assert load_yaml(run / "config.yml")["policy"] == policy
        model = ANGC.load(run.parent / "Drawn-v0.zip", device="cpu")
        assert model.policy_class is ANGC.policy_aliases[policy]
        if policy == "MultiInputPolicy":  # what is named is not overruled
            with pytest.raises(SystemExit, match="You must use `MultiInputPolicy`"):
                main([*command, "policy:'MlpPolicy'"])
    finally:
        del gym.registry["Drawn-v0"]


class AtariEnv(Drawn):
    """What the Zoo takes for a game of Atari: it looks at the name of the class."""

    action_space = spaces.Discrete(4)

    def __init__(self, **_: Any) -> None:
        super().__init__(spaces.Box(0, 255, (210, 160, 3), np.uint8))


def test_atari_has_the_settings_of_the_zoo_for_it(tmp_path: Path) -> None:
    gym.register("Game-v0", entry_point="tests.zoo.test_commands:AtariEnv")
    try:
        manager = Manager(argparse.Namespace(), "angc", "Game-v0", str(tmp_path))
        settings, _ = manager.read_hyperparameters()
    finally:
        del gym.registry["Game-v0"]
    wrapper = ["stable_baselines3.common.atari_wrappers.AtariWrapper"]
    expected = {"env_wrapper": wrapper, "frame_stack": 4, "policy": "CnnPolicy", "n_timesteps": 1e7}
    assert settings == expected
    images = spaces.Box(0, 255, (4, 84, 84), np.uint8)  # what becomes of it
    model = ANGC(settings["policy"], Drawn(images), buffer_size=10, device="cpu")
    assert model.predict(images.sample())[0] in (0, 1)


def test_missions_of_minigrid_are_told_in_a_line(tmp_path: Path) -> None:
    """And the wrappers that the line names help."""
    pytest.importorskip("minigrid", reason="MiniGrid is in the extra 'bench'")
    command = ["train", "--algo", "angc", "--env", "MiniGrid-Empty-5x5-v0", "--gym-packages", "minigrid"]
    command += ["-n", "40", "-f", str(tmp_path), "-params", "buffer_size:50", "learning_starts:20"]
    with pytest.raises(SystemExit, match=r"^error: observation_space\['mission'\]=.* its FlatObsWrapper$"):
        main(command)
    assert main([*command, "env_wrapper:'minigrid.wrappers.FlatObsWrapper'"]) == 0
    assert main([*command, "env_wrapper:'minigrid.wrappers.ImgObsWrapper'"]) == 0


def test_module_of_settings_has_settings_alone() -> None:
    import sb3_angc.hyperparams

    with pytest.raises(AttributeError, match="no_such_name"):
        sb3_angc.hyperparams.no_such_name  # noqa: B018
    # Read anew each time: the Zoo deletes keys from what it gets.
    sb3_angc.hyperparams.hyperparams.clear()
    assert "CartPole-v1" in sb3_angc.hyperparams.hyperparams


def test_missing_zoo_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("sb3_angc.zoo")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rl_zoo3.exp_manager", None)
    with pytest.raises(ImportError, match=r"RL Zoo is an extra, pip install 'sb3_angc\[zoo\]'"):
        importlib.import_module("sb3_angc.zoo")
