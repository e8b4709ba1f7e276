"""``enjoy`` and ``record_video`` show the agent of the package where nothing was trained."""

from pathlib import Path

import pytest

pytest.importorskip("rl_zoo3", reason="RL Zoo is the extra 'zoo'")
pytest.importorskip("safetensors", reason="safetensors is the extra 'safe'")

from sb3_angc.agents import agent_record
from sb3_angc.zoo.__main__ import main
from sb3_angc.zoo.shipped import with_shipped_agent

ENV = "MountainCar-v0"
SHOWN = ["--algo", "angc", "--env", ENV]


def test_enjoy_shows_it_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["enjoy", *SHOWN, "-f", str(tmp_path), "--no-render", "-n", "400"]) == 0
    printed = capsys.readouterr().out
    record = agent_record(ENV)
    assert f"{tmp_path} has no angc on {ENV}: this is the agent that comes with sb3_angc, " in printed
    assert f"mean return {record['mean_return']:.1f} (seed 0, 100 episodes)" in printed
    [mean] = [line for line in printed.splitlines() if line.startswith("Mean reward: ")]
    assert min(record["returns"]) <= float(mean.split()[2]) <= max(record["returns"])
    assert not list(tmp_path.iterdir())


def test_record_video_films_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["record_video", *SHOWN, "-n", "20"]) == 0
    assert main(["record_video", *SHOWN, "-n", "20", "-o", "films"]) == 0
    for folder in ("videos", "films"):
        [film] = (tmp_path / folder).glob("*.mp4")
        assert film.name.startswith(f"final-model-angc-{ENV}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--algo", "dqn", "--env", ENV],
        ["--algo", "dqn", "--env", ENV, "--load-best"],
        [*SHOWN, "-f", "trained", "--exp-id", "1"],
        [*SHOWN, "-f", "trained", "--load-best"],
        [*SHOWN, "-f", "trained", "--load-checkpoint", "100"],
        [*SHOWN, "-f", "trained", "--load-last-checkpoint"],
        ["--algo", "angc", "--env", "FrozenLake-v1", "-f", "trained", "--exp-id", "-1"],
        [*SHOWN, "-f", "trained"],
    ],
    ids=" ".join,
)
def test_what_was_asked_for_is_left_as_it_is(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "trained" / "angc" / f"{ENV}_1"
    run.mkdir(parents=True)
    for file in (f"{ENV}.zip", "best_model.zip", "rl_model_100_steps.zip", "../FrozenLake-v1.zip"):
        (run / file).touch()
    folder = tmp_path / "empty"
    folder.mkdir()
    assert with_shipped_agent("enjoy", arguments, folder) == arguments
    assert not list(folder.iterdir())


@pytest.mark.parametrize("of_no_run", [[], ["--exp-id", "0"]], ids=str)
def test_a_run_without_an_agent_does_not_hide_it(
    of_no_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The newest run is the Zoo's default, 0."""
    logs, folder = tmp_path / "logs", tmp_path / "agent"
    (logs / "angc" / f"{ENV}_1").mkdir(parents=True)
    chosen = with_shipped_agent("enjoy", [*SHOWN, "-f", str(logs), *of_no_run], folder)
    assert chosen == [*SHOWN, "-f", str(folder)]
    assert "this is the agent that comes with sb3_angc" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("of_a_run", "missing"),
    [
        ([], f"{ENV}_2/{ENV}.zip"),
        (["--exp-id", "3"], f"{ENV}_3 folder was not found"),
        (["--exp-id", "1", "--load-best"], f"{ENV}_1/best_model.zip"),
        (["--exp-id", "1", "--load-checkpoint", "9"], f"{ENV}_1/rl_model_9_steps.zip"),
        (["--load-last-checkpoint"], f"{ENV}_2"),
    ],
    ids=str,
)
@pytest.mark.parametrize("command", ["enjoy", "record_video"])
def test_what_a_run_lacks_is_told_in_a_line(
    command: str, of_a_run: list[str], missing: str, tmp_path: Path
) -> None:
    for number in (1, 2):
        (tmp_path / "angc" / f"{ENV}_{number}").mkdir(parents=True)
    (tmp_path / "angc" / f"{ENV}_1" / f"{ENV}.zip").touch()
    with pytest.raises(SystemExit, match=rf"^error: .*{missing}: name another run with --exp-id, [^\n]*$"):
        main([command, *SHOWN, "-f", str(tmp_path), *of_a_run])


@pytest.mark.parametrize(
    "of_a_run",
    [["--exp-id", "1"], ["--exp-id", "-1"], ["--load-best"], ["--load-checkpoint", "100"]],
    ids=" ".join,
)
@pytest.mark.parametrize("command", ["enjoy", "record_video"])
def test_a_file_of_a_run_where_there_is_none(
    command: str, of_a_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the agent of the package is shown, nor is the Zoo's hub asked."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SystemExit, match=rf"^error: rl-trained-agents has no angc on {ENV}: train one, [^\n]*$"
    ):
        main([command, *SHOWN, *of_a_run, "--no-render"])


@pytest.mark.parametrize("command", ["enjoy", "record_video"])
def test_what_is_nowhere_is_told_in_a_line(command: str, tmp_path: Path) -> None:
    with pytest.raises(
        SystemExit, match=r"^error: .* has no angc on FrozenLake-v1: train one, .* CartPole-v1, [^\n]*$"
    ):
        main([command, "--algo", "angc", "--env", "FrozenLake-v1", "-f", str(tmp_path), "--no-render"])
