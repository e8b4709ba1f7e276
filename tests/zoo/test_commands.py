"""The Zoo's commands with angc and dqn, as a user starts them."""

import importlib
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rl_zoo3", reason="RL Zoo is the extra 'zoo'")

import yaml  # type: ignore[import-untyped]
from rl_zoo3 import exp_manager
from rl_zoo3.utils import get_saved_hyperparams

from sb3_angc import ANGC
from sb3_angc.zoo.__main__ import main
from sb3_angc.zoo.agents import watching

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


def test_saved_settings_name_a_module_and_the_real_budget(logs: Path) -> None:
    run = logs / "angc" / f"{ENV}_1" / ENV
    assert load_yaml(run / "args.yml")["conf_file"] == "sb3_angc.hyperparams"
    settings = load_yaml(run / "config.yml")
    packaged = yaml.safe_load((ROOT / "hyperparams" / "angc.yml").read_text())[ENV]
    assert settings == {**packaged, "n_timesteps": 600, "learning_starts": 100}


def test_other_algorithms_keep_the_settings_of_the_zoo(logs: Path) -> None:
    settings = load_yaml(logs / "dqn" / f"{ENV}_1" / ENV / "config.yml")
    path = Path(exp_manager.__file__).parent / "hyperparams" / "dqn.yml"
    assert settings == {**yaml.safe_load(path.read_text())[ENV], "n_timesteps": 600, "learning_starts": 100}


def test_enjoy_plays_the_saved_agent(logs: Path, cwd: Path) -> None:
    ran = zoo("enjoy", "--algo", "angc", "--env", ENV, "-f", logs, "-n", "400", "--no-render", cwd=cwd)
    assert ran.returncode == 0, ran.stderr
    rewards = [float(reward) for reward in re.findall(r"Episode Reward: ([\d.]+)", ran.stdout)]
    assert 1 <= len(rewards) <= 400 / 8
    assert f"Mean reward: {np.mean(rewards):.2f}" in ran.stdout


def test_watching_needs_no_replay_memory(logs: Path) -> None:
    agent = logs / "angc" / f"{ENV}_1" / f"{ENV}.zip"
    with watching():
        watched = ANGC.load(agent)
    loaded = ANGC.load(agent)
    assert watched.replay_buffer is not None
    assert loaded.replay_buffer is not None
    assert watched.replay_buffer.buffer_size == 1
    assert loaded.replay_buffer.buffer_size == loaded.buffer_size > 1
    observations = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    actions, expected = (model.predict(observations, deterministic=True)[0] for model in (watched, loaded))
    np.testing.assert_array_equal(actions, expected)


@pytest.mark.parametrize("algo", ["angc", "dqn"])
def test_record_video_writes_a_film(
    algo: str, logs: Path, cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = cwd.parent / "films"
    ran = zoo("record_video", "--algo", algo, "--env", ENV, "-f", logs, "-n", "20", "-o", output, cwd=cwd)
    assert ran.returncode == 0, ran.stderr
    [film] = output.glob("*.mp4")
    assert film.name.startswith(f"final-model-{algo}-{ENV}")
    content = film.read_bytes()
    assert content[4:8] == b"ftyp"
    assert not list(cwd.iterdir())
    # Another agent's film of the same name.
    command = ["record_video", "--algo", algo, "--env", ENV, "-f", str(logs), "-n", "20", "-o", str(output)]
    film.write_bytes(b"older")
    assert main(command) == 2
    assert "exists: choose another place, or overwrite it with --force" in capsys.readouterr().err
    assert film.read_bytes() == b"older"
    assert main([*command, "--force"]) == 0
    assert film.read_bytes() == content


def test_benchmark_has_a_row_for_every_agent(logs: Path, cwd: Path) -> None:
    folder = cwd.parent / "table"
    command = ("benchmark", "--log-dir", logs, "--benchmark-dir", folder, "-n", "600", "--num-threads", "1")
    ran = zoo(*command, cwd=cwd)
    assert ran.returncode == 0, ran.stderr
    table = (folder / "benchmark.md").read_text()
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in table.splitlines()
        if line.startswith("|")
    ]
    agents = {tuple(row[:2]): dict(zip(rows[0], row, strict=True)) for row in rows[2:]}
    assert set(agents) == {("angc", ENV), ("dqn", ENV)}
    for (algo, _), row in agents.items():
        monitor = np.genfromtxt(folder / f"{algo}-{ENV}" / "0.monitor.csv", delimiter=",", skip_header=2)
        assert float(row["mean_reward"]) == pytest.approx(monitor[:, 0].mean(), abs=1e-3)
        assert int(row["eval_episodes"]) == len(monitor)
    assert not list(cwd.iterdir())
    assert main([str(word) for word in command]) == 2  # not without --force
    assert (folder / "benchmark.md").read_text() == table


def test_benchmark_names_an_agent_that_cannot_be_evaluated(
    logs: Path, cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = cwd.parent / "broken" / "angc" / f"{ENV}_1" / ENV
    broken.mkdir(parents=True)
    for name in ("args.yml", "config.yml"):
        (broken / name).write_text((logs / "angc" / f"{ENV}_1" / ENV / name).read_text())
    folder = cwd.parent / "table"
    assert main(["benchmark", "--log-dir", str(broken.parents[2]), "--benchmark-dir", str(folder)]) == 2
    assert f"no row for angc on {ENV}" in capsys.readouterr().err


def test_plots_show_the_evaluations_and_name_what_is_missing(
    logs: Path, cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, figures = cwd.parent / "saved", cwd.parent / "figures"
    command = ("all_plots", "-a", "angc", "dqn", "-e", ENV, "Acrobot-v1", "-f", logs, "-l", "here")
    ran = zoo(*command, "-o", saved, cwd=cwd)
    assert ran.returncode == 0, ran.stderr
    assert "missing: angc on Acrobot-v1" in ran.stderr
    last = {}
    for algo in ("angc", "dqn"):
        runs = [np.load(logs / algo / f"{ENV}_{number}" / "evaluations.npz")["results"] for number in (1, 2)]
        last[algo] = np.array([results[-1].mean() for results in runs])
    entries = [f"{scores.mean():.0f} +/- {scores.std() / np.sqrt(2):.0f}" for scores in last.values()]
    with saved.with_suffix(".pkl").open("rb") as file:
        results = pickle.load(file)
    assert results["results_table"]["value_matrix"][1:] == [
        [ENV, *entries],
        ["Acrobot-v1", "missing", "missing"],
    ]
    np.testing.assert_allclose(sorted(results[ENV]["ANGC-here"]["last_evals"]), sorted(last["angc"]))
    assert "0.0 +/- 0.0" not in ran.stdout
    assert main([*map(str, command), "-k", "successes"]) == 2
    assert "no matching runs with two evaluations of 'successes'" in capsys.readouterr().err

    flags = ("-r", "-vs", "-iqm", "-b", "--keep-envs", ENV, "--figures", figures)
    ran = zoo("plot_from_file", "-i", saved, *flags, cwd=cwd)
    assert ran.returncode == 0, ran.stderr
    names = {path.stem.removeprefix("plot_from_file-") for path in figures.glob("*.png")}
    assert names == {
        "results-cartpole-v1",
        "rliable-metrics",
        "performance-profiles",
        "probability-of-improvement",
        "iqm-normalized-score-sample-efficiency-curve",
        "sensitivity-plot",
        "sensitivity-box-plot",
    }
    assert not list(cwd.iterdir())


def test_plot_train_draws_each_run(logs: Path, cwd: Path) -> None:
    figures = cwd.parent / "figures"
    command = ("plot_train", "-a", "angc", "-e", ENV, "-f", logs, "--figures", figures)
    ran = zoo(*command, "-w", "5", cwd=cwd)
    assert ran.returncode == 0, ran.stderr
    [figure] = figures.glob("*.png")
    image = pytest.importorskip("matplotlib.pyplot").imread(figure)
    assert len(np.unique(image.reshape(-1, image.shape[-1]), axis=0)) > 10
    assert main([str(word) for word in command]) == 2  # exists, and no --force


def test_figure_without_a_curve_is_not_saved(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["plot_train", "-a", "angc", "-e", ENV, "-f", str(logs), "--figures", "figures"]
    assert main([*command, "-w", "100000"]) == 2  # no run has as many episodes to average over
    assert "nothing to show" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "--algo", "foo"], "invalid choice: 'foo'"),
        (["train", "--algo", "angc", "--env", "CartPol-v1"], "maybe meant CartPole-v1?"),
        (
            ["train", "--algo", "angc", "--env", "Nothing-v7"],
            "Nothing-v7 is not registered: correct its name",
        ),
        (["train", "--algo", "angc", "-conf", "no_such.yml"], "No such file or directory: 'no_such.yml'"),
        (["train", "--algo", "angc", "-conf", "broken.yml"], "broken.yml: not a settings file"),
        (["train", "--algo", "angc", "-conf", "empty.yml"], "empty.yml: not a settings file"),
        (["train", "--algo", "dqn", "-conf", "empty.py"], "empty.py: not a settings file"),
        (
            ["train", "--algo", "angc", "--env", "Acrobot-v1", "-conf", "bare.yml"],
            "bare.yml has no section for Acrobot-v1: add one, or one called 'default'",
        ),
        (
            ["train", "--algo", "angc", "--env", ENV, "-conf", "bare.yml"],
            "bare.yml: the settings for CartPole-v1 lack n_timesteps: add it, or give -n",
        ),
        (
            ["train", "--algo", "dqn", "--env", ENV, "-conf", "bare.yml", "-n", "9"],
            "bare.yml: the settings for CartPole-v1 lack policy: add it, or give -params",
        ),
        (
            ["train", "--algo", "angc", "--env", ENV, "-n", "9", "-params", "nosuch:3"],
            "unexpected keyword argument 'nosuch': see -params and -conf",
        ),
        (
            ["train", "--algo", "angc", "--env", ENV, "-n", "9", "-params", "policy_kwargs:dict(nosuch=3)"],
            "'nosuch'",
        ),
        (["train", "--algo", "angc", "-params", "gamma:=3"], "-params gamma:=3: write name:value"),
        (["train", "--algo", "angc", "-params", "policy:Mlp"], "-params policy:Mlp: write name:value"),
        (["train", "--algo", "angc", "-params", "gamma=3"], "-params gamma=3: write name:value"),
        (
            ["train", "--algo", "angc", "-optimize", "--storage", "no://where", "--study-name", "x"],
            "--storage no://where: ",
        ),
        (
            ["train", "--algo", "dqn", "-optimize", "--storage", "sqlite:////no/x.db", "--study-name", "x"],
            "--storage sqlite:////no/x.db: ",
        ),
        (
            ["train", "--algo", "angc", "--storage", "none", "--study-name", "x", "--trial-id", "1"],
            "--storage none: ",
        ),
        (["train", "--algo", "angc", "-conf", "no_such_module"], "No module named 'no_such_module'"),
        (["enjoy", "--algo", "angc", "--env", ENV], "name the log folder with -f"),
        (
            ["enjoy", "--algo", "angc", "--env", ENV, "-f", "nowhere", "--exp-id", "3"],
            "train the agent first",
        ),
        (
            ["record_video", "--algo", "dqn", "--env", ENV, "-f", "nowhere", "--exp-id", "3"],
            "train the agent first",
        ),
        (["enjoy", "--algo", "angc", "--env", ENV, "-f", "."], "train the agent first"),
        (["record_video", "--algo", "dqn", "--env", ENV, "-f", "."], "train the agent first"),
        (["benchmark", "--log-dir", "nowhere"], "no trained agents in nowhere"),
        (["all_plots", "-e", ENV, "-f", "nowhere"], "give -a or --algos"),
        (
            ["all_plots", "-a", "angc", "-e", ENV, "-f", "a", "b", "-l", "x"],
            "--labels x: give one for each of a, b",
        ),
        (["all_plots", "-a", "angc", "-e", ENV, "-f", "nowhere"], "no matching runs"),
        (["plot_train", "-a", "angc", "-e", ENV, "-f", "nowhere"], "no runs of angc"),
        (["plot_from_file", "-i", "text"], "text.pkl: cannot be read"),
        (["plot_from_file", "-i", "nowhere"], "nowhere.pkl: cannot be read"),
        (["fly"], "usage: python -m sb3_angc.zoo {train,enjoy"),
    ],
)
def test_bad_input_is_told_in_one_line(
    arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    for algo in ("angc", "dqn"):
        (tmp_path / algo).mkdir()
    for name, content in (
        ("broken.yml", "CartPole-v1: ["),
        ("empty.yml", ""),
        ("empty.py", ""),
        ("text.pkl", "import text"),
        ("bare.yml", f"{ENV}: {{gamma: 0.9}}"),
    ):
        (tmp_path / name).write_text(content)
    try:
        status: Any = main(arguments)
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    [line] = capsys.readouterr().err.splitlines()
    assert expected in line


def test_plot_from_file_says_what_the_figures_lack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curve = {"timesteps": np.arange(3), "last_evals": np.float64(1.0)}
    longer = {"timesteps": np.arange(4), "last_evals": np.ones(2)}
    for results, flags, expected in (
        ({"A": {"x": curve, "y": curve}, "B": {"x": curve}}, [], "y is missing on B"),
        ({"A": {"x": curve}}, ["-r"], "rliable needs two seeds"),
        ({"A": {"x": longer}, "B": {"x": curve}}, [], "x was evaluated more often on some tasks"),
        ({"A": {"x": curve}}, ["--skip-envs", "A"], "nothing is left to plot"),
        ({"A": {"x": curve, "y": curve}}, ["-l", "z"], "--labels z: give one for each of x, y"),
    ):
        file = tmp_path / "results.pkl"
        file.write_bytes(pickle.dumps({**results, "results_table": {}}))
        assert main(["plot_from_file", "-i", str(file), *flags]) == 2
        assert expected in capsys.readouterr().err


def test_errors_in_mid_training_keep_their_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def diverge(self: ANGC, gradient_steps: int, batch_size: int) -> None:
        raise ValueError("the controller diverged in layer 1")

    monkeypatch.setattr(ANGC, "train", diverge)
    arguments = ["train", "--algo", "angc", *TINY, "-f", str(tmp_path), "-params", "learning_starts:100"]
    with pytest.raises(ValueError, match="diverged in layer 1"):
        main(arguments)
    assert get_saved_hyperparams(str(tmp_path / "angc" / f"{ENV}_1" / ENV))[0]["n_timesteps"] == 600


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
